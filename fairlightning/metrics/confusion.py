"""The one count table from which every rate and every difference comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.confusion import ConfusionTable, decision_logit
from fairlightning.functional.counting import check_slots, count_undecided
from fairlightning.functional.rows import (
    binary_logits,
    check_column,
    check_labels,
    check_threshold,
    check_weight,
)
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric


class GroupConfusion(ExactMetric):
    """Count rows by intersection of sensitive values, label and decision.

    Slots are fixed by the groups: an absent group keeps its place and holds zeros, and rows of
    unknown group have slots of their own. Batch by batch, merged, or over several processes the
    counts are those of all rows at once. On one CPU thread an update takes 0.15 ms for 1,024 rows
    and some 10 ms for a million, in 2 groups as in 200.

    Args:
        groups: Sensitive attributes and their categories.
        threshold: Score, strictly between 0 and 1, from which a row is selected; of no account
            with more than two classes.
        num_classes: Number of classes `C`. With two, one logit decides; with more, the largest.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups, the threshold or the number of classes cannot be used, or the
            table would have more than `MAX_SLOTS` slots.

    >>> metric = GroupConfusion({"sex": ["Female", "Male"]})
    >>> metric.update(torch.tensor([2.0, -1.0]), torch.tensor([1, 0]), torch.tensor([[1], [-1]]))
    >>> metric.compute().counts.sum((1, 2))  # Female, Male, unknown
    tensor([0, 1, 1])
    """

    counts: Tensor
    mass: Tensor
    square: Tensor
    undecided: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        threshold: float = 0.5,
        *,
        num_classes: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.threshold = check_threshold(threshold)
        self.num_classes = _check_classes(num_classes)
        shape = (self.groups.num_cells, num_classes, num_classes)
        check_slots(*shape)
        zeros = torch.zeros(shape, dtype=torch.long)
        self.add_state("counts", zeros, dist_reduce_fx="sum")
        self.add_state("mass", zeros.double(), dist_reduce_fx="sum")
        self.add_state("square", zeros.double(), dist_reduce_fx="sum")
        self.add_state("undecided", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, logits: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Count the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class; `(N, C)` with more than two
                classes.
            target: `(N,)` labels, 0 and 1 or `[0, C)`.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape, a label, a code or a weight cannot be used. NaN logits do not
                raise: they are counted as `undecided`.
        """
        if self.num_classes == 2:
            logits = binary_logits(logits)
            target = check_labels(target, len(logits))
            decision = selected(logits, self.threshold)
        else:
            logits = _class_logits(logits, self.num_classes)
            target = _check_class_labels(target, len(logits), self.num_classes)
            decision = logits.argmax(-1)
        rows = len(logits)
        table = ConfusionTable.of_rows(
            decision,
            target,
            self.groups.check(sensitive, rows),
            self.groups,
            weight=None if weight is None else check_weight(weight, rows),
            num_classes=self.num_classes,
        )
        self.counts = self.counts + table.counts
        self.mass = self.mass + table.mass
        self.square = self.square + table.square
        self.undecided = self.undecided + count_undecided(logits)

    def compute(self) -> ConfusionTable:
        """Return the table of all rows so far, over all processes."""
        return ConfusionTable(self.counts, self.mass, self.square, self.undecided)


def selected(logits: Tensor, threshold: float) -> Tensor:
    """`(N,)` bool: logits whose score is at least the threshold."""
    if logits.dtype != torch.float64:
        logits = logits.float()
    return logits >= decision_logit(threshold, logits.dtype)


def _check_classes(num_classes: int) -> int:
    if num_classes < 2:
        raise ArgumentError.of(
            "num_classes",
            found=num_classes,
            expected="two or more",
            mend="pass 2 for a binary target, which one logit decides",
        )
    return num_classes


def _class_logits(logits: Tensor, num_classes: int) -> Tensor:
    if logits.ndim != 2 or logits.shape[1] != num_classes or not logits.is_floating_point():
        raise ArgumentError.of(
            "logits",
            found=f"{logits.dtype} of shape {tuple(logits.shape)}",
            expected=f"floating-point logits of shape (N, {num_classes}), one for each class",
            mend="pass the logits before softmax or argmax, or set num_classes",
        )
    return logits.detach()


def _check_class_labels(target: Tensor, rows: int, num_classes: int) -> Tensor:
    target = check_column("target", target, rows)
    if target.is_floating_point() or target.dtype == torch.bool:
        raise ArgumentError.of(
            "target",
            found=str(target.dtype),
            expected=f"integer classes from 0 to {num_classes - 1}",
            mend="pass target.long()",
        )
    if target.device.type != "cpu":
        torch._assert_async(((target >= 0) & (target < num_classes)).all())
    elif len(target):
        low, high = (end.item() for end in target.aminmax())
        if low < 0 or high >= num_classes:
            raise ArgumentError.of(
                "target",
                found=f"classes from {low} to {high}",
                expected=f"0 to {num_classes - 1} in every row",
                mend="code classes by position, or set num_classes",
            )
    return target
