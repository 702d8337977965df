"""The form in which the package's data modules hand rows to a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Rows: what a network takes, label, sensitive attributes, weight and where they came from.

    Attributes:
        inputs: What the network takes, a tensor or a tuple of tensors with a row for each row.
            Tables: `(numeric, categorical)`: `(N, D)` float32, standardised, and `(N, F)` int64
            codes in which 0 stands for a missing or unseen value. Images: `(N, C, height, width)`
            float32. Sequences: `(values, lengths)`, see `fairlightning.models.RNN`.
        target: `(N,)` int64 labels in {0, 1}, or positions of classes; of a regression float32.
        sensitive: `(N, A)` int64 category positions; `-1` where the value is not known.
        weight: `(N,)` float32 row weights ≥ 0, or None where rows are not weighted.
        index: `(N,)` int64 row numbers in the source table, counted from 0.
        checked: Whether target, sensitive and weight are known to be in range, so that no training
            step needs to check them again; true for the rows of our data modules.
        continuous: `(N, B)` float32 values of the continuous sensitive attributes, of mean 0 and
            standard deviation 1 over the training rows, NaN where unknown; None without any.
    """

    inputs: Any
    target: Tensor
    sensitive: Tensor
    weight: Tensor | None
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a batch has no use for
    checked: bool = False
    continuous: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same rows on a device.

        Lightning calls it to move a batch; without it, it would walk through the fields one by one,
        which takes longer than many a layer.
        """
        device = torch.device(device)
        if self.target.device == device:
            return self
        wait = device.type in ("cpu", "mps")  # what is copied to them must not be read too early

        def move(values: Tensor) -> Tensor:
            return values.to(device, non_blocking=not wait)

        return self._map(move)

    def take(self, rows: slice | Tensor) -> Batch:
        """Some of the rows: a slice, or positions `(n,)`, which may repeat."""

        def pick(values: Tensor) -> Tensor:
            return values[rows] if isinstance(rows, slice) else values.index_select(0, rows)

        return self._map(pick)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        inputs = self.inputs
        return Batch(
            change(inputs) if isinstance(inputs, Tensor) else tuple(map(change, inputs)),
            change(self.target),
            change(self.sensitive),
            None if self.weight is None else change(self.weight),
            change(self.index),
            self.checked,
            None if self.continuous is None else change(self.continuous),
        )
