"""Convex losses of a margin, with what Newton steps and dual bounds need.

The margin is m = s·f(x), for a label s in {-1, 1} and a logit f(x). The conjugate is
φ*(α) = sup αm − φ(m); every pair obeys φ(m) ≥ αm − φ*(α), which is where lower bounds come from.
All three losses have infimum 0, so φ*(0) = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fairlightning.exceptions import check_choice

LossName = Literal["logistic", "squared_hinge", "hinge"]


class Loss(ABC):
    """A convex, non-increasing loss of the margin.

    Attributes:
        attained: Whether the loss reaches its infimum. Where it does not, separable data without
            regularisation have no solution.
        smooth: Whether `value` is what `slope` is the derivative of; else that is `smoothed`.
        fractions: Fractions of a step that are tried at once. Newton's steps are mostly taken
            whole on smooth losses, and mostly not on hinges, where fractions cost little.
    """

    attained: bool = True
    smooth: bool = True
    fractions: tuple[float, ...] = (1.0, 0.5, 0.125, 1 / 64)

    @abstractmethod
    def value(self, margin: Tensor) -> Tensor:
        """φ(m) ≥ 0."""

    @abstractmethod
    def slope(self, margin: Tensor) -> Tensor:
        """Derivative of `smoothed`, at most 0."""

    @abstractmethod
    def curvature(self, margin: Tensor) -> Tensor:
        """Second derivative of `smoothed`, one of them where there are two; at least 0."""

    @abstractmethod
    def conjugate(self, alpha: Tensor) -> Tensor:
        """φ*(α) of the loss itself, for α that `clip` has brought into its domain."""

    @abstractmethod
    def clip(self, alpha: Tensor) -> Tensor:
        """Nearest α with a finite conjugate."""

    def smoothed(self, margin: Tensor) -> Tensor:
        """The smooth function that steps are taken on: `value`, where that is smooth."""
        return self.value(margin)


class Logistic(Loss):
    """log(1 + exp(−m)): logistic regression.

    >>> Logistic().slope(torch.tensor([0.0]))
    tensor([-0.5000])
    """

    attained = False

    def value(self, margin: Tensor) -> Tensor:
        """log(1 + exp(−m))."""
        # F.softplus is linear from 20 on, an error of 2e-9.
        return -F.logsigmoid(margin)

    def slope(self, margin: Tensor) -> Tensor:
        """−σ(−m)."""
        return -torch.sigmoid(-margin)

    def curvature(self, margin: Tensor) -> Tensor:
        """σ(m)·σ(−m)."""
        return torch.sigmoid(margin) * torch.sigmoid(-margin)

    def conjugate(self, alpha: Tensor) -> Tensor:
        """p·log p + (1 − p)·log(1 − p) with p = −α."""
        return torch.xlogy(-alpha, -alpha) + torch.xlogy(1 + alpha, 1 + alpha)

    def clip(self, alpha: Tensor) -> Tensor:
        """Into [−1, 0]."""
        return alpha.clamp(-1, 0)


class SquaredHinge(Loss):
    """max(0, 1 − m)²: the support vector machine with squared hinge.

    >>> SquaredHinge().value(torch.tensor([0.0, 0.5, 2.0]))
    tensor([1.0000, 0.2500, 0.0000])
    """

    def value(self, margin: Tensor) -> Tensor:
        """max(0, 1 − m)²."""
        return (1 - margin).clamp_min(0).square()

    def slope(self, margin: Tensor) -> Tensor:
        """−2·max(0, 1 − m)."""
        return -2 * (1 - margin).clamp_min(0)

    def curvature(self, margin: Tensor) -> Tensor:
        """2 where m < 1, else 0."""
        return 2.0 * (margin < 1).to(margin.dtype)

    def conjugate(self, alpha: Tensor) -> Tensor:
        """α + α²/4."""
        return alpha + alpha.square() / 4

    def clip(self, alpha: Tensor) -> Tensor:
        """Into (−∞, 0]."""
        return alpha.clamp_max(0)


@dataclass(frozen=True)
class Hinge(Loss):
    """max(0, 1 − m): the support vector machine, with a parabola of width γ at its kink.

    Steps are taken on the smoothed loss, which lies below the hinge by at most γ/2. Value and
    conjugate are those of the hinge itself, so that a duality gap speaks of the hinge.

    Args:
        gamma: Width γ ≥ 0; at 0 there is no parabola, and no curvature.

    >>> hinge = Hinge(0.1)
    >>> hinge.value(torch.tensor([0.0])), hinge.smoothed(torch.tensor([0.0]))
    (tensor([1.]), tensor([0.9500]))
    """

    gamma: float = 4.0
    smooth = False
    fractions = tuple(0.5**k for k in range(10))

    def value(self, margin: Tensor) -> Tensor:
        """max(0, 1 − m)."""
        return (1 - margin).clamp_min(0)

    def smoothed(self, margin: Tensor) -> Tensor:
        """z²/(2γ) for z = 1 − m in [0, γ], z − γ/2 above."""
        z = (1 - margin).clamp_min(0)
        if not self.gamma:
            return z
        near = z.clamp_max(self.gamma)
        return near * (z - near / 2) / self.gamma

    def slope(self, margin: Tensor) -> Tensor:
        """−clamp((1 − m)/γ, 0, 1)."""
        if not self.gamma:
            return -(margin < 1).to(margin.dtype)
        return -((1 - margin) / self.gamma).clamp(0, 1)

    def curvature(self, margin: Tensor) -> Tensor:
        """1/γ within the parabola, else 0."""
        if not self.gamma:
            return torch.zeros_like(margin)
        z = 1 - margin
        return ((z > 0) & (z < self.gamma)).to(margin.dtype) / self.gamma

    def conjugate(self, alpha: Tensor) -> Tensor:
        """α."""
        return alpha

    def clip(self, alpha: Tensor) -> Tensor:
        """Into [−1, 0]."""
        return alpha.clamp(-1, 0)


LOSSES: dict[LossName, type[Loss]] = {
    "logistic": Logistic,
    "squared_hinge": SquaredHinge,
    "hinge": Hinge,
}


def make_loss(name: str) -> Loss:
    """Loss by name.

    Raises:
        ArgumentError: If there is none of that name.
    """
    check_choice("loss", name, LOSSES)
    return LOSSES[name]()  # type: ignore[index]
