"""Parity penalties: demographic parity, equal opportunity, equalized odds."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import (
    CRITERIA,
    GAPS,
    Criterion,
    Gap,
    parity_gap,
    rate_variance,
)
from fairlightning.functional.rates import Rates, mean_scores, row_moments, slot_sums
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

    _offset: Tensor
    _axes: Tensor

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
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self.num_groups = [groups.num_groups(partition) for partition in self.partitions]
        # Sums of every partition, label (if it matters) and group, unknown first, as one block.
        labels = 1 if criterion == "demographic_parity" else 2
        self._block = (len(self.partitions), labels, max(self.num_groups) + 1)
        offset = torch.arange(len(self.partitions)) * labels * self._block[2] + 1
        self.register_buffer("_offset", offset, persistent=False)
        axes = torch.tensor(groups.axes(self.attributes))
        self.register_buffer("_axes", axes, persistent=False)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of the scores, and of what `term` needs beside them, per partition, label, group."""
        assert step.logits is not None
        if step.row_weight is not None and self.debiased:
            raise ArgumentError.of(
                "debiased",
                found="True with row weights",
                expected="rows without weights, for which s²/n is right",
                mend="pass debiased=False or train without row weights",
            )
        slot = self._slots(step)
        logits = step.logits.squeeze(-1)
        moments = row_moments(torch.sigmoid(logits), step.row_weight, square=self.debiased)
        return tuple(self._sum(moment, slot) for moment in moments)

    def _slots(self, step: Step) -> Tensor:
        """Where each row counts, `(N, P)`."""
        assert step.sensitive is not None and step.target is not None
        if len(self.partitions) == len(self.attributes):
            group = step.sensitive.index_select(1, self._axes)
        else:
            group = self.groups.group_ids(step.sensitive, self.attributes).unsqueeze(1)
        slot = group + self._offset
        if self._block[1] == 1:
            return slot
        return torch.add(slot, step.target.unsqueeze(1), alpha=self._block[2])

    def _sum(self, values: Tensor, slot: Tensor) -> Tensor:
        if slot.shape[1] > 1:
            values = values.unsqueeze(-1).expand(*values.shape, slot.shape[1]).flatten(-2)
        return slot_sums(values, slot.flatten(), prod(self._block))

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Gap of every partition, averaged."""
        first = 1 if self.criterion == "equal_opportunity" else 0
        total, mass, *others = (
            part.view(*part.shape[:-1], *self._block)[..., first:, 1:] for part in sums
        )
        mass = mass.detach()
        if self.debiased:
            rows, gap = mass, self._debiased_gap(total, mass, others[0])
        else:
            rows = others[0].detach() if others else mass
            rates = Rates(mean_scores(total, mass), rows)
            gap = parity_gap(rates, self.gap, temperature=self.temperature)
        parts = zip(self.partitions, self.num_groups, strict=True)
        support = {
            " & ".join(partition): rows[..., index, :, :count]
            for index, (partition, count) in enumerate(parts)
        }
        value = gap.squeeze(-1) if gap.shape[-1] == 1 else gap.mean(-1)
        return Term(value, support=support)

    @staticmethod
    def _debiased_gap(total: Tensor, mass: Tensor, square: Tensor) -> Tensor:
        # One row has a rate but no variance, so its part of the bias could not be taken away.
        rates = Rates(mean_scores(total, mass), torch.where(mass > 1, mass, 0.0))
        return parity_gap(rates, "squared", variance=rate_variance(rates, square))


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
