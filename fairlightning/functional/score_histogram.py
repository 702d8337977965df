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
    check_slots,
    count_undecided,
    cross,
    partition_sums,
    unknown_last,
)
from fairlightning.functional.score_bins import logit_bins, num_bins, resolution_of
from fairlightning.groups import GroupSpec

_BLOCK = 2**15  # rows counted at a time: what they need for it stays in the cache
_NONE = torch.tensor(0)
_UNWEIGHTED, _KINDS = 3, 9


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
    tally = Tally.empty(groups, resolution, score_bins).to(logits.device)
    tally.add(logits, decision, positive, sensitive, groups, weight)
    return tally.tables(groups)


class Tally(NamedTuple):
    """What is counted batch by batch, by adding in place: new tables for each would cost more.

    Cells are in the order of `counting.cross`, which `tables` brings into that of all others. All
    is float64, and adds up over batches and processes.

    Attributes:
        histogram: `(M, 2, B)` as in `ScoreTable`.
        sums: `(9, M, 2, 2, K + 1)` by cell, label, decision and bin of the score, the last bin of
            rows whose score is NaN: of unweighted rows the number, the sum of their scores and that
            of their squared errors; of weighted rows the number, that of positive weight, the
            sums of weights, of their squares, of weighted scores and weighted squared errors.
    """

    histogram: Tensor
    sums: Tensor

    @classmethod
    def empty(cls, groups: GroupSpec, resolution: int = 64, score_bins: int = 15) -> Tally:
        """Make the tally of no rows.

        Raises:
            ArgumentError: If it would have more than `MAX_SLOTS` slots.
        """
        shapes = (
            (groups.num_cells, 2, num_bins(resolution)),
            (_KINDS, groups.num_cells, 2, 2, score_bins + 1),
        )
        for shape in shapes:
            check_slots(*shape)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def to(self, device: torch.device) -> Tally:
        """Move it."""
        return Tally(self.histogram.to(device), self.sums.to(device))

    def add(
        self,
        logits: Tensor,
        decision: Tensor,
        positive: Tensor,
        sensitive: Tensor,
        groups: GroupSpec,
        weight: Tensor | None = None,
    ) -> None:
        """Count rows; the arguments are those of `confusion_and_scores`."""
        rows = _Rows(logits, decision, positive, sensitive, weight)
        if count_undecided(logits):
            lost = logits.isnan()
            self._add_sums(rows.take(lost), groups)
            rows = rows.take(~lost)
        for first in range(0, len(rows.logits), _BLOCK):
            self._add_scores(rows.take(slice(first, first + _BLOCK)), groups)

    def tables(self, groups: GroupSpec) -> tuple[ConfusionTable, ScoreTable]:
        """Return the tables of all rows so far; copies, which are not counted into."""
        plain, weighted = unknown_last(self.sums.movedim(0, -1), groups).split(
            (_UNWEIGHTED, _KINDS - _UNWEIGHTED), -1
        )
        count, score, error = plain.unbind(-1)
        number, weighing, mass, square, of_score, of_error = weighted.unbind(-1)
        all_mass = count + mass
        of_bins = torch.stack([all_mass, score + of_score, error + of_error], dim=-1)
        counts = (count + number).long()
        undecided = counts[..., -1].sum()
        return (
            ConfusionTable(counts.sum(-1), all_mass.sum(-1), (count + square).sum(-1), undecided),
            ScoreTable(
                unknown_last(self.histogram, groups),
                of_bins[..., :-1, :].sum(-3),
                (count + weighing)[..., :-1].sum((-1, -2)).long(),
                undecided,
            ),
        )

    def _add_scores(self, rows: _Rows, groups: GroupSpec) -> None:
        score = torch.sigmoid(rows.logits.double())
        error = (score - rows.label.double()).square_()
        last = self.sums.shape[-1] - 1
        coarse = (score * last).to(torch.int32).clamp_(max=last - 1)
        cell = self._add_sums(rows, groups, coarse, score, error)
        fine = logit_bins(rows.logits, resolution_of(self.histogram))
        fine.add_(cell, alpha=self.histogram.shape[-1])
        mass = self._one(rows) if rows.weight is None else rows.weight.double()
        self.histogram.view(-1).scatter_add_(0, fine.long(), mass)

    def _add_sums(
        self, rows: _Rows, groups: GroupSpec, coarse: Tensor | None = None, *of_scores: Tensor
    ) -> Tensor:
        """Add to the sums, and return the cell and label of each row as one number."""
        # int32 is added sooner than int64; only the finished codes need to be of that.
        cell = cross(rows.label.to(torch.int32), 2, rows.sensitive.to(torch.int32), groups)
        size = self.sums.shape[-1]
        code = torch.full_like(cell, size - 1) if coarse is None else coarse
        code.add_(rows.decision.to(torch.int32), alpha=size).add_(cell, alpha=2 * size)
        kinds, columns = self.sums[:_UNWEIGHTED], [self._one(rows), *of_scores]
        if rows.weight is not None:
            weight = rows.weight.double()
            kinds = self.sums[_UNWEIGHTED:]
            columns = [self._one(rows), (weight > 0).double(), weight, weight.square()]
            columns += [weight * each for each in of_scores]
        code = code.long()
        for kind, column in zip(kinds, columns, strict=False):
            kind.view(-1).scatter_add_(0, code, column)
        return cell

    def _one(self, rows: _Rows) -> Tensor:
        return self.sums.new_ones(()).expand(len(rows.logits))


class _Rows(NamedTuple):
    logits: Tensor
    decision: Tensor
    label: Tensor
    sensitive: Tensor
    weight: Tensor | None

    def take(self, which: Tensor | slice) -> _Rows:
        return _Rows(*(None if column is None else column[which] for column in self))  # type: ignore[arg-type]
