"""What a linear model minimises, and what is reported of its constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairlightning.convex.blocks import Array, Block
from fairlightning.convex.certificate import multiplier
from fairlightning.convex.losses import make_loss
from fairlightning.exceptions import ArgumentError


@dataclass(frozen=True)
class Objective:
    """What is minimised: mean loss + l1·‖β‖₁ + l2/2·‖β‖²; the intercept is not regularised.

    Args:
        loss: `logistic`, `squared_hinge` or `hinge`.
        l2: Weight ≥ 0. scikit-learn's C corresponds to l2 = 1/(C·W), W the weight of all rows, with
            twice the squared hinge of `LinearSVC` left as it is there.
        l1: Weight ≥ 0.
        class_weight: Weights ≥ 0 of the rows of label 0 and 1, times those of the rows. They enter
            the loss, not the constraints.

    Raises:
        ArgumentError: On unknown or negative values.
    """

    loss: str = "logistic"
    l2: float = 0.0
    l1: float = 0.0
    class_weight: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        make_loss(self.loss)
        for name, value in (("l2", self.l2), ("l1", self.l1)):
            if not 0 <= value < np.inf:
                raise ArgumentError.of(
                    name, found=value, expected="a number of at least 0", mend=f"pass {name}=1e-4"
                )
        if len(self.class_weight) != 2 or not min(self.class_weight) >= 0:
            raise ArgumentError.of(
                "class_weight",
                found=self.class_weight,
                expected="two numbers of at least 0, for label 0 and label 1",
                mend="pass (1.0, 1.0)",
            )

    def regularisation(self, theta: Array) -> float:
        """l1·‖β‖₁ + l2/2·‖β‖²."""
        beta = theta[:-1]
        return float(self.l1 * np.abs(beta).sum() + self.l2 / 2 * beta @ beta)


class ConstraintValue(NamedTuple):
    """One constraint, or penalised gap, at the solution.

    Attributes:
        name: Criterion, attribute and condition.
        unit: `logit gap`, `covariance` or `mean logit`.
        value: Its value, in units of the logit.
        lower: Lower bound; −∞ where there is none.
        upper: Upper bound; ∞ where there is none.
        violation: By how much a bound is exceeded; 0 where it is kept.
        multiplier: −dF/dε, by how much the objective would fall per unit of bound (of a mean logit
            between bounds: that of the bound at which it lies). Of a penalised gap its share of λ.
    """

    name: str
    unit: str
    value: float
    lower: float
    upper: float
    violation: float
    multiplier: float

    @classmethod
    def of(cls, block: Block, theta: Array, multipliers: Array) -> ConstraintValue:
        """Value of a block at θ, with the multipliers of its rows."""
        lower, upper = float(block.lower[0]), float(block.upper[0])
        if block.is_gap:
            lower, upper = -np.inf, np.inf if block.bound is None else block.bound
        return cls(
            name=block.name,
            unit=block.unit,
            value=block.value(theta),
            lower=lower,
            upper=upper,
            violation=block.violation(theta),
            multiplier=multiplier(block, multipliers),
        )
