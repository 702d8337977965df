"""Constraints as rows: intervals that products with θ are held in, or gaps that are penalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


class Block(NamedTuple):
    """Rows of one constraint: lower ≤ rows·θ − μ ≤ upper, μ free if centred and else 0.

    Attributes:
        name: For people; unique within a problem.
        family: Blocks of one family share a penalty, which is on the largest of their gaps.
        unit: What `value` is.
        rows: `(R, P)`.
        lower: `(R,)` bounds; infinite if penalised.
        upper: `(R,)`.
        centred: Whether the rows are held around a free centre.
        half: Half-width of the interval per unit of gap: 1/2 if centred, else 1.
        bound: Bound on `value`, if there is one.
        penalty: λ, if penalised.
    """

    name: str
    family: str
    unit: str
    rows: Array
    lower: Array
    upper: Array
    centred: bool
    half: float
    bound: float | None
    penalty: float | None

    @property
    def is_gap(self) -> bool:
        """Whether `value` is a gap, and not a single mean logit between bounds."""
        return self.bound is not None or self.penalty is not None

    def value(self, theta: Array) -> float:
        """Gap, covariance or mean logit at θ."""
        products = self.rows @ theta
        if self.centred:
            return float(products.max() - products.min())
        return float(np.abs(products).max()) if self.is_gap else float(products[0])

    def violation(self, theta: Array) -> float:
        """By how much the bound is exceeded; at least 0."""
        value = self.value(theta)
        if self.penalty is not None:
            return 0.0
        if self.bound is not None:
            return max(value - self.bound, 0.0)
        return max(value - float(self.upper[0]), float(self.lower[0]) - value, 0.0)


def penalty_of(blocks: Sequence[Block], theta: Array) -> float:
    """Σ λ·(largest gap of the family) at θ."""
    worst: dict[str, float] = {}
    for block in blocks:
        if block.penalty is not None:
            value = block.penalty * block.value(theta)
            worst[block.family] = max(worst.get(block.family, 0.0), value)
    return sum(worst.values())
