"""Schedules: pure functions from the progress of the ramp to the share of λ in force.

`progress` runs from 0 to 1 while λ is ramped. Every schedule but `constant` goes from `start`
to `end`; values outside [0, 1] are taken for the nearer end. The λ of an objective is
strength × weight × schedule(progress).
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, pi

from fairlightning.exceptions import ArgumentError

Schedule = Callable[[float], float]
"""Progress in [0, 1] → factor of λ."""


def constant(progress: float, *, end: float = 1.0) -> float:
    """Return `end` at all times.

    >>> constant(0.2, end=0.5)
    0.5
    """
    return end


def linear(progress: float, *, start: float = 0.1, end: float = 1.0) -> float:
    """Straight line from `start` to `end`.

    >>> linear(0.5)
    0.55
    """
    return _between(start, end, _clip(progress))


def cosine(progress: float, *, start: float = 0.1, end: float = 1.0) -> float:
    """Half a cosine wave: slow, fast, slow.

    >>> round(cosine(0.25), 3)
    0.232
    """
    return _between(start, end, 0.5 * (1.0 - cos(pi * _clip(progress))))


def exponential(progress: float, *, start: float = 0.1, end: float = 1.0) -> float:
    """Constant growth rate: `start · (end / start)^progress`.

    Raises:
        ArgumentError: If `start` or `end` is not positive.

    >>> round(exponential(0.5), 4)
    0.3162
    """
    if start <= 0 or end <= 0:
        raise ArgumentError.of(
            "schedule exponential",
            found=f"start={start}, end={end}",
            expected="both greater than 0",
            mend="use linear or cosine to start at 0",
        )
    return float(start * (end / start) ** _clip(progress))


def sigmoid(
    progress: float, *, start: float = 0.1, end: float = 1.0, steepness: float = 10.0
) -> float:
    """Fast at first, then saturating: the curve of DANN, `2 / (1 + exp(−10 p)) − 1`.

    It is scaled to reach `end` exactly (Ganin et al. 2016, arXiv:1505.07818, section 5.2.2).

    >>> sigmoid(0.0), sigmoid(1.0)
    (0.1, 1.0)
    """

    def logistic(share: float) -> float:
        return 2.0 / (1.0 + exp(-steepness * share)) - 1.0

    return _between(start, end, logistic(_clip(progress)) / logistic(1.0))


def warmup(progress: float, *, start: float = 0.1, end: float = 1.0, hold: float = 0.3) -> float:
    """Hold `start` for the first `hold` of the ramp, then a straight line to `end`.

    Raises:
        ArgumentError: If `hold` is not in [0, 1).

    >>> warmup(0.3), warmup(1.0)
    (0.1, 1.0)
    """
    if not 0 <= hold < 1:
        raise ArgumentError.of(
            "schedule warmup",
            found=f"hold={hold}",
            expected="a share of the ramp in [0, 1)",
            mend="pass hold=0.3",
        )
    return _between(start, end, max(_clip(progress) - hold, 0.0) / (1.0 - hold))


def _clip(progress: float) -> float:
    return min(max(progress, 0.0), 1.0)


def _between(start: float, end: float, share: float) -> float:
    return (1.0 - share) * start + share * end
