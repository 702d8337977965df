"""Multipliers of constraints: how the weight of a constraint follows from its violation."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.objectives.base import ExactBuffers


class Multipliers(ExactBuffers, ABC):
    """One multiplier λ ≥ 0 for each constraint, as a buffer that is changed in place.

    A step is scaled by the `share` of the memory of running rates that its batch renews, so that λ
    moves by the same amount per row at every batch size. Where a constraint could not be estimated,
    for want of rows, its multiplier stays as it is.

    Args:
        learning_rate: η > 0: what λ gains at a constant violation of 1 while the memory of the
            rates is renewed once (per step, if rates have no memory).

    Attributes:
        value: Buffer `(J,)`, the multipliers; float32 at least, whatever the module is cast to.

    Raises:
        ArgumentError: If η is not positive.
    """

    value: Tensor

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = _positive("learning_rate", learning_rate)
        self.register_buffer("value", torch.zeros(0, dtype=torch.float32))

    def allocate(self, count: int) -> None:
        """Make `count` multipliers of 0.

        Raises:
            ArgumentError: If they belong to a constraint already.
        """
        if len(self.value):
            raise ArgumentError.of(
                "multipliers",
                found=f"{type(self).__name__} of another constraint",
                expected="multipliers that no constraint uses yet",
                mend=f"pass a new {type(self).__name__}(...) to each constraint",
            )
        self.value = self.value.new_zeros(count)

    def effective(self, violation: Tensor) -> Tensor:
        """Weights `(..., J)` with which the network sees the violations; without gradient.

        Args:
            violation: `(..., J)` signed thresholded violations.
        """
        return self.value

    @torch.no_grad()
    def step(self, violation: Tensor, seen: Tensor, share: Tensor) -> None:
        """Change λ in place, once per optimizer step.

        Args:
            violation: `(J,)` signed thresholded violations.
            seen: `(J,)` bool, which of them could be estimated.
            share: Scalar in (0, 1], share of the memory that this step renews.
        """
        change = self.learning_rate * self._change(violation, seen, share)
        moved = (self.value + change).clamp_min(0.0)
        self.value.copy_(torch.where(seen, moved, self.value))

    @abstractmethod
    def _change(self, violation: Tensor, seen: Tensor, share: Tensor) -> Tensor:
        """Change of λ per unit of η."""


class DualAscent(Multipliers):
    """Projected gradient ascent on the dual: λ ← max(0, λ + η · share · c).

    Simple, and prone to swing around the bound, since λ goes on rising until the rates have
    answered.
    """

    def __init__(self, learning_rate: float = 1.0) -> None:
        super().__init__(learning_rate)

    def _change(self, violation: Tensor, seen: Tensor, share: Tensor) -> Tensor:
        return share * violation


class AugmentedLagrangian(Multipliers):
    """Dual ascent with a quadratic penalty: the network sees max(0, λ + ρ · c).

    The weight answers to a violation at once and vanishes with it, while λ settles (Hestenes 1969;
    for inequalities Nocedal and Wright 2006, section 17.4).

    Args:
        penalty: ρ > 0.
        learning_rate: η; λ ← max(0, λ + η · ρ · share · c).
    """

    def __init__(self, penalty: float = 5.0, learning_rate: float = 0.2) -> None:
        super().__init__(learning_rate)
        self.penalty = _positive("penalty", penalty)

    def effective(self, violation: Tensor) -> Tensor:
        """max(0, λ + ρ · c)."""
        return (self.value + self.penalty * violation.detach()).clamp_min(0.0)

    def _change(self, violation: Tensor, seen: Tensor, share: Tensor) -> Tensor:
        return self.penalty * share * violation


class NuPI(Multipliers):
    """PI control of λ by the smoothed violation (Sohrabi et al. 2024, arXiv:2406.04558).

    ξ ← ν ξ + (1 − ν) c, and λ ← max(0, λ + η · (share · c + κ · Δξ)): as soon as the violation
    falls, λ falls with it, which damps the swings of dual ascent (κ = 0).

    Args:
        learning_rate: η.
        proportional: κ ≥ 0, the proportional gain.
        smoothing: ν in [0, 1); running rates are smooth already.
    """

    error: Tensor

    def __init__(
        self, learning_rate: float = 1.0, proportional: float = 2.0, smoothing: float = 0.0
    ) -> None:
        super().__init__(learning_rate)
        if not proportional >= 0:
            raise ArgumentError.of(
                "proportional", found=proportional, expected="at least 0", mend="pass 2.0"
            )
        if not 0 <= smoothing < 1:
            raise ArgumentError.of(
                "smoothing", found=smoothing, expected="a factor in [0, 1)", mend="pass 0.0"
            )
        self.proportional = float(proportional)
        self.smoothing = float(smoothing)
        self.register_buffer("error", torch.zeros(0, dtype=torch.float32))

    def allocate(self, count: int) -> None:
        """Make `count` multipliers of 0, with errors ξ of 0."""
        super().allocate(count)
        self.error = self.error.new_zeros(count)

    def _change(self, violation: Tensor, seen: Tensor, share: Tensor) -> Tensor:
        rise = (1 - self.smoothing) * (violation - self.error)
        self.error.add_(torch.where(seen, rise, 0.0))
        return share * violation + self.proportional * rise


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ArgumentError.of(
            name, found=value, expected="a number above 0", mend=f"pass {name}=1.0"
        )
    return float(value)
