"""Objectives on the task loss of groups: the worst of them, or a bound on each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import (
    at_least_float32,
    mean_scores,
    row_moments,
    segment_sums,
)
from fairlightning.functional.tasks import TASKS, row_losses
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Adaptive, Step, Term
from fairlightning.objectives.bounds import Bound
from fairlightning.objectives.multipliers import Multipliers
from fairlightning.objectives.running_constraint import RunningConstraint


class GroupDRO(Adaptive):
    """Group distributionally robust optimisation (Sagawa et al. 2020, arXiv:1911.08731).

    Each group has a weight q, which grows with its loss: q ← q · exp(η · L) after each optimizer
    step, then all are scaled to add up to 1. The value is Σ q·L minus the mean loss of the same
    rows, times their share of all rows: added to the task loss with λ = 1, groups count by their
    weights; λ = 0 is the plain model, and between them the two are mixed. Above 1 groups of small
    weight would be pushed to a higher loss. Rows of unknown group keep their part in the task loss.
    A group that is absent from a step keeps its weight.

    The loss is cross-entropy of the logits, of a regression the squared error; see
    `fairlightning.functional.tasks.row_losses`.

    Args:
        groups: The sensitive attributes.
        step_size: η > 0, per optimizer step and unit of loss.
        attributes: Attributes that it is about; all if None.
        intersections: False: weights for the groups of each attribute, whose values are averaged.
            True: for the intersections of the attributes.
        weight: Share in λ.

    Attributes:
        group_weights: Buffer `(M,)`, q of the groups of the first partition, then of the next.

    Raises:
        ArgumentError: If the step size is not above 0, or an attribute does not exist.

    Shapes: logits `(..., N, C)`, target `(N,)`, sensitive `(N, A)`; the value is `(...)`, in nats
    or squared deviations.

    >>> objective = GroupDRO(GroupSpec({"sex": ["Female", "Male"]}), step_size=1.0)
    >>> step = Step(torch.tensor([[0.0], [9.0]]), torch.tensor([1, 1]), torch.tensor([[0], [1]]))
    >>> objective.update(objective.sums(step))
    >>> objective.group_weights  # of losses 0.69 and 0
    tensor([0.6666, 0.3334])
    """

    tasks = TASKS
    stackable = False  # the weights are those of one model
    group_weights: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        step_size: float = 0.01,
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        if not step_size > 0:
            raise ArgumentError.of(
                "step_size", found=step_size, expected="above 0", mend="pass step_size=0.01"
            )
        self.step_size = float(step_size)
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self._sizes = [groups.num_groups(partition) for partition in self.partitions]
        even = [torch.full((size,), 1 / size, dtype=torch.float32) for size in self._sizes]
        self.register_buffer("group_weights", torch.cat(even))

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Summed loss `(..., M)`, mass and rows `(M,)` of each group, and the mass of all rows."""
        assert step.logits is not None and step.target is not None and step.sensitive is not None
        losses = row_losses(at_least_float32(step.logits), step.target, step.task)
        moments = row_moments(losses, step.row_weight)
        groups = [self.groups.group_ids(step.sensitive, p) for p in self.partitions]
        pairs = list(zip(groups, self._sizes, strict=True))
        total, mass, *rows = (
            torch.cat([segment_sums(moment, group, size) for group, size in pairs], -1)
            for moment in moments
        )
        return total, mass, rows[0] if rows else mass, moments[1].sum()

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Loss at the weights of the groups that are there, minus the mean loss."""
        total, mass, rows, everyone = sums
        mass, rows = mass.detach(), rows.detach()
        parts = zip(*(x.split(self._sizes, -1) for x in (total, mass, rows)), strict=True)
        weights = self.group_weights.to(total.dtype).split(self._sizes)
        values, support = [], {}
        for name, weight, (loss, counted, seen) in zip(
            map(" & ".join, self.partitions), weights, parts, strict=True
        ):
            present = weight * (seen > 0)
            robust = (mean_scores(loss, counted) * mean_scores(present, present.sum())).sum(-1)
            mean = mean_scores(loss.sum(-1), counted.sum())
            values.append((robust - mean) * mean_scores(counted.sum(), everyone.detach()))
            support[name] = seen
        return Term(torch.stack(values, -1).mean(-1), support=support)

    @torch.no_grad()
    def update(self, sums: Sequence[Tensor]) -> None:
        """Raise the weights of the groups that were seen by their losses.

        Args:
            sums: Sums of all batches of the step, added over ranks.
        """
        total, mass, rows, _ = sums
        moved = []
        for weight, loss, counted, seen in zip(
            *(x.split(self._sizes) for x in (self.group_weights, total, mass, rows)), strict=True
        ):
            present = seen > 0
            rise = torch.where(present, self.step_size * mean_scores(loss, counted), -torch.inf)
            grown = torch.where(present, weight * (rise - rise.amax()).exp(), 0.0)
            kept = (weight * present).sum()  # what the absent ones leave
            moved.append(torch.where(present, mean_scores(grown, grown.sum()) * kept, weight))
        self.group_weights.copy_(torch.cat(moved))


class BoundedGroupLoss(RunningConstraint):
    """Keep the task loss of every group within a bound (Agarwal et al. 2019, arXiv:1905.12843).

    Minimise the task loss subject to E[loss | group] ≤ ζ, by multipliers; see `RunningConstraint`
    for how, and add the callback `MultiplierUpdate`. The loss is that of
    `fairlightning.functional.tasks.row_losses`: cross-entropy in nats, of a regression the squared
    error in squared deviations of the target, so that ζ = 1 is what the mean alone reaches.

    Args:
        groups: The sensitive attributes.
        zeta: ζ > 0.
        attributes: Attributes that it is about; all if None.
        intersections: False: each attribute by itself. True: the intersections of them.
        margin: Distance ≥ 0 that is kept from the bound, below ζ.
        multipliers: `NuPI()` if None, or `DualAscent(...)`, `AugmentedLagrangian(...)`.
        memory: Length of the memory of the losses in rows; None: each step's by themselves.
        weight: Scales the multipliers; 0 switches the constraint off.

    Raises:
        ArgumentError: On a bound or margin out of range, or an attribute that does not exist.

    Shapes: logits `(..., N, C)`, target `(N,)`, sensitive `(N, A)`; the value is `(...)`.

    >>> constraint = BoundedGroupLoss(GroupSpec({"sex": ["Female", "Male"]}), zeta=0.5)
    >>> step = Step(torch.tensor([[0.0], [9.0]]), torch.tensor([1, 1]), torch.tensor([[0], [1]]))
    >>> round(constraint.eval()(step).strict.value.item(), 4)  # the larger of the two losses
    0.6931
    """

    tasks = TASKS

    def __init__(
        self,
        groups: GroupSpec,
        *,
        zeta: float,
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        margin: float = 0.0,
        multipliers: Multipliers | None = None,
        memory: float | None = 10_000,
        weight: float = 1.0,
    ) -> None:
        if not 0 <= margin < zeta:
            raise ArgumentError.of(
                "zeta, margin",
                found=f"{zeta}, {margin}",
                expected="a bound above 0, and a margin of at least 0 below it",
                mend="pass zeta=0.4, margin=0",
            )
        bound = Bound("at_most", float(zeta), float(margin), "demographic_parity", (0,))
        super().__init__(
            groups,
            bound=bound,
            attributes=attributes,
            intersections=intersections,
            multipliers=multipliers,
            memory=memory,
            weight=weight,
        )

    def of_rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Loss of each row, twice: what is bounded is differentiable."""
        assert step.logits is not None and step.target is not None
        losses = row_losses(at_least_float32(step.logits), step.target, step.task)
        return losses, losses.detach()
