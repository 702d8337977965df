"""Confidence intervals for rates, their differences and ratios, and the verdict they allow.

Chosen by measured coverage, at every group size from a few rows up: see `docs/intervals.md`.
Everything is computed in float64 on the CPU, elementwise and with broadcasting.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from fairlightning.exceptions import ArgumentError

Array = NDArray[np.float64]

Verdict = Literal["met", "not met", "not enough evidence"]
"""What an interval says about a tolerance."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

# 0 would be Clopper-Pearson (too wide), 1/2 Jeffreys (87 % at 10 rows): see docs/intervals.md.
SHIFT = 1 / 6


class Interval(NamedTuple):
    """Confidence limits, elementwise.

    Attributes:
        low: `(...)` float64 lower limit.
        high: `(...)` float64 upper limit; never below `low`.
    """

    low: Tensor
    high: Tensor


def rate_interval(successes: Tensor, trials: Tensor, *, level: float = 0.95) -> Interval:
    """Interval for the rate of a binomial count.

    Beta quantiles with shapes `(x + c, n − x + 1 − c)` below and mirrored above, `c = 1/6`: the
    family of Laud (2017, Pharmaceutical Statistics 16:334) between Clopper-Pearson (`c = 0`) and
    Jeffreys (`c = 1/2`). Without successes the lower limit is 0, without failures the upper is 1.

    Counts need not be whole. For rows with weights `w` pass the effective counts of Korn & Graubard
    (1998, Survey Methodology 24:193): trials `(Σw)² / Σw²` (Kish) and successes `rate · trials`.

    Args:
        successes: `(...)` number of successes, in `[0, trials]`.
        trials: `(...)` number of trials ≥ 0.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, 1], and exactly (0, 1) where there are no trials.

    Raises:
        ArgumentError: If a count or the level lies outside of its range.

    >>> low, high = rate_interval(torch.tensor([3, 0]), torch.tensor([10, 0]))
    >>> low.tolist(), high.tolist()
    ([0.0..., 0.0], [0.6..., 1.0])
    """
    x, n = counts("", successes, trials)
    return as_interval(*rate_limits(x, n, (1 - check_level(level)) / 2))


def difference_interval(
    successes_a: Tensor,
    trials_a: Tensor,
    successes_b: Tensor,
    trials_b: Tensor,
    *,
    level: float = 0.95,
) -> Interval:
    """Interval for the difference of two independent rates, a − b.

    The limits of both rates are combined by their distances from the estimate (MOVER: Newcombe
    1998, Statistics in Medicine 17:873; Zou & Donner 2008). Where one rate is near 0 and the other
    near 1 that falls short: there the gamma limit of Fay & Feuer (1997, Statistics in Medicine
    16:791) for the sum of the two rare events takes over.

    Args:
        successes_a: `(...)` successes of the first group; see `rate_interval`.
        trials_a: `(...)` trials of the first group.
        successes_b: `(...)` successes of the second group.
        trials_b: `(...)` trials of the second group.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [−1, 1]; (−1, 1) where one of the groups has no trials.

    Raises:
        ArgumentError: If a count or the level lies outside of its range.

    >>> ten, twenty = torch.tensor(10), torch.tensor(20)
    >>> low, high = difference_interval(ten, twenty, torch.tensor(5), twenty)
    >>> f"{low:.3f} {high:.3f}"
    '-0.071 0.522'
    """
    a, b = counts("_a", successes_a, trials_a), counts("_b", successes_b, trials_b)
    tail = (1 - check_level(level)) / 2
    return as_interval(-difference_limit(*b, *a, tail), difference_limit(*a, *b, tail))


def ratio_interval(
    successes_a: Tensor,
    trials_a: Tensor,
    successes_b: Tensor,
    trials_b: Tensor,
    *,
    level: float = 0.95,
) -> Interval:
    """Interval for the ratio of two independent rates, a / b.

    The limits of both rates, combined as Donner & Zou (2012, Statistical Methods in Medical
    Research 21:347) do.

    Args:
        successes_a: `(...)` successes of the first group; see `rate_interval`.
        trials_a: `(...)` trials of the first group.
        successes_b: `(...)` successes of the second group.
        trials_b: `(...)` trials of the second group.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, ∞]: low is 0 without successes in a, high is infinite without
        successes in b, and both where one of the groups has no trials.

    Raises:
        ArgumentError: If a count or the level lies outside of its range.

    >>> ten, zero = torch.tensor(10), torch.tensor(0)
    >>> [limit.item() for limit in ratio_interval(torch.tensor(5), ten, zero, ten)]
    [1.4..., inf]
    """
    a, b = counts("_a", successes_a, trials_a), counts("_b", successes_b, trials_b)
    tail = (1 - check_level(level)) / 2
    return as_interval(ratio_limit(*a, *b, tail), reciprocal(ratio_limit(*b, *a, tail)))


def verdict(interval: Interval, tolerance: float, *, higher_is_better: bool = False) -> Verdict:
    """Say whether a figure keeps to a tolerance, or that the rows cannot tell.

    Args:
        interval: `()` limits of a gap, or of a ratio.
        tolerance: Largest gap that is tolerated; with `higher_is_better` the smallest ratio.
        higher_is_better: False for "gap ≤ tolerance", True for "ratio ≥ tolerance".

    Returns:
        `"met"` only if the whole interval keeps to the tolerance, `"not met"` only if all of it
        lies beyond.

    Raises:
        ArgumentError: If the limits are not one pair of numbers, or the tolerance is NaN.

    >>> verdict(Interval(torch.tensor(0.02), torch.tensor(0.09)), 0.05)
    'not enough evidence'
    >>> verdict(Interval(torch.tensor(0.83), torch.tensor(0.97)), 0.8, higher_is_better=True)
    'met'
    """
    low, high = (torch.as_tensor(limit) for limit in interval)
    if low.numel() != 1 or high.numel() != 1 or not low <= high or tolerance != tolerance:
        raise ArgumentError.of(
            "interval",
            found=f"{interval} for the tolerance {tolerance}",
            expected="one pair of limits, low ≤ high, and a number to hold them against",
            mend="pass the intervals of several figures one by one",
        )
    worst, best = (-low, -high) if higher_is_better else (high, low)
    bound = -tolerance if higher_is_better else tolerance
    if worst <= bound:
        return "met"
    return "not met" if best > bound else "not enough evidence"


def counts(suffix: str, successes: Tensor, trials: Tensor) -> tuple[Array, Array]:
    """Check counts and return them as float64 arrays of one shape.

    Args:
        suffix: Ends the names of the two arguments in messages.
        successes: Any shape that broadcasts with `trials`.
        trials: Any shape that broadcasts with `successes`.

    Raises:
        ArgumentError: Unless 0 ≤ successes ≤ trials < ∞ everywhere.
    """
    x, n = np.broadcast_arrays(*(_array(value) for value in (successes, trials)))
    # An effective count is a product: it may pass the trials by rounding.
    fine = (x >= 0) & (x <= n * (1 + 1e-9)) & np.isfinite(n)
    if not fine.all():
        first = np.unravel_index(np.argmin(fine), fine.shape)
        raise ArgumentError.of(
            f"successes{suffix}",
            found=f"{x[first]:g} successes in {n[first]:g} trials",
            expected="0 ≤ successes ≤ trials, finite, everywhere",
            mend=f"pass counts, not rates, and trials{suffix} = 0 where a group has no rows",
        )
    return np.minimum(x, n), n


def check_level(level: float) -> float:
    """Return the confidence level after checking that it lies strictly between 0 and 1.

    Raises:
        ArgumentError: If it does not.
    """
    if not 0 < level < 1:
        raise ArgumentError.of(
            "level",
            found=level,
            expected="a confidence strictly between 0 and 1",
            mend="pass 0.95 for 95 %",
        )
    return float(level)


def as_interval(low: Any, high: Any) -> Interval:
    """Return numpy limits as tensors that own their memory."""
    return Interval(*(torch.tensor(limit, dtype=torch.float64) for limit in (low, high)))


def rate_limits(
    x: Array, n: Array, tail: float | Array, shift: float | Array = SHIFT
) -> tuple[Array, Array]:
    """Limits of rates, each of which misses with probability `tail`; see `rate_interval`."""
    low = special.betaincinv(x + shift, n - x + 1 - shift, tail)
    high = special.betainccinv(x + 1 - shift, n - x + shift, tail)
    return np.where(x > 0, low, 0.0), np.where(x < n, high, 1.0)


def difference_limit(
    x_a: Array,
    n_a: Array,
    x_b: Array,
    n_b: Array,
    tail: float | Array,
    shift: float | Array = SHIFT,
) -> Array:
    """Upper limit of the rate of a minus the rate of b; see `difference_interval`."""
    a, b = x_a / np.maximum(n_a, 1e-300), x_b / np.maximum(n_b, 1e-300)
    above_a = rate_limits(x_a, n_a, tail, shift)[1] - a
    below_b = b - rate_limits(x_b, n_b, tail, shift)[0]
    limit = a - b + np.hypot(above_a, below_b)
    # Failures of a and successes of b, both rare: the sum of their rates is nearly Poisson.
    rare = 1 - a + b
    variance = a * (1 - a) / np.maximum(n_a, 1) + b * (1 - b) / np.maximum(n_b, 1)
    shape = rare**2 / np.maximum(variance, 1e-300)
    skewed = (variance > 0) & (shape < MOST_EVENTS)
    factor = special.gammaincinv(np.where(skewed, shape, 1), tail) / np.where(skewed, shape, 1)
    limit = np.where(skewed, np.maximum(limit, 1 - rare * factor), limit)
    return np.where((n_a > 0) & (n_b > 0), np.minimum(limit, 1), 1.0)


MOST_EVENTS = 1e4
"""From so many (effective) rare events on the gamma limit lies inside of the other."""


def ratio_limit(
    x_a: Array,
    n_a: Array,
    x_b: Array,
    n_b: Array,
    tail: float | Array,
    shift: float | Array = SHIFT,
) -> Array:
    """Lower limit of the rate of a divided by the rate of b; see `ratio_interval`."""
    a, b = x_a / np.maximum(n_a, 1e-300), x_b / np.maximum(n_b, 1e-300)
    low = rate_limits(x_a, n_a, tail, shift)[0]
    high = rate_limits(x_b, n_b, tail, shift)[1]
    # The quotient of the roots of high·(2b − high)·r² − 2ab·r + low·(2a − low), written so that
    # nothing is divided by 0 where high = 2b.
    product = low * (2 * a - low)
    root = np.sqrt(np.maximum((a * b) ** 2 - product * high * (2 * b - high), 0))
    estimable = (x_a > 0) & (n_b > 0)
    return np.where(estimable, product / np.where(estimable, a * b + root, 1), 0.0)


def reciprocal(values: Array) -> Array:
    """1 / values, infinite at 0."""
    return np.divide(1.0, values, out=np.full_like(values, np.inf), where=values > 0)


def _array(value: Tensor) -> Array:
    return np.asarray(torch.as_tensor(value).detach().cpu().double().numpy())
