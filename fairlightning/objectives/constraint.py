"""Constraints on group rates: the network minimises the task loss subject to them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, criterion_cells
from fairlightning.functional.rates import segment_sums
from fairlightning.functional.running import (
    MOMENTS,
    cell_moments,
    memory_rates,
    remember,
    running_rates,
)
from fairlightning.functional.violations import (
    Comparisons,
    both_present,
    smallest_ratio,
    violations,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Constraint, Step, Strict, Term
from fairlightning.objectives.bounds import Bound
from fairlightning.objectives.multipliers import Multipliers, NuPI


class RateConstraint(Constraint):
    """Keep a gap, a rate or a ratio of rates within a bound.

    Three forms, each for every named attribute or for their intersections:

    - `criterion=..., epsilon=0.05`: no two groups' rates lie further apart than ε;
    - `rate=..., at_least=0.8` or `at_most=0.1`: the rate of every group is bounded;
    - `rate="selection_rate", ratio=0.8`: no group's rate is less than 0.8 of another's, the
      four-fifths rule.

    Each is a vector of signed violations c, linear in the rates, with a multiplier λ_j ≥ 0 per
    entry. The value is Σ λ_j c_j with soft rates, which the network can follow; λ is driven by c
    with thresholded rates, which are what is promised (the proxy-Lagrangian of Cotter et al. 2019,
    arXiv:1804.06500). Rates come from a fading memory of `memory` rows; see
    `fairlightning.functional.running`. In evaluation they are those of the sums alone. A pair with
    a group that was never seen has no violation and its multiplier stays; the support tells so.

    Memory and multipliers are changed by `update` alone, once per optimizer step: add the callback
    `MultiplierUpdate`.

    Args:
        groups: The sensitive attributes.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`, with `epsilon`.
        epsilon: Largest gap, in [0, 1).
        rate: `selection_rate`, `true_positive_rate` or `false_positive_rate`, with one of the
            following.
        at_least: Lower bound in [0, 1] on the rate of every group.
        at_most: Upper bound in [0, 1] on it.
        ratio: Lower bound in (0, 1] on the ratio of the rates of any two groups.
        attributes: Attributes that it is about; all if None.
        intersections: False: each attribute by itself. True: the intersections of them.
        margin: Distance ≥ 0 that is kept from the bound, in training and where a checkpoint is
            chosen, since a model that is just feasible on some rows is not on others.
        multipliers: `NuPI()` if None, or `DualAscent(...)`, `AugmentedLagrangian(...)`.
        memory: Length of the memory of the rates in rows; None: each step's rates by themselves.
        temperature: Width > 0 of the sigmoid that stands for the decision, in logits. Smaller
            follows the decision more closely and moves only rows near the threshold.
        threshold: Score in (0, 1) from which a row counts as selected.
        weight: Scales the multipliers; 0 switches the constraint off.

    Raises:
        ArgumentError: On an unknown name, a value out of its range, or no or several forms at once.

    Shapes: logits `(..., N, 1)`, target `(N,)` in {0, 1}, sensitive `(N, A)`; the value is `(...)`.

    >>> constraint = RateConstraint(GroupSpec({"sex": ["Female", "Male"]}), epsilon=0.1)
    >>> step = Step(torch.tensor([[-1.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([[0], [1]]))
    >>> round(constraint.eval()(step).strict.value.item(), 4)  # one group selected, the other not
    1.0
    """

    stackable = False  # multipliers and memory are those of one model
    memory: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        criterion: Criterion | None = None,
        epsilon: float | None = None,
        rate: str | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        ratio: float | None = None,
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        margin: float = 0.0,
        multipliers: Multipliers | None = None,
        memory: float | None = 10_000,
        temperature: float = 0.5,
        threshold: float = 0.5,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        self.bound = Bound.of(
            criterion=criterion,
            epsilon=epsilon,
            rate=rate,
            at_least=at_least,
            at_most=at_most,
            ratio=ratio,
            margin=margin,
        )
        _check_numbers(memory, temperature, threshold)
        self.memory_rows = memory
        self.temperature = float(temperature)
        self.cut = log(threshold / (1 - threshold))
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self.num_groups = [groups.num_groups(partition) for partition in self.partitions]
        self._make_buffers(multipliers or NuPI())

    def _make_buffers(self, multipliers: Multipliers) -> None:
        blocks, first = [], 0
        for count in self.num_groups:
            for condition in range(NUM_CONDITIONS[self.bound.cells]):
                block = range(first, first + count)
                first += count
                if condition in self.bound.conditions:
                    blocks.append(block)
        comparisons = self.bound.comparisons(blocks)
        for name, part in comparisons._asdict().items():
            self.register_buffer(f"_{name}", part, persistent=False)
        self.multipliers = multipliers
        self.multipliers.allocate(len(comparisons.first))
        self.register_buffer("memory", torch.zeros(MOMENTS, first + 1))

    @property
    def comparisons(self) -> Comparisons:
        """The constraints, on the module's device."""
        return Comparisons(*(getattr(self, f"_{name}") for name in Comparisons._fields))

    @property
    def limit(self) -> float:
        """ε, or the bound on the rate or ratio; without the margin."""
        return self.bound.limit

    @property
    def margin(self) -> float:
        """Distance kept from it."""
        return self.bound.margin

    @property
    def multiplier(self) -> Tensor:
        """Σ λ."""
        return self.multipliers.value.sum()

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of soft scores, decisions, weights and rows per cell, as one `(..., 4, K + 1)`.

        The last column holds those of all rows, known group or not.
        """
        assert step.logits is not None and step.target is not None and step.sensitive is not None
        logits = step.logits.squeeze(-1)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        distance = logits - self.cut
        soft = torch.sigmoid(distance / self.temperature)
        moments = cell_moments(soft, (distance >= 0).to(soft.dtype), step.row_weight)
        parts = []
        for partition, count in zip(self.partitions, self.num_groups, strict=True):
            group = self.groups.group_ids(step.sensitive, partition)
            cell = criterion_cells(self.bound.cells, step.target, group, count)
            cells = NUM_CONDITIONS[self.bound.cells] * count
            parts.append(segment_sums(moments, cell, cells))
        parts.append(moments.sum(-1, keepdim=True))
        return (torch.cat(parts, -1),)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Σ λ·c at running rates in training; at the rates of the sums, and strictly, otherwise."""
        (batch,) = sums
        rows = self.memory_rows if self.training else None
        rates = running_rates(remember(self.memory, batch.detach(), rows), batch)
        comparisons = self.comparisons
        seen = both_present(comparisons, rates.support)
        soft = torch.where(seen, violations(comparisons, rates.soft), 0.0)
        hard = torch.where(seen, violations(comparisons, rates.hard), 0.0)
        value = (self.multipliers.effective(hard) * soft).sum(-1)
        strict = None if self.training else self._strict(rates.hard, hard, seen)
        return Term(value, support=self._support(rates.support), strict=strict)

    def _strict(self, hard: Tensor, violation: Tensor, seen: Tensor) -> Strict:
        worst = torch.where(seen, violation, -torch.inf).amax(-1)
        if self.bound.kind == "ratio":
            value = smallest_ratio(self.comparisons, hard, seen)
        else:
            value = self.bound.value_at(worst)
        return Strict(violation, seen, worst, value)

    def _support(self, support: Tensor) -> dict[str, Tensor]:
        conditions = NUM_CONDITIONS[self.bound.cells]
        parts = support.split([conditions * count for count in self.num_groups], -1)
        return {
            " & ".join(partition): part.unflatten(-1, (conditions, -1))
            for partition, part in zip(self.partitions, parts, strict=True)
        }

    @torch.no_grad()
    def update(self, sums: Sequence[Tensor]) -> None:
        """Take the sums of one optimizer step into the memory, and move the multipliers.

        Args:
            sums: Sums of all batches of the step, added over ranks.
        """
        (batch,) = sums
        self.memory.copy_(remember(self.memory, batch, self.memory_rows))
        _, violation, seen = self._remembered()
        share = torch.ones(())
        if self.memory_rows is not None:
            share = -torch.expm1(-batch[-1, -1] / self.memory_rows)
        self.multipliers.step(violation, seen, share)

    @torch.no_grad()
    def strict(self) -> Strict:
        """Thresholded violations at the rates of the memory."""
        return self._strict(*self._remembered())

    def _remembered(self) -> tuple[Tensor, Tensor, Tensor]:
        rates = memory_rates(self.memory)
        comparisons = self.comparisons
        seen = both_present(comparisons, rates.support)
        violation = torch.where(seen, violations(comparisons, rates.hard), 0.0)
        return rates.hard, violation, seen


def _check_numbers(memory: float | None, temperature: float, threshold: float) -> None:
    if memory is not None and not memory > 0:
        raise ArgumentError.of(
            "memory",
            found=memory,
            expected="a number of rows above 0",
            mend="pass memory=10_000, or None for the rates of single steps",
        )
    if not temperature > 0:
        raise ArgumentError.of(
            "temperature", found=temperature, expected="above 0", mend="pass temperature=0.5"
        )
    if not 0 < threshold < 1:
        raise ArgumentError.of(
            "threshold", found=threshold, expected="a score in (0, 1)", mend="pass threshold=0.5"
        )
