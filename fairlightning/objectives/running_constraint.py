"""Constraints on group means that are remembered from batch to batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.parity import NUM_CONDITIONS, criterion_cells
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


class RunningConstraint(Constraint):
    """Base of constraints c ≤ 0 that are linear in means over groups.

    The value is Σ λ_j c_j, with what the network can follow in the place of what is bounded; λ is
    driven by what is bounded (the proxy-Lagrangian of Cotter et al. 2019, arXiv:1804.06500). Means
    come from a fading memory of `memory` rows; see `fairlightning.functional.running`. In
    evaluation they are those of the sums alone.

    Args:
        groups: The sensitive attributes.
        bound: What is bounded, and how.
        attributes: Attributes that it is about; all if None.
        intersections: False: each attribute by itself. True: the intersections of them.
        multipliers: `NuPI()` if None.
        memory: Length of the memory in rows; None: each step's means by themselves.
        weight: Scales the multipliers.

    Raises:
        ArgumentError: If the memory has no length, or an attribute does not exist.
    """

    stackable = False  # multipliers and memory are those of one model
    memory: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        bound: Bound,
        attributes: Sequence[str] | None,
        intersections: bool,
        multipliers: Multipliers | None,
        memory: float | None,
        weight: float,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        if memory is not None and not memory > 0:
            raise ArgumentError.of(
                "memory",
                found=memory,
                expected="a number of rows above 0",
                mend="pass memory=10_000, or None for the rates of single steps",
            )
        self.bound = bound
        self.memory_rows = memory
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self.num_groups = [groups.num_groups(partition) for partition in self.partitions]
        self._make_buffers(multipliers or NuPI())

    @abstractmethod
    def of_rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """What is averaged over rows, each `(..., N)`: differentiable, and as it is bounded."""

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
        self.register_buffer("memory", torch.zeros(MOMENTS, first + 1, dtype=torch.float32))

    @property
    def comparisons(self) -> Comparisons:
        """The constraints, on the module's device."""
        return Comparisons(*(getattr(self, f"_{name}") for name in Comparisons._fields))

    @property
    def limit(self) -> float:
        """The bound without the margin."""
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
        """Sums of what is bounded, soft and strict, weights and rows per cell, `(..., 4, K + 1)`.

        The last column holds those of all rows, known group or not.
        """
        assert step.target is not None and step.sensitive is not None
        moments = cell_moments(*self.of_rows(step), step.row_weight)
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
