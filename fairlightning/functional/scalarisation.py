"""Scalarisations: from several losses, all minimised, to one.

Each takes `values`, `weights` and `reference` of shapes that broadcast to `(..., M)`, M losses on
the last axis, and returns `(...)`: a weighted loss, measured from the reference point, is
weights · (values − reference). Weights are at least 0, and a loss of weight 0 does not count: it is
no 0 in a maximum over losses below their reference. Gradients reach the values; weights and
reference points are meant to carry none.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice

Penalty = Literal["exact", "quadratic"]
PENALTIES: tuple[Penalty, ...] = ("exact", "quadratic")


def chebyshev(values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
    """Largest weighted loss: `max_i w_i (L_i − z_i)`.

    Its minimisers reach every Pareto-optimal point, also where the front is not convex, which a
    weighted sum cannot (Bowman 1976). Only the largest loss gets a gradient; several that are
    equally large share it equally.

    >>> chebyshev(torch.tensor([0.3, 0.1]), torch.tensor([1.0, 2.0]), torch.zeros(2))
    tensor(0.3000)
    """
    return _excess(values, weights, reference).amax(-1)


def augmented_chebyshev(
    values: Tensor, weights: Tensor, reference: Tensor, *, augmentation: float
) -> Tensor:
    """Chebyshev plus a small weighted sum: `max_i e_i + ρ Σ_i e_i`, `e_i = w_i (L_i − z_i)`.

    The sum rules out weakly optimal points, where one loss could still fall for free. That of
    Steuer and Choo (1983) is not weighted; here it is, so that units of the losses do not matter.

    Args:
        values: Losses.
        weights: Their weights.
        reference: Point that they are measured from.
        augmentation: ρ, at least 0; 0.01 to 0.1 is usual.

    Raises:
        ArgumentError: If `augmentation` is negative or not finite.
    """
    if not 0 <= augmentation < inf:
        raise ArgumentError.of(
            "augmentation",
            found=augmentation,
            expected="a finite number of at least 0",
            mend="pass augmentation=0.05",
        )
    total = (weights * (values - reference)).sum(-1)
    return _excess(values, weights, reference).amax(-1) + augmentation * total


def smooth_chebyshev(
    values: Tensor, weights: Tensor, reference: Tensor, *, temperature: float | Tensor
) -> Tensor:
    """Chebyshev with a soft maximum: `μ log Σ_i exp(e_i / μ)`, `e_i = w_i (L_i − z_i)`.

    Differentiable everywhere, at least the maximum and at most μ log M above it (Lin et al. 2024,
    arXiv:2402.19078).

    Args:
        values: Losses.
        weights: Their weights.
        reference: Point that they are measured from.
        temperature: μ > 0, in units of the weighted losses; a tensor `(...)` is not checked.

    Raises:
        ArgumentError: If `temperature` is not positive and finite.
    """
    if not isinstance(temperature, Tensor) and not 0 < temperature < inf:
        raise ArgumentError.of(
            "temperature",
            found=temperature,
            expected="a finite number greater than 0",
            mend="pass temperature=0.05, or use chebyshev",
        )
    excess = _excess(values, weights, reference)
    return temperature * torch.logsumexp(excess / temperature, -1)


def bound_penalty(
    values: Tensor, weights: Tensor, bounds: Tensor, *, penalty: Penalty = "exact"
) -> Tensor:
    """Penalise what exceeds its bound: `Σ_i w_i p((L_i − ε_i)₊)`.

    Added to the one loss that is minimised this is the ε-constraint scalarisation (Haimes et al.
    1971) by penalties with fixed weights. With `exact`, p(x) = x, the bounds are met as soon as
    the weights exceed the multipliers of the problem; with `quadratic`, p(x) = x²/2, it is smooth
    and the bounds are exceeded by about multiplier / weight.

    Args:
        values: Bounded losses.
        weights: Their penalty weights.
        bounds: ε.
        penalty: `exact` or `quadratic`.

    Raises:
        ArgumentError: On an unknown penalty.

    >>> bound_penalty(torch.tensor([0.3, 0.1]), torch.tensor([2.0, 2.0]), torch.tensor([0.1, 0.2]))
    tensor(0.4000)
    """
    check_choice("penalty", penalty, PENALTIES)
    excess = (values - bounds).clamp_min(0)
    if penalty == "quadratic":
        excess = 0.5 * excess.square()
    return (weights * excess).sum(-1)


def _excess(values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
    """Weighted losses, -inf where the weight is 0, unless all are."""
    counts = (weights > 0) | (weights == 0).all(-1, keepdim=True)
    return torch.where(counts, weights * (values - reference), -torch.inf)
