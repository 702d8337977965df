"""The bound of a rate constraint: what is bounded, from which side, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, check_criterion
from fairlightning.functional.violations import Comparisons, each_within, pairs_within

Kind = Literal["epsilon", "at_least", "at_most", "ratio"]

RATES: dict[str, tuple[Criterion, int]] = {
    "selection_rate": ("demographic_parity", 0),
    "true_positive_rate": ("equal_opportunity", 0),
    "false_positive_rate": ("equalized_odds", 0),
}
"""By rate the criterion whose cells hold it, and under which of its conditions."""


@dataclass(frozen=True)
class Bound:
    """A bound on a gap, on rates or on their ratio.

    Attributes:
        kind: Name of the argument that gave it.
        limit: The bound itself.
        margin: Distance that is kept from it.
        cells: Criterion whose cells are counted.
        conditions: Conditions of it that are constrained.
    """

    kind: Kind
    limit: float
    margin: float
    cells: Criterion
    conditions: tuple[int, ...]

    @classmethod
    def of(
        cls, *, criterion: Criterion | None, rate: str | None, margin: float, **limits: float | None
    ) -> Bound:
        """Make the bound of the arguments of `RateConstraint`.

        Raises:
            ArgumentError: If they name no bound or several, or values out of range.
        """
        given = [kind for kind, limit in limits.items() if limit is not None]
        if len(given) != 1:
            raise ArgumentError.of(
                "RateConstraint",
                found=" and ".join(given) or "no bound",
                expected="exactly one of " + ", ".join(limits),
                mend='pass criterion="demographic_parity", epsilon=0.05',
            )
        (kind,) = given
        limit = limits[kind]
        assert limit is not None
        if (kind == "epsilon") != (rate is None) or (criterion is not None and rate is not None):
            raise ArgumentError.of(
                kind,
                found=f"{kind} with criterion={criterion!r} and rate={rate!r}",
                expected="criterion with epsilon; rate with at_least, at_most or ratio",
                mend='pass criterion="equal_opportunity", epsilon=0.05 or '
                'rate="true_positive_rate", at_least=0.8',
            )
        if rate is None:
            cells = criterion or "demographic_parity"
            check_criterion("RateConstraint", cells)
            conditions: tuple[int, ...] = tuple(range(NUM_CONDITIONS[cells]))
        else:
            cells, condition = RATES[check_choice("rate", rate, RATES)]
            conditions = (condition,)
        bound = cls(kind, float(limit), float(margin), cells, conditions)  # type: ignore[arg-type]
        bound._check()
        return bound

    def _check(self) -> None:
        if not (0 <= self.limit <= 1 and self.margin >= 0 and 0 <= self.target <= 1):
            raise ArgumentError.of(
                self.kind,
                found=f"{self.limit} with margin {self.margin}",
                expected="bound, and bound moved inwards by the margin, in [0, 1]",
                mend=f"pass for example {self.kind}=0.8"
                if self.kind in ("at_least", "ratio")
                else f"pass for example {self.kind}=0.05, margin=0",
            )

    @property
    def target(self) -> float:
        """The bound that is aimed at: moved inwards by the margin."""
        inwards = -self.margin if self.kind in ("epsilon", "at_most") else self.margin
        return self.limit + inwards

    def comparisons(self, blocks: Sequence[range]) -> Comparisons:
        """Write it as linear constraints on the rates of cells.

        Args:
            blocks: Cells of the groups of one partition under one condition.
        """
        if self.kind == "epsilon":
            return pairs_within(blocks, plus=1.0, bound=self.target)
        if self.kind == "ratio":
            return pairs_within(blocks, plus=self.target, bound=0.0)
        sign = 1.0 if self.kind == "at_most" else -1.0
        return each_within(list(chain(*blocks)), sign=sign, bound=self.target)

    def value_at(self, worst: Tensor) -> Tensor:
        """Gap or rate that belongs to the worst violation; not for ratios."""
        value = self.target - worst if self.kind == "at_least" else self.target + worst
        return value.clamp_min(0.0)  # rounding
