"""Scores counted by cell, label and bin: the tables of which `functional.score_figures` speaks.

Two tables hold the scores of any number of rows. The *histogram* `(..., M, 2, B)` is fine, in bins
of the logit (`functional.score_bins`), for ranking and distances. The *moments* `(..., M, 2, K, 3)`
are coarse, binned on the score, but hold the sums that make calibration and Brier score exact. The
axis of size 2 is the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.counting import (
    count_undecided,
    cross,
    partition_sums,
    unknown_last,
)
from fairlightning.functional.score_bins import logit_bins, num_bins, resolution_of
from fairlightning.groups import GroupSpec

_BLOCK = 2**15  # rows counted at a time: what they need for it stays in the cache
_NONE = torch.tensor(0)


class ScoreTable(NamedTuple):
    """Scores summed by cell and label.

    Attributes:
        histogram: `(..., M, 2, B)` float64 mass of the rows in each bin of `score_bins.bin_edges`.
        moments: `(..., M, 2, K, 3)` float64: for `K` bins of equal width in the score the mass, and
            the weighted sums of the score and of its squared distance from the label.
        rows: `(..., M, 2)` int64 number of rows of positive weight.
        undecided: `()` int64 number of rows whose score is NaN, which are in none of the above.
    """

    histogram: Tensor
    moments: Tensor
    rows: Tensor
    undecided: Tensor = _NONE

    @classmethod
    def of_rows(
        cls,
        logits: Tensor,
        positive: Tensor,
        sensitive: Tensor,
        groups: GroupSpec,
        *,
        weight: Tensor | None = None,
        resolution: int = 64,
        score_bins: int = 15,
    ) -> ScoreTable:
        """Count rows by their sensitive values.

        Args:
            logits: `(N,)` logits of the positive class.
            positive: `(N,)` labels, 0 and 1 or bool.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            groups: The attributes.
            weight: `(N,)` row weights ≥ 0.
            resolution: See `score_bins.bin_edges`.
            score_bins: Number `K` of bins of equal width in the score.
        """
        _, table = confusion_and_scores(
            logits,
            torch.zeros_like(logits, dtype=torch.bool),
            positive,
            sensitive,
            groups,
            weight=weight,
            resolution=resolution,
            score_bins=score_bins,
        )
        return table

    def partition(self, groups: GroupSpec, partition: Sequence[str]) -> ScoreTable:
        """Sum cells to the `G` groups of a partition; see `partition_sums`.

        Raises:
            ArgumentError: If the partition names no attribute or one that does not exist.
        """
        return ScoreTable(
            partition_sums(self.histogram, groups, partition),
            partition_sums(self.moments, groups, partition, dim=-4),
            partition_sums(self.rows, groups, partition, dim=-2),
            self.undecided,
        )

    def pooled(self) -> ScoreTable:
        """Make one group of all cells, unknown ones included if there are any."""
        return ScoreTable(
            self.histogram.sum(-3, keepdim=True),
            self.moments.sum(-4, keepdim=True),
            self.rows.sum(-2, keepdim=True),
            self.undecided,
        )


def confusion_and_scores(
    logits: Tensor,
    decision: Tensor,
    positive: Tensor,
    sensitive: Tensor,
    groups: GroupSpec,
    *,
    weight: Tensor | None = None,
    resolution: int = 64,
    score_bins: int = 15,
) -> tuple[ConfusionTable, ScoreTable]:
    """Count rows for both tables in one pass.

    Rows whose score is NaN have a decision and no score: they are in the first table alone.

    Args:
        logits: `(N,)` logits of the positive class.
        decision: `(N,)` bool, whether the row is selected.
        positive: `(N,)` labels, 0 and 1 or bool.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        groups: The attributes.
        weight: `(N,)` row weights ≥ 0.
        resolution: See `score_bins.bin_edges`.
        score_bins: Number of bins of equal width in the score.
    """
    histogram = empty_histogram(groups, resolution).to(logits.device)
    columns = (logits, decision, positive, sensitive, groups)
    confusion, scores = add_rows(histogram, *columns, weight=weight, score_bins=score_bins)
    return confusion, scores._replace(histogram=unknown_last(histogram, groups))


def empty_histogram(groups: GroupSpec, resolution: int) -> Tensor:
    """Zeros of the shape of `ScoreTable.histogram`, to count into."""
    return torch.zeros(groups.num_cells, 2, num_bins(resolution), dtype=torch.float64)


def add_rows(
    histogram: Tensor,
    logits: Tensor,
    decision: Tensor,
    positive: Tensor,
    sensitive: Tensor,
    groups: GroupSpec,
    *,
    weight: Tensor | None = None,
    score_bins: int = 15,
) -> tuple[ConfusionTable, ScoreTable]:
    """Count rows as `confusion_and_scores` does, adding to a histogram that is there already.

    Args:
        histogram: Contiguous, added to in place. It is the one large table: to make another for
            each batch would cost more than counting does. Its cells are in the order of
            `counting.cross`; `counting.unknown_last` brings them into that of all other tables.
        logits: `(N,)` logits of the positive class.
        decision: `(N,)` bool, whether the row is selected.
        positive: `(N,)` labels, 0 and 1 or bool.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        groups: The attributes.
        weight: `(N,)` row weights ≥ 0.
        score_bins: Number of bins of equal width in the score.

    Returns:
        What was counted of these rows; `histogram` itself is among the scores.
    """
    undecided = count_undecided(logits)
    if not undecided:
        columns = (logits, decision, positive, sensitive, weight)
        return _row_sums(histogram, *columns, groups, score_bins)
    known = ~logits.isnan()
    kept = (logits[known], decision[known], positive[known], sensitive[known])
    mass = None if weight is None else weight[known]
    _, scores = _row_sums(histogram, *kept, mass, groups, score_bins)
    confusion = ConfusionTable.of_rows(decision, positive, sensitive, groups, weight=weight)
    return confusion._replace(undecided=undecided), scores._replace(undecided=undecided)


def _row_sums(
    histogram: Tensor,
    logits: Tensor,
    decision: Tensor,
    positive: Tensor,
    sensitive: Tensor,
    weight: Tensor | None,
    groups: GroupSpec,
    score_bins: int,
) -> tuple[ConfusionTable, ScoreTable]:
    """Tables of rows none of which is NaN."""
    # By cell, label, decision and score bin: rows, weighted rows, and four weighted sums.
    kinds = 3 if weight is None else 6
    coarse = histogram.new_zeros(kinds, groups.num_cells * 4 * score_bins)
    for first in range(0, len(logits), _BLOCK):
        rows = slice(first, first + _BLOCK)
        mass = None if weight is None else weight[rows].double()
        of = (logits[rows], decision[rows], positive[rows], sensitive[rows], mass)
        _add_block(histogram, coarse, *of, groups, score_bins)
    by_cell = coarse.view(kinds, groups.num_cells, -1).movedim(0, -1)
    shape = (-1, 2, 2, score_bins, kinds)
    counts, *sums = unknown_last(by_cell, groups).view(shape).unbind(-1)
    number, total, square = (counts,) * 3 if weight is None else sums[:3]
    moments = [each.sum(-2) for each in (total, *sums[-2:])]
    return (
        ConfusionTable(counts.sum(-1).long(), total.sum(-1), square.sum(-1)),
        ScoreTable(histogram, torch.stack(moments, dim=-1), number.sum((-1, -2)).long()),
    )


def _add_block(
    histogram: Tensor,
    coarse: Tensor,
    logits: Tensor,
    decision: Tensor,
    label: Tensor,
    sensitive: Tensor,
    weight: Tensor | None,
    groups: GroupSpec,
    score_bins: int,
) -> None:
    one = histogram.new_ones(()).expand(len(logits))
    # int32 is added sooner than int64; only the finished codes need to be of that.
    cell = cross(label.to(torch.int32), 2, sensitive.to(torch.int32), groups)
    fine = logit_bins(logits, resolution_of(histogram)).add_(cell, alpha=histogram.shape[-1])
    histogram.view(-1).scatter_add_(0, fine.long(), one if weight is None else weight)
    score = torch.sigmoid(logits.double())
    error = (score - label.double()).square_()
    code = (score * score_bins).to(torch.int32).clamp_(max=score_bins - 1)
    code.add_(decision.to(torch.int32), alpha=score_bins).add_(cell, alpha=2 * score_bins)
    columns = [one, score, error]
    if weight is not None:
        of_weight = [(weight > 0).double(), weight, weight.square()]
        columns = [one, *of_weight, weight * score, weight * error]
    code = code.long()
    for table, column in zip(coarse, columns, strict=True):
        table.scatter_add_(0, code, column)
