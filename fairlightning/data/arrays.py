"""Images and sequences as a Lightning data module, beside a table of labels and attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from fairlightning.data.memory import MemoryDataModule
from fairlightning.data.prepare import Labelling, Prepared, label_rows
from fairlightning.data.roles import Roles, column_list
from fairlightning.data.splits import Ints
from fairlightning.exceptions import DataError


class Arrays(NamedTuple):
    """Rows that are no table of features.

    Attributes:
        inputs: Images `(N, C, height, width)` float32, or sequences `(values, lengths)`: `(N, T)`
            int64 tokens or `(N, T, D)` float32 features, and `(N,)` int64 lengths in 1 to T.
        table: N rows with label, sensitive attributes and what else is known.
    """

    inputs: Tensor | tuple[Tensor, Tensor]
    table: pd.DataFrame


class ArrayDataModule(MemoryDataModule):
    """Images or sequences with a target and sensitive attributes.

    Splits, checks, sampling and loaders are those of `TabularDataModule`. Inputs are taken as they
    are.

    Args:
        source: The rows, or a function that reads them when they are needed.
        target: Column of the target.
        sensitive: Columns of the sensitive attributes; a mapping also gives their categories.
        task: What the target is; see `TabularDataModule`.
        positive: Of `binary`: label value that counts as 1. None accepts 0/1 and booleans.
        classes: Of `multiclass`: the labels in the order of their numbers; None takes all, sorted.
            Of `ordinal`: the labels from low to high.
        weight: Column of row weights ≥ 0.
        batch_size: Rows per training batch and device.
        eval_batch_size: Most rows per validation or test batch and device.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for the test.
        split: Column with the values train, validation (or val) and test, in place of the
            fractions.
        every_row: Every training row exactly once per epoch, in order.
        seed: Seed of the splits and of the order of training rows.

    Raises:
        DataError: In the constructor or in `setup`, if arguments or data cannot be used.

    >>> table = pd.DataFrame({"y": [0, 1] * 40, "ink": ["red", "red", "blue", "blue"] * 20})
    >>> source = Arrays(torch.zeros(80, 3, 8, 8), table)
    >>> data = ArrayDataModule(source, target="y", sensitive=["ink"])
    >>> data.setup()
    >>> data.input_sizes, data.batch("test").inputs.shape
    ({'channels': 3}, torch.Size([16, 3, 8, 8]))
    """

    def __init__(
        self,
        source: Arrays | Callable[[], Arrays],
        target: str,
        sensitive: Sequence[str] | Mapping[str, Sequence[object]],
        *,
        task: str = "binary",
        positive: object | None = None,
        classes: Sequence[object] | None = None,
        weight: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
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
        names = column_list("sensitive", sensitive)
        self.roles = Roles(target, names, (), (), weight=weight, split=split)
        self.labelling = Labelling(
            task=task,
            positive=positive,
            classes=classes,
            categories=dict(sensitive) if isinstance(sensitive, Mapping) else {},
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )

    def _prepare(self) -> Prepared:
        inputs, table = self.source() if callable(self.source) else self.source
        table = table.reset_index(drop=True)
        _check(inputs, len(table))
        self.roles.check(table)
        labelled = label_rows(table, self.roles, self.labelling)

        def chosen(rows: Ints) -> Any:
            index = torch.from_numpy(rows)
            return inputs[index] if isinstance(inputs, Tensor) else tuple(x[index] for x in inputs)

        return Prepared(labelled, labelled.batches(chosen))

    @property
    def input_sizes(self) -> dict[str, Any]:
        """`channels` of images; `features` or `vocabulary` of sequences."""
        inputs = self.batch("train").inputs
        if isinstance(inputs, Tensor):
            return {"channels": inputs.shape[1]}
        if inputs[0].is_floating_point():
            return {"features": inputs[0].shape[2]}
        tokens = [batch.inputs[0].max() for batch in self.prepared.batches.values()]
        return {"vocabulary": int(max(tokens)) + 1}

    def describe(self) -> dict[str, Any]:
        """Facts as those of `MemoryDataModule.describe`, with the form of the inputs."""
        inputs = self.batch("train").inputs
        values = inputs if isinstance(inputs, Tensor) else inputs[0]
        kind = "images" if isinstance(inputs, Tensor) else "sequences"
        size = " × ".join(map(str, values.shape[1:]))
        return {**super().describe(), "inputs": f"{kind}, {size}"}


def _check(inputs: Tensor | tuple[Tensor, Tensor], rows: int) -> None:
    """Refuse what networks would stumble over, or learn NaN from, later.

    Raises:
        DataError: On other shapes, types or values than those of `Arrays`.
    """
    parts = (inputs,) if isinstance(inputs, Tensor) else inputs
    values, *lengths = parts
    images = isinstance(inputs, Tensor) and values.ndim == 4
    sequences = len(lengths) == 1 and values.ndim in (2, 3) and lengths[0].ndim == 1
    tokens = values.ndim == 2
    typed = values.dtype in (torch.int32, torch.int64) if tokens else values.is_floating_point()
    typed = typed and all(part.dtype == torch.int64 for part in lengths)
    fits = {len(part) for part in parts} == {rows} and values.numel() > 0
    if not (images or sequences) or not typed or not fits:
        shown = ", ".join(f"{part.dtype} {tuple(part.shape)}" for part in parts)
        raise DataError.of(
            "inputs",
            found=f"{shown} for {rows} rows of the table",
            expected="images (N, C, height, width) of floats, or sequences: int64 tokens (N, T) or "
            "floats (N, T, D), and int64 lengths (N,)",
            mend="give one input for each row of the table, images as .float() / 255",
        )
    _check_values(values)
    if lengths:
        _check_lengths(lengths[0], values.shape[1])


def _check_values(values: Tensor) -> None:
    tokens = values.ndim == 2
    low, high = values.aminmax()  # NaN if there is one
    if not (low.isfinite() and high.isfinite()) or (tokens and low < 0):
        raise DataError.of(
            "inputs",
            found=f"values from {low:g} to {high:g}",
            expected="tokens of 0 and more" if tokens else "finite numbers",
            mend="recode or fill them",
        )


def _check_lengths(lengths: Tensor, steps: int) -> None:
    shortest, longest = lengths.aminmax()
    if shortest < 1 or longest > steps:
        raise DataError.of(
            "inputs",
            found=f"lengths from {shortest} to {longest}",
            expected=f"1 to {steps}, the number of steps",
            mend="leave empty sequences out, or give them one step",
        )
