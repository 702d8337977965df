"""A table as a Lightning data module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.loader import BatchLoader, check_at_least
from fairlightning.data.prepare import Prepared, prepare
from fairlightning.data.roles import Roles, column_list
from fairlightning.data.splits import SPLITS, check_fractions
from fairlightning.data.summary import describe, report
from fairlightning.data.table import read_table
from fairlightning.exceptions import SetupError, check_choice
from fairlightning.functional.columns import Columns
from fairlightning.groups import GroupSpec


class TabularDataModule(LightningDataModule):
    """Checks, splits and encodes a table with a binary label and sensitive attributes.

    Everything is learned from the training rows alone: medians, scales and categories. Encoded
    rows stay in memory. Splits are stratified by label and by the intersection of the sensitive
    attributes, and follow from `seed`. Rows whose sensitive value is missing or is no listed
    category are kept, with code `-1`.

    Args:
        source: A table, or the path of a `.csv`, `.csv.gz`, `.csv.zip` or `.parquet` file.
        target: Column of the label, which has two values.
        sensitive: Columns of the sensitive attributes. A mapping also gives the categories of each
            and their order; without it they are all values in the table, sorted.
        positive: Label value that counts as 1. None accepts 0/1 and booleans.
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
        source: str | Path | pd.DataFrame,
        target: str,
        sensitive: Sequence[str] | Mapping[str, Sequence[object]],
        *,
        positive: object | None = None,
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
        super().__init__()
        check_fractions(val_fraction, test_fraction)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("eval_batch_size", eval_batch_size, 1)
        check_at_least("seed", seed, 0)
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
        self.positive = positive
        self.categories = dict(sensitive) if isinstance(sensitive, Mapping) else {}
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.every_row = every_row
        self.seed = seed
        self._prepared: Prepared | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read, check, split and encode the table, once.

        Args:
            stage: Of no effect: all splits are prepared together.

        Raises:
            DataError: If the table cannot be used.
        """
        if self._prepared is None:
            self._prepared = prepare(
                read_table(self.source),
                self.roles,
                positive=self.positive,
                categories=self.categories,
                val_fraction=self.val_fraction,
                test_fraction=self.test_fraction,
                seed=self.seed,
            )

    @property
    def _table(self) -> Prepared:
        if self._prepared is None:
            raise SetupError.of(
                type(self).__name__,
                found="no table read yet",
                expected="setup() to have run",
                mend="call datamodule.setup() first",
            )
        return self._prepared

    @property
    def groups(self) -> GroupSpec:
        """Sensitive attributes and their groups."""
        return self._table.groups

    @property
    def num_numeric(self) -> int:
        """Number of numeric inputs `D`, indicators of missing values included."""
        return self._table.encoder.num_numeric

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of each of the `F` categorical inputs, code 0 included."""
        return self._table.encoder.cardinalities

    @property
    def columns(self) -> Columns:
        """Names of the inputs, and what the codes of the categorical ones mean."""
        encoder = self._table.encoder
        names, numeric = encoder.names, encoder.num_numeric
        categories = tuple(tuple(map(str, known)) for known in encoder.categories.values())
        return Columns(tuple(names[:numeric]), tuple(names[numeric:]), categories)

    @property
    def feature_names(self) -> list[str]:
        """Names of the numeric inputs, then of the categorical ones."""
        return self._table.encoder.names

    def batch(self, split: str) -> Batch:
        """All encoded rows of a split: train, validation or test."""
        return self._table.batches[check_choice("split", split, SPLITS)]

    def frame(self, split: str) -> pd.DataFrame:
        """Source rows of a split; the index is the row number, as in `Batch.index`."""
        return self._table.frame.iloc[self.batch(split).index.numpy()]

    def encode(self, frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Encode new rows; neither label nor, by default, sensitive columns are needed.

        Args:
            frame: `N` rows that have the feature columns.

        Returns:
            `(N, D)` float32 numbers and `(N, F)` int64 codes, as in `Batch.inputs`.

        Raises:
            DataError: If a feature column does not exist or holds a value that is no number.
        """
        return self._table.encoder(frame)

    def describe(self) -> dict[str, Any]:
        """Facts about the table in plain Python values.

        Returns:
            `rows`, `positive` (label that counts as 1), `base_rate`, `splits` (rows and base rate
            of each), `numeric`, `categorical` (number of codes of each), `unused` (columns without
            a role), `groups` (rows and base rate by attribute and their intersection),
            `unknown_sensitive` (rows by attribute), `unlisted_sensitive` (values that are no
            category, with their rows), `missing` (values by column), `unseen` (categories of
            validation and test that train does not have) and `constant` (columns in train).
        """
        return describe(self._table)

    def report(self) -> str:
        """The facts of `describe` as text."""
        return report(self.describe())

    def __str__(self) -> str:
        # Lightning's own text reads `loader.dataset`, which only torch's DataLoader has.
        return repr(self) if self._prepared is None else self.report()

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches; in order where the Trainer is asked to overfit."""
        if self.every_row:
            return BatchLoader(self.batch("train"), self.eval_batch_size)
        return BatchLoader(
            self.batch("train"),
            self.batch_size,
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            drop_last=True,
            seed=self.seed,
        )

    def val_dataloader(self) -> BatchLoader:
        """Every validation row once."""
        return BatchLoader(self.batch("validation"), self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """Every test row once."""
        return BatchLoader(self.batch("test"), self.eval_batch_size)

    def predict_dataloader(self) -> BatchLoader:
        """The test rows."""
        return self.test_dataloader()

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch; one that is there already is handed on as it is, which saves time."""
        if isinstance(batch, Batch) and batch.index.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
