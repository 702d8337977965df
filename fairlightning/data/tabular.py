"""A table as a Lightning data module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from fairlightning.data.encoding import TableEncoder
from fairlightning.data.memory import MemoryDataModule
from fairlightning.data.prepare import Labelling, Prepared, prepare
from fairlightning.data.roles import Roles, column_list
from fairlightning.data.table import Source, read_table
from fairlightning.exceptions import check_choice
from fairlightning.functional.columns import Columns

BINS = 4
"""Bins of a continuous attribute."""


class TabularDataModule(MemoryDataModule):
    """Checks, splits and encodes a table with a target and sensitive attributes.

    Everything is learned from the training rows alone: medians, scales and categories. Encoded
    rows stay in memory. Splits are stratified by label (quarters of an amount) and by the
    intersection of the sensitive attributes, and follow from `seed`. Rows whose sensitive value is
    missing or is no listed category are kept, with code `-1`.

    Args:
        source: A table, the path of a `.csv`, `.csv.gz`, `.csv.zip` or `.parquet` file, or a
            function that gives a table.
        target: Column of the target.
        sensitive: Columns of the sensitive attributes. A mapping also gives the categories of each
            and their order; without it they are all values in the table, sorted.
        task: What the target is: `binary`, labels of two values; `multiclass`, labels of three or
            more; `ordinal`, such labels from low to high; `regression`, amounts. It is never
            guessed.
        positive: Of `binary`: label value that counts as 1. None accepts 0/1 and booleans.
        classes: Of `multiclass`: the labels in the order of their numbers; None takes all, sorted.
            Of `ordinal`: the labels from low to high.
        continuous: Those of the sensitive attributes that are numbers, such as an age. Batches then
            carry their values; as groups they are four bins of equal frequency over the table,
            whose names hold the edges. A mapping gives the number of bins of each.
        numeric: Numeric features; None takes all other columns of a numeric type.
        categorical: Categorical features; None takes all other columns of another type.
        ignore: Columns that are left out. Of use where features are inferred.
        weight: Column of row weights ≥ 0; without one, `Batch.weight` is None.
        include_sensitive: Also learn from the sensitive attributes. Prediction then needs them.
        batch_size: Rows per training batch and device.
        eval_batch_size: Most rows per validation or test batch and device.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for the test.
        split: Column with the values train, validation (or val) and test, in place of the
            fractions.
        every_row: Training epochs have every row exactly once, in order and in batches of
            `eval_batch_size`, for what sums over the whole epoch.
        seed: Seed of the splits and of the order of training rows.

    Raises:
        DataError: In the constructor or in `setup`, if the arguments or the table cannot be used;
            the message names the column, what was found and the mend.

    >>> table = pd.DataFrame({"y": [0, 1] * 40, "sex": ["f", "f", "m", "m"] * 20, "x": range(80)})
    >>> data = TabularDataModule(table, target="y", sensitive=["sex"], seed=1)
    >>> data.setup()
    >>> data.groups.to_dict(), data.num_numeric, data.cardinalities, len(data.batch("test").target)
    ({'sex': ['f', 'm']}, 1, [], 16)
    """

    def __init__(
        self,
        source: Source,
        target: str,
        sensitive: Sequence[str] | Mapping[str, Sequence[object]],
        *,
        task: str = "binary",
        positive: object | None = None,
        classes: Sequence[object] | None = None,
        continuous: Sequence[str] | Mapping[str, int] = (),
        numeric: Sequence[str] | None = None,
        categorical: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        weight: str | None = None,
        include_sensitive: bool = False,
        batch_size: int = 1024,
        eval_batch_size: int = 8192,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        split: str | None = None,
        every_row: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size, eval_batch_size=eval_batch_size, every_row=every_row, seed=seed
        )
        self.source = source
        self.roles = Roles(
            target=target,
            sensitive=column_list("sensitive", sensitive),
            numeric=None if numeric is None else column_list("numeric", numeric),
            categorical=None if categorical is None else column_list("categorical", categorical),
            ignore=column_list("ignore", ignore),
            weight=weight,
            split=split,
            include_sensitive=include_sensitive,
        )
        if not isinstance(continuous, Mapping):
            continuous = dict.fromkeys(column_list("continuous", continuous), BINS)
        for name in continuous:
            check_choice("continuous", name, self.roles.sensitive)
        self.labelling = Labelling(
            task=task,
            positive=positive,
            classes=classes,
            categories=dict(sensitive) if isinstance(sensitive, Mapping) else {},
            continuous=dict(continuous),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )

    def _prepare(self) -> Prepared:
        return prepare(read_table(self.source), self.roles, self.labelling)

    @property
    def _encoder(self) -> TableEncoder:
        encoder = self.prepared.encoder
        assert encoder is not None
        return encoder

    @property
    def input_sizes(self) -> dict[str, Any]:
        """`numeric` and `cardinalities`, the arguments of networks for tables."""
        return {"numeric": self.num_numeric, "cardinalities": self.cardinalities}

    @property
    def num_numeric(self) -> int:
        """Number of numeric inputs `D`, indicators of missing values included."""
        return self._encoder.num_numeric

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of each of the `F` categorical inputs, code 0 included."""
        return self._encoder.cardinalities

    @property
    def columns(self) -> Columns:
        """Names of the inputs, and what the codes of the categorical ones mean."""
        encoder = self._encoder
        names, numeric = encoder.names, encoder.num_numeric
        categories = tuple(tuple(map(str, known)) for known in encoder.categories.values())
        return Columns(tuple(names[:numeric]), tuple(names[numeric:]), categories)

    @property
    def feature_names(self) -> list[str]:
        """Names of the numeric inputs, then of the categorical ones."""
        return self._encoder.names

    def encode(self, frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Encode new rows; neither label nor, by default, sensitive columns are needed.

        Args:
            frame: `N` rows that have the feature columns.

        Returns:
            `(N, D)` float32 numbers and `(N, F)` int64 codes, as in `Batch.inputs`.

        Raises:
            DataError: If a feature column does not exist or holds a value that is no number.
        """
        return self._encoder(frame)
