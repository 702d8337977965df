"""How much scores tell about a continuous sensitive attribute, and about groups beyond their means.

Scores are `(..., N)`, values `(N,)`; rows of weight 0 take no part. Correlation and contingency
follow from sums over rows, so that they are exact over batches and ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairlightning.functional.rates import at_least_float32, mean_scores

GRID = 6
"""Centres of soft bins: more follow a distribution more closely, and chance as well."""

PROBABILITIES = (0.0, 1.0)
"""Ends of the grid for probabilities."""

DEVIATIONS = (-2.5, 2.5)
"""Ends of the grid for what has mean 0 and standard deviation 1."""

_LEAST_VARIANCE = 1e-6


def product_moments(scores: Tensor, values: Tensor, mass: Tensor) -> Tensor:
    """What is summed for `pearson_from_sums`, `(..., 6, N)`.

    Args:
        scores: `(..., N)`.
        values: `(N,)` finite values.
        mass: `(N,)` row weights ≥ 0.
    """
    scores = at_least_float32(scores)
    ones = torch.ones_like(scores)
    values = values.to(scores.dtype) * ones
    columns = [ones, values, values.square(), scores, scores.square(), scores * values]
    return torch.stack(columns, -2) * mass


def pearson_from_sums(sums: Tensor) -> Tensor:
    """Squared Pearson correlation of scores and values.

    Variances below 1e-6 are taken for 1e-6, so that nearly constant scores have no unbounded
    gradient. In float32 digits are lost where a mean is many deviations from 0.

    Args:
        sums: `(..., 6)` sums of `product_moments` over rows.

    Returns:
        `(...)` in [0, 1].

    >>> values = torch.tensor([0.0, 1.0, 2.0])
    >>> sums = product_moments(2 * values + 1, values, torch.ones(3)).sum(-1)
    >>> round(pearson_from_sums(sums).item(), 4)
    1.0
    """
    mean = mean_scores(sums[..., 1:], sums[..., :1])
    value, value_square, score, score_square, product = mean.unbind(-1)
    covariance = product - score * value
    spread = (score_square - score.square()).clamp_min(_LEAST_VARIANCE)
    value_spread = (value_square - value.square()).clamp_min(_LEAST_VARIANCE)
    return (covariance.square() / (spread * value_spread)).clamp_max(1.0)


def soft_bins(values: Tensor, ends: tuple[float, float], count: int = GRID) -> Tensor:
    """Share each value between its two nearest centres of an even grid, linearly.

    Args:
        values: `(..., N)`; beyond the ends they count as the ends.
        ends: First and last centre.
        count: Number of centres U, at least 2.

    Returns:
        `(..., U, N)` in [0, 1], adding up to 1 over the centres.

    >>> soft_bins(torch.tensor([0.75]), (0.0, 1.0), 3).flatten()
    tensor([0.0000, 0.5000, 0.5000])
    """
    low, high = ends
    position = (at_least_float32(values).clamp(low, high) - low) * ((count - 1) / (high - low))
    centres = torch.arange(count, device=values.device, dtype=position.dtype).unsqueeze(-1)
    return (1 - (position.unsqueeze(-2) - centres).abs()).clamp_min(0.0)


def contingency_from_sums(joint: Tensor) -> Tensor:
    """Mean-square contingency χ² of two binned variables, Σ P(u, v)² / (P(u)·P(v)) − 1.

    It is 0 where they are independent and bounds the square of their maximal correlation (HGR),
    the largest correlation of any function of one with any of the other, from above (Mary et al.
    2019, PMLR 97).

    Args:
        joint: `(..., U, V)` masses.

    Returns:
        `(...)` at least 0 up to rounding, at most min(U, V) − 1.

    >>> contingency_from_sums(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    tensor(1.)
    """
    share = mean_scores(joint, joint.sum((-2, -1), keepdim=True))
    rows, columns = share.sum(-1, keepdim=True), share.sum(-2, keepdim=True)
    ratio = mean_scores(mean_scores(share, rows) * share, columns)
    # Without any mass there is nothing to subtract 1 from.
    return ratio.sum((-2, -1)) - share.detach().sum((-2, -1)).clamp_max(1.0)


def hsic_of_values(
    scores: Tensor, values: Tensor, mass: Tensor, *, bandwidth: float, value_bandwidth: float = 1.0
) -> Tensor:
    """Hilbert-Schmidt independence criterion of two numbers (Gretton et al. 2005).

    The biased estimate tr(KHLH)/n² with Gaussian kernels exp(−d²/2σ²). Time and memory grow with
    N².

    Args:
        scores: `(..., N)`.
        values: `(N,)` finite values.
        mass: `(N,)` row weights ≥ 0.
        bandwidth: σ > 0 of the scores, in their units.
        value_bandwidth: σ > 0 of the values.

    Returns:
        `(...)` at least 0 up to rounding, below 1; 0 without rows.

    >>> rows = torch.tensor([0.0, 1.0])
    >>> round(hsic_of_values(rows, rows, torch.ones(2), bandwidth=1.0).item(), 4)
    0.0387
    """
    scores = at_least_float32(scores)
    share = mean_scores(mass.to(scores.dtype), mass.to(scores.dtype).sum())
    one, other = _kernel(scores, bandwidth), _kernel(values.to(scores.dtype), value_bandwidth)
    # Products and sums, since autocast would multiply matrices in bfloat16.
    first, second = (one * share).sum(-1), (other * share).sum(-1)
    both = ((one * other * share).sum(-1) * share).sum(-1)
    apart = (first * share).sum(-1) * (second * share).sum(-1)
    return both + apart - 2 * (first * second * share).sum(-1)


def _kernel(values: Tensor, bandwidth: float) -> Tensor:
    distance = values.unsqueeze(-1) - values.unsqueeze(-2)
    return (distance.square() / (-2 * bandwidth**2)).exp()
