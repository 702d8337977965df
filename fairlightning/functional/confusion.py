"""Confusion tables of groups: rows counted by cell, label and decision.

A table has the shape `(..., M, C, C)` and is indexed [cell, target, decision], for `M` cells (or
`G` groups, once a partition is chosen) and `C` classes. What follows from it is in
`functional.proportions` and `functional.criteria`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from math import inf
from operator import add
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairlightning.functional.counting import BLOCK, partition_sums, sum_by_cell, sum_by_code
from fairlightning.groups import GroupSpec

_NONE = torch.tensor(0)


class ConfusionTable(NamedTuple):
    """Rows counted by cell, label and decision.

    Rates come from the mass, supports from the counts, and the effective numbers of rows that
    intervals need from mass and squares.

    Attributes:
        counts: `(..., M, C, C)` int64 number of rows.
        mass: `(..., M, C, C)` float64 sum of row weights, 1 for each row without a weight.
        square: `(..., M, C, C)` float64 sum of squared row weights.
        undecided: `()` int64 number of rows whose score is NaN. They are among the counts (as not
            selected, or as some class), so that figures mean nothing unless it is 0.
    """

    counts: Tensor
    mass: Tensor
    square: Tensor
    undecided: Tensor = _NONE

    @classmethod
    def of_counts(cls, counts: Tensor) -> ConfusionTable:
        """Make a table of `(..., M, C, C)` numbers of rows, each of weight 1."""
        mass = counts.double()
        return cls(counts.long(), mass, mass)

    @classmethod
    def of_decisions(
        cls,
        decision: Tensor,
        target: Tensor,
        cell: Tensor,
        num_cells: int,
        *,
        weight: Tensor | None = None,
        num_classes: int = 2,
    ) -> ConfusionTable:
        """Count rows. Slots are fixed: an absent cell holds zeros.

        Args:
            decision: `(..., N)` decided class in `[0, C)`, or bool.
            target: `(N,)` labels in `[0, C)`.
            cell: `(N,)` int64 ids in `[0, num_cells)`, such as `GroupSpec.cell_ids` gives.
            num_cells: Number of cells `M`.
            weight: `(N,)` row weights ≥ 0.
            num_classes: Number of classes `C`.

        >>> one = torch.tensor([1, 1])
        >>> ConfusionTable.of_decisions(torch.tensor([1, 0]), one, one, 2).counts.tolist()
        [[[0, 0], [0, 0]], [[0, 0], [1, 1]]]
        """
        code = decision.to(torch.long).add(target.to(torch.long), alpha=num_classes)
        code = code.add(cell, alpha=num_classes**2)
        shape = (num_cells, num_classes, num_classes)
        return cls._of_sums(sum_by_code(code, shape, _weights(weight)))

    @classmethod
    def of_scores(
        cls,
        score: Tensor,
        positive: Tensor,
        cell: Tensor,
        num_cells: int,
        *,
        threshold: float,
        weight: Tensor | None = None,
    ) -> ConfusionTable:
        """Count rows whose decision is `score >= threshold`.

        Args:
            score: `(..., N)` float64 probabilities of the positive class.
            positive: `(N,)` bool labels.
            cell: `(N,)` int64 ids in `[0, num_cells)`.
            num_cells: Number of cells.
            threshold: Score from which a row is selected.
            weight: `(N,)` row weights ≥ 0.
        """
        table = cls.of_decisions(score >= threshold, positive, cell, num_cells, weight=weight)
        return table._replace(undecided=score.isnan().sum())

    @classmethod
    def of_rows(
        cls,
        decision: Tensor,
        target: Tensor,
        sensitive: Tensor,
        groups: GroupSpec,
        *,
        weight: Tensor | None = None,
        num_classes: int = 2,
    ) -> ConfusionTable:
        """Count rows by their sensitive values, as `of_decisions` counts `GroupSpec.cell_ids`.

        Args:
            decision: `(N,)` decided class in `[0, C)`, or bool.
            target: `(N,)` labels in `[0, C)`.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            groups: The attributes.
            weight: `(N,)` row weights ≥ 0.
            num_classes: Number of classes `C`.
        """
        # One buffer for all blocks: new memory, page by page, costs more than counting.
        buffer = torch.empty(min(BLOCK, len(target)), dtype=torch.long, device=target.device)
        parts = []
        for first in range(0, max(len(target), 1), BLOCK):
            rows = slice(first, first + BLOCK)
            label = target[rows].to(torch.long)
            code = buffer[: len(label)].copy_(decision[rows]).add_(label, alpha=num_classes)
            mass = _weights(None if weight is None else weight[rows])
            parts.append(sum_by_cell(code, num_classes**2, sensitive[rows], groups, mass))
        sums = (reduce(add, tables) for tables in zip(*parts, strict=True))
        return cls._of_sums([table.view(-1, num_classes, num_classes) for table in sums])

    @classmethod
    def _of_sums(cls, sums: Sequence[Tensor]) -> ConfusionTable:
        return cls(*sums) if len(sums) > 1 else cls.of_counts(sums[0])

    @property
    def num_classes(self) -> int:
        """Number of classes `C`."""
        return self.counts.shape[-1]

    def partition(self, groups: GroupSpec, partition: Sequence[str]) -> ConfusionTable:
        """Sum cells to the groups `(..., G, C, C)` of a partition; see `partition_sums`.

        Raises:
            ArgumentError: If the partition names no attribute or one that does not exist.
        """
        return self._map(lambda table: partition_sums(table, groups, partition))

    def pooled(self) -> ConfusionTable:
        """Make one group `(..., 1, C, C)` of all cells, unknown ones included if there are any."""
        return self._map(lambda table: table.sum(-3, keepdim=True))

    def one_vs_rest(self) -> ConfusionTable:
        """Set every class against all others: `(..., C, M, 2, 2)`, for the rates of each class.

        >>> table = ConfusionTable.of_counts(torch.tensor([[[3, 1, 0], [0, 2, 0], [0, 0, 4]]]))
        >>> table.one_vs_rest().counts[1, 0].tolist()  # class 1: [[TN, FP], [FN, TP]]
        [[7, 1], [0, 2]]
        """
        return self._map(_one_vs_rest)

    def reached(self) -> ConfusionTable:
        """Split ordered classes at each but the first: `(..., C − 1, M, 2, 2)`.

        Label and decision are 1 from that class on.

        >>> table = ConfusionTable.of_counts(torch.tensor([[[3, 1, 0], [0, 2, 0], [0, 0, 4]]]))
        >>> table.reached().counts[:, 0].tolist()  # each [[TN, FP], [FN, TP]]
        [[[3, 1], [0, 6]], [[6, 0], [0, 4]]]
        """
        return self._map(_reached)

    def agreement(self) -> ConfusionTable:
        """Judge rows as wrong or right: `(..., M, 2, 2)`, all of label 1 and selected where right.

        Every binary rate over all rows, and every criterion of it, thereby speaks of the accuracy
        of any number of classes.
        """
        return self._map(_agreement)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ConfusionTable:
        return ConfusionTable(
            change(self.counts), change(self.mass), change(self.square), self.undecided
        )


@lru_cache(maxsize=64)
def decision_logit(threshold: float, dtype: torch.dtype = torch.float32) -> float:
    """Smallest logit whose probability, computed in float64, is at least the threshold.

    Comparing logits with it gives the decisions of `sigmoid(logit.double()) >= threshold` without
    the sigmoid of any row (float64 logits apart that lie within its rounding).

    Args:
        threshold: Probability strictly between 0 and 1.
        dtype: `torch.float32` or `torch.float64`, the type of the logits to compare.

    >>> decision_logit(0.5) <= 0 < decision_logit(0.5 + 1e-9)
    True
    """
    low, high = -1e3, 1e3  # below and at the threshold, whatever it is
    while low < (middle := (low + high) / 2) < high:
        if torch.sigmoid(torch.tensor(middle, dtype=torch.float64)) >= threshold:
            high = middle
        else:
            low = middle
    if dtype == torch.float64:
        return high
    nearest = np.float32(high)
    # As Python floats: numpy would round `high` to float32 before comparing.
    return float(nearest if float(nearest) >= high else np.nextafter(nearest, np.float32(inf)))


def _weights(weight: Tensor | None) -> list[Tensor | None]:
    if weight is None:
        return [None]
    weight = weight.double()
    return [None, weight, weight.square()]


def _one_vs_rest(table: Tensor) -> Tensor:
    hit = table.diagonal(dim1=-2, dim2=-1)
    missed, alarm = table.sum(-1) - hit, table.sum(-2) - hit
    rest = table.sum((-2, -1)).unsqueeze(-1) - hit - missed - alarm
    return _two_by_two(rest, alarm, missed, hit).movedim(-3, -4)


def _reached(table: Tensor) -> Tensor:
    # Sums of all labels and decisions from (i, j) on.
    above = table.flip((-2, -1)).cumsum(-2).cumsum(-1).flip((-2, -1))
    hit = above.diagonal(dim1=-2, dim2=-1)[..., 1:]
    missed, alarm = above[..., 1:, 0] - hit, above[..., 0, 1:] - hit
    rest = above[..., :1, 0] - hit - missed - alarm
    return _two_by_two(rest, alarm, missed, hit).movedim(-3, -4)


def _agreement(table: Tensor) -> Tensor:
    right = table.diagonal(dim1=-2, dim2=-1).sum(-1)
    wrong = table.sum((-2, -1)) - right
    none = torch.zeros_like(right)
    return _two_by_two(none, none, wrong, right)


def _two_by_two(*entries: Tensor) -> Tensor:
    table = torch.stack(entries, dim=-1)
    return table.view(*table.shape[:-1], 2, 2)
