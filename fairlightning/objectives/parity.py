"""Parity penalties: demographic parity, equal opportunity, equalized odds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import (
    CRITERIA,
    GAPS,
    NUM_CONDITIONS,
    Criterion,
    Gap,
    criterion_cells,
    parity_gap,
    rate_variance,
)
from fairlightning.functional.rates import rates_from_sums, row_moments, segment_sums
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term


class ParityPenalty(Objective):
    """Penalise the gap between the groups' soft selection rates.

    The rates are means of sigmoid(logit), over all rows (demographic parity; the relaxation of
    Zafar et al. 2017, arXiv:1507.05259, with probabilities for the margin), over rows with label 1
    (equal opportunity; Hardt et al. 2016, arXiv:1610.02413) or over each label (equalized odds).
    A group that is absent from a batch, or has no row with the label in question, takes no part in
    the gap of that batch; its support is 0 in the term.

    Args:
        groups: The sensitive attributes.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`.
        gap: `max`, `mean`, `squared` or `logsumexp`; see `fairlightning.functional.parity_gap`.
        attributes: Attributes that it is about; all if None.
        intersections: False: the gap of every attribute, averaged. True: one gap over the
            intersections of the attributes.
        debiased: Subtract from the squared gap what sampling alone adds to it (s²/n per group), so
            that small batches do not push towards a gap that is not there. Needs `gap="squared"`
            and rows without weights; groups with fewer than two rows in a batch then take no part.
        temperature: Width > 0 of `logsumexp`, in units of the rate.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown criterion, gap or attribute, or options that exclude each
            other.

    Shapes: logits `(..., N, 1)`, target `(N,)` in {0, 1}, sensitive `(N, A)`; the value is `(...)`,
    in [0, 1] unless debiased.

    >>> penalty = ParityPenalty(GroupSpec({"sex": ["Female", "Male"]}))
    >>> term = penalty(Step(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]),
    ...                     torch.tensor([[0], [1]])))
    >>> round(term.value.item(), 4), term.support["sex"].tolist()
    (0.3808, [[1.0, 1.0]])
    """

    def __init__(
        self,
        groups: GroupSpec,
        *,
        criterion: Criterion = "demographic_parity",
        gap: Gap = "max",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        debiased: bool = False,
        temperature: float = 0.05,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_choice("criterion", criterion, CRITERIA)
        check_choice("gap", gap, GAPS)
        _check_options(gap, debiased, temperature)
        self.criterion: Criterion = criterion
        self.gap: Gap = gap
        self.debiased = debiased
        self.temperature = temperature
        single = tuple((name,) for name in self.attributes)
        self.partitions = (self.attributes,) if intersections else single
        self.num_groups = [groups.num_groups(partition) for partition in self.partitions]

    def sums(self, step: Step) -> Tensor:
        """Sums of the moments of each row per condition and group: `(..., M, ΣCG)`."""
        assert step.logits is not None and step.target is not None and step.sensitive is not None
        if step.row_weight is not None and self.debiased:
            raise ArgumentError.of(
                "debiased",
                found="True with row weights",
                expected="rows without weights, for which s²/n is right",
                mend="pass debiased=False or train without row weights",
            )
        scores = torch.sigmoid(step.logits.squeeze(-1))
        moments = row_moments(scores, step.row_weight, square=self.debiased)
        conditions = NUM_CONDITIONS[self.criterion]
        parts = []
        for partition, count in zip(self.partitions, self.num_groups, strict=True):
            group = self.groups.group_ids(step.sensitive, partition)
            cell = criterion_cells(self.criterion, step.target, group, count)
            parts.append(segment_sums(moments, cell, conditions * count))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def term(self, sums: Tensor) -> Term:
        """Gap of every partition, averaged."""
        conditions = NUM_CONDITIONS[self.criterion]
        gaps, support = [], {}
        first = 0
        for partition, count in zip(self.partitions, self.num_groups, strict=True):
            part = sums[..., first : first + conditions * count]
            first += conditions * count
            gap, seen = self._gap(part.view(*sums.shape[:-1], conditions, count).unbind(-3))
            gaps.append(gap)
            support[" & ".join(partition)] = seen
        value = gaps[0] if len(gaps) == 1 else torch.stack(gaps).mean(0)
        return Term(value, support=support)

    def _gap(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        if not self.debiased:
            rates = rates_from_sums(*rows)
            return parity_gap(rates, self.gap, temperature=self.temperature), rates.support
        total, mass, square = rows
        # One row has a rate but no variance, so its part of the bias could not be taken away.
        rates = rates_from_sums(total, torch.where(mass > 1, mass, 0.0))
        variance = rate_variance(rates, square)
        return parity_gap(rates, "squared", variance=variance), mass.detach()


def _check_options(gap: Gap, debiased: bool, temperature: float) -> None:
    if debiased and gap != "squared":
        raise ArgumentError.of(
            "debiased",
            found=f"True with gap={gap!r}",
            expected="gap='squared', the only one whose bias is known exactly",
            mend="pass gap='squared' or debiased=False",
        )
    if not temperature > 0:
        raise ArgumentError.of(
            "temperature",
            found=temperature,
            expected="greater than 0, in units of the rate",
            mend="pass temperature=0.05",
        )
