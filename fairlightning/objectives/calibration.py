"""Calibration within groups as a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.continuous import PROBABILITIES, soft_bins
from fairlightning.functional.rates import at_least_float32, mean_scores, segment_sums
from fairlightning.functional.tasks import class_scores, one_vs_rest
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term


class CalibrationPenalty(Objective):
    """Penalise the calibration error within each group.

    Calibration within groups asks that of the rows of a group with score p a share of p has label 1
    (Kleinberg et al. 2017, arXiv:1609.05807). The error is Σ (share of a bin) · |mean score − rate
    of label 1|^power over bins of the score. Bins are soft, as in Karandikar et al. 2021
    (arXiv:2108.00106): a row is shared between the two nearest centres. For the gradient these
    shares are constants, since scores can also be calibrated by moving rows of different labels
    into one bin, until all have the base rate. Of several classes each is set against the rest, and
    the error averaged over classes.

    It follows from sums over rows, exact over batches and ranks. Chance alone gives a perfectly
    calibrated group an error of about (number of bins) · p(1 − p) / (rows of the group), which is
    least where all scores fall into one bin: a penalty on it would make scores constant. With power
    2 it is therefore subtracted: pairs of different rows alone count, as in the unbiased kernel
    calibration error (Widmann et al. 2019, arXiv:1910.11385). A single value may then be negative.

    Args:
        groups: The sensitive attributes.
        bins: Number of centres, at least 2.
        power: 2, or 1 for the expected calibration error, which chance biases upwards.
        debiased: Subtract what chance adds, with power 2. Row weights are then taken for shares of
            rows that differ, not for repeated rows.
        attributes: Attributes that it is about; all if None.
        intersections: False: the groups of each attribute, averaged. True: the intersections.
        weight: Share in λ.

    Raises:
        ArgumentError: On fewer bins, another power, `debiased` with power 1, or an attribute that
            does not exist.

    Shapes: logits `(..., N, C)`, target `(N,)`, sensitive `(N, A)`; the value `(...)`, in [0, 1]
    unless debiased, is the mean over groups with rows.

    >>> groups = GroupSpec({"sex": ["Female", "Male"]})
    >>> penalty = CalibrationPenalty(groups, debiased=False, power=1)
    >>> step = Step(torch.tensor([[0.0], [0.0]]), torch.tensor([0, 0]), torch.tensor([[0], [1]]))
    >>> round(penalty(step).value.item(), 4)  # all have score ½, and none has label 1
    0.5
    """

    tasks = ("binary", "multiclass")

    def __init__(
        self,
        groups: GroupSpec,
        *,
        bins: int = 10,
        power: Literal[1, 2] = 2,
        debiased: bool = True,
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        if bins < 2 or power not in (1, 2) or (debiased and power == 1):
            raise ArgumentError.of(
                "bins, power, debiased",
                found=f"{bins}, {power}, {debiased}",
                expected="at least 2 bins; power 2, or 1 without debiased",
                mend="pass bins=10, power=2",
            )
        self.debiased = debiased
        self.bins = bins
        self.power = power
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self._sizes = [groups.num_groups(partition) for partition in self.partitions]

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of score − label and mass of each class, bin and group `(..., C·U·M)`, and rows.

        If debiased, before the rows also the sums of what a row adds to the square of the first.
        """
        assert step.logits is not None and step.target is not None and step.sensitive is not None
        scores = class_scores(step.logits, step.task)
        labels = step.target
        if step.task == "multiclass":
            labels = one_vs_rest(labels, step.logits.shape[-1])
        else:
            scores = scores.unsqueeze(-2)
        weight = step.row_weight
        mass = scores.new_ones(scores.shape[-1]) if weight is None else at_least_float32(weight)
        # Through the shares the gradient would mix labels rather than move scores.
        member = soft_bins(scores.detach(), PROBABILITIES, self.bins) * mass
        error = member * (scores - labels).unsqueeze(-2)
        rows = (mass > 0).to(scores.dtype)
        groups = [self.groups.group_ids(step.sensitive, p) for p in self.partitions]

        def summed(values: Tensor) -> Tensor:
            pairs = zip(groups, self._sizes, strict=True)
            return torch.cat([segment_sums(values, group, size) for group, size in pairs], -1)

        columns = [error, member, *([error.square()] if self.debiased else [])]
        return *(summed(column).flatten(-3) for column in columns), summed(rows)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean over the groups of each partition, over partitions and classes."""
        *columns, rows = sums
        rows = rows.detach()
        error, mass, *own = (
            part.unflatten(-1, (-1, self.bins, rows.shape[-1])) for part in columns
        )
        everyone = mass.detach().sum(-2, keepdim=True)
        if self.power == 1:
            found = mean_scores(error, everyone).abs().sum(-2)
        else:
            # One division at a time: the square of a small mass may be too small for its type.
            squared = mean_scores(error, mass) * mean_scores(error, everyone)
            if own:
                squared = squared - mean_scores(mean_scores(own[0], mass), everyone)
            found = squared.sum(-2)
        values, support = [], {}
        parts = zip(found.split(self._sizes, -1), rows.split(self._sizes, -1), strict=True)
        for partition, (errors, seen) in zip(self.partitions, parts, strict=True):
            present = (seen > 0).to(errors.dtype)
            values.append((errors * present).sum(-1) / present.sum(-1).clamp_min(1))
            support[" & ".join(partition)] = seen
        return Term(torch.stack(values, -1).mean((-1, -2)), support=support)
