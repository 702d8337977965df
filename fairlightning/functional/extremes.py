"""Intervals for the worst pair of groups: largest difference, smallest ratio, and their sum.

The worst pair is picked by looking, so its own interval does not cover. One limit needs no
correction for that: the true worst pair is one of the pairs, hence the largest of all pointwise
upper limits is at least its upper limit, which misses no more often than that of a pair named in
advance. The other limit claims that *some* pair is at least so far apart, and with many pairs one
will seem to be: it is Bonferroni-corrected for the number of pairs. In the far tails that this
needs, the rate limits approach Clopper-Pearson's, since there a shift counts for more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.intervals import (
    SHIFT,
    Array,
    Interval,
    as_interval,
    check_level,
    counts,
    difference_limit,
    ratio_limit,
    reciprocal,
)

Mask = NDArray[np.bool_]


def largest_difference_interval(
    successes: Tensor, trials: Tensor, *, level: float = 0.95
) -> Interval:
    """Interval for the largest difference between the rates of two groups, simultaneous over all.

    With two groups and one condition it is the interval of the absolute difference.

    Args:
        successes: `(..., C, G)` successes under `C` conditions (equalized odds has two: positives
            selected, and negatives selected) in `G` groups; see `rate_interval`.
        trials: `(..., C, G)` trials; groups without any take no part under that condition.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, 1] of the maximum over conditions of (largest − smallest rate). The
        upper limit is 1 where a condition has fewer than two groups with trials: nothing bounds
        the difference there.

    Raises:
        ArgumentError: If a count or the level lies outside of its range.

    >>> import torch
    >>> limits = largest_difference_interval(torch.tensor([[10, 5]]), torch.tensor([[20, 20]]))
    >>> [f"{limit:.3f}" for limit in limits]
    ['0.000', '0.522']
    """
    x, n, tail = _checked(successes, trials, level)
    low, high = _difference_limits(x, n, tail, _num_pairs(n > 0).sum(-1, keepdims=True))
    return as_interval(low.max(-1), high.max(-1))


def largest_difference_sum_interval(
    successes: Tensor, trials: Tensor, *, level: float = 0.95
) -> Interval:
    """Interval for the sum over conditions of the largest difference between two groups.

    Equalized odds is also told as the sum of the largest differences in true and in false positive
    rate. Each condition has its own worst pair; the limits are sums of limits at a level that holds
    for all conditions at once, which makes this the widest interval here.

    Args:
        successes: `(..., C, G)` successes; see `largest_difference_interval`.
        trials: `(..., C, G)` trials.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, C].

    Raises:
        ArgumentError: If a count or the level lies outside of its range.
    """
    x, n, tail = _checked(successes, trials, level)
    low, high = _difference_limits(x, n, tail / n.shape[-2], _num_pairs(n > 0))
    return as_interval(low.sum(-1), high.sum(-1))


def smallest_ratio_interval(successes: Tensor, trials: Tensor, *, level: float = 0.95) -> Interval:
    """Interval for the smallest ratio of the rates of two groups, simultaneous over all pairs.

    With selection rates this is the demographic-parity ratio, which the four-fifths rule holds
    against 0.8.

    Args:
        successes: `(..., C, G)` successes; see `largest_difference_interval`.
        trials: `(..., C, G)` trials; groups without any take no part under that condition.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, 1] of the minimum over conditions of (smallest / largest rate). The
        lower limit is 0 where a condition has fewer than two groups with trials.

    Raises:
        ArgumentError: If a count or the level lies outside of its range.
    """
    x, n, tail = _checked(successes, trials, level)
    pairs, valid = _pairs(x, n)
    low = np.where(valid, ratio_limit(*pairs, tail), 1.0).min((-2, -1))
    far = ratio_limit(*pairs, *_corrected(tail, _num_pairs(n > 0).sum(-1, keepdims=True)))
    high = reciprocal(np.where(valid, far, 1.0).max((-2, -1)))
    low = np.where(_num_pairs(n > 0) > 0, low, 0.0)
    return as_interval(low.min(-1), high.min(-1))


def largest_difference_of(
    value: Tensor, interval: Interval, present: Tensor, *, level: float = 0.95, most: float = np.inf
) -> Interval:
    """Interval for the largest difference of figures that have intervals of their own.

    For figures of independent groups that are no simple rates (AUROC, F1, mean residuals). Their
    limits are combined as in `difference_interval`; for the corrected limit their distances from
    the value are stretched as a normal quantile stretches.

    Args:
        value: `(..., G)` figure of every group.
        interval: `(..., G)` limits of every figure, each at `level`.
        present: `(..., G)` bool; groups whose figure is estimable. The others take no part.
        level: Confidence of the limits given and of those returned, in (0, 1).
        most: Largest difference that there can be, 1 for an AUROC.

    Returns:
        `(...)` limits in [0, most]; (0, most) where fewer than two groups are present. NaN if a
        present group has a limit that is NaN.

    Raises:
        ArgumentError: If the level lies outside of its range.
    """
    center, low, high = (t.detach().cpu().double().numpy() for t in (value, *interval))
    shown = present.cpu().numpy()
    valid, pairs = _valid(shown), _num_pairs(shown)
    tail = (1 - check_level(level)) / 2
    stretch = special.ndtri(tail / np.maximum(pairs, 1)) / special.ndtri(tail)
    difference = center[..., :, None] - center[..., None, :]
    reach = np.hypot((high - center)[..., :, None], (center - low)[..., None, :])
    highest = np.where(valid, difference + reach, -np.inf).max((-2, -1))
    # As in `_difference_limits`, turned round: the lower limit of a − b from the upper of b − a.
    far = -np.where(valid, difference + reach * stretch[..., None, None], 0.0).min((-2, -1))
    highest = np.where(pairs > 0, np.minimum(highest, most), most)
    return as_interval(np.maximum(far, 0.0), highest)


def _difference_limits(x: Array, n: Array, tail: float, claims: Array) -> tuple[Array, Array]:
    # (..., C, G) → (..., C): limits of the largest difference under each condition.
    pairs, valid = _pairs(x, n)
    high = np.where(valid, difference_limit(*pairs, tail), -1.0).max((-2, -1))
    # The lower limit of a − b is minus the upper limit of b − a, and all ordered pairs are here.
    far = difference_limit(*pairs, *_corrected(tail, claims))
    low = -np.where(valid, far, 0.0).min((-2, -1))
    return np.maximum(low, 0.0), np.where(_num_pairs(n > 0) > 0, high, 1.0)


def _pairs(x: Array, n: Array) -> tuple[tuple[Array, Array, Array, Array], Mask]:
    # Every ordered pair of groups, (..., C, G, 1) against (..., C, 1, G), and which of them count.
    return (x[..., :, None], n[..., :, None], x[..., None, :], n[..., None, :]), _valid(n > 0)


def _valid(present: Mask) -> Mask:
    different = ~np.eye(present.shape[-1], dtype=bool)
    return present[..., :, None] & present[..., None, :] & different


def _num_pairs(present: Mask) -> Array:
    # (..., G) → (...); unordered, since of a pair only one difference is positive.
    number = np.asarray(present.sum(-1), dtype=np.float64)
    return number * (number - 1) / 2


def _corrected(tail: float, claims: Array) -> tuple[Array, Array]:
    claims = np.maximum(claims, 1.0)[..., None, None]
    return tail / claims, SHIFT / claims


def _checked(successes: Tensor, trials: Tensor, level: float) -> tuple[Array, Array, float]:
    x, n = counts("", successes, trials)
    if n.ndim < 2:
        raise ArgumentError.of(
            "successes",
            found=f"shape {n.shape}",
            expected="(..., C, G): conditions and groups",
            mend="add an axis for the one condition: successes.unsqueeze(-2)",
        )
    return x, n, (1 - check_level(level)) / 2
