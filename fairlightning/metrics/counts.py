"""All that is counted of a binary classifier, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rows import (
    binary_logits,
    check_labels,
    check_threshold,
    check_weight,
)
from fairlightning.functional.score_bins import check_resolution
from fairlightning.functional.score_histogram import Tally
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric, writable
from fairlightning.metrics.confusion import selected
from fairlightning.metrics.tables import GroupTables


class GroupCounts(ExactMetric):
    """Count the rows of a binary classifier by sensitive values, label, decision and score.

    The tables hold for every group what `GroupConfusion` counts, its area under the ROC curve and
    those across groups, calibration error, Brier score, reliability curve and distribution; see
    `functional.score_figures`. The state does not grow with the rows, and slots are fixed: an
    absent group keeps its place and holds zeros, rows of unknown group have slots of their own.

    At the default resolution the bound on the error of an area under the ROC curve is 0.001 where
    logits have a standard deviation of 1, and less where they spread wider; the error itself was
    some hundred times smaller. The state takes 19 kB for each cell.

    Args:
        groups: Sensitive attributes and their categories.
        threshold: Score, strictly between 0 and 1, from which a row is selected.
        resolution: Bins to each doubling of the logit, a power of two; see `bin_edges`. Twice as
            many halve the binning error and double the state.
        score_bins: Bins of equal width in the score, of which calibration and distribution speak.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups, the threshold or the numbers cannot be used, or a table would
            have more than `MAX_SLOTS` slots.

    >>> import torch
    >>> metric = GroupCounts({"sex": ["Female", "Male"]})
    >>> metric.update(torch.tensor([2.0, -1.0]), torch.tensor([1, 0]), torch.tensor([[1], [-1]]))
    >>> metric.compute().scores.rows.sum(1)  # Female, Male, unknown
    tensor([0, 1, 1])
    """

    histogram: Tensor
    sums: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        threshold: float = 0.5,
        *,
        resolution: int = 64,
        score_bins: int = 15,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.threshold = check_threshold(threshold)
        empty = Tally.empty(self.groups, check_resolution(resolution), _check_bins(score_bins))
        for name, zeros in empty._asdict().items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self, logits: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Count the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class.
            target: `(N,)` labels 0 and 1.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape, a label, a code or a weight cannot be used. NaN logits do not
                raise: they are counted as `undecided`, and have no score.
        """
        logits = binary_logits(logits)
        rows = len(logits)
        self.histogram, self.sums = writable(self.histogram), writable(self.sums)
        Tally(self.histogram, self.sums).add(
            logits,
            selected(logits, self.threshold),
            check_labels(target, rows),
            self.groups.check(sensitive, rows),
            self.groups,
            None if weight is None else check_weight(weight, rows),
        )

    def compute(self) -> GroupTables:
        """Return the tables of all rows so far, over all processes."""
        return GroupTables(*Tally(self.histogram, self.sums).tables(self.groups))


def _check_bins(score_bins: int) -> int:
    if score_bins < 1:
        raise ArgumentError.of("score_bins", found=score_bins, expected="1 or more", mend="pass 15")
    return score_bins
