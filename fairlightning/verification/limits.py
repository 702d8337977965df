"""One-sided limits for "the largest of some contrasts of one model, less c times that of another".

A gap is the largest of the signed differences of its groups, and as such biased upwards. Nothing
here takes a largest difference for an estimate: to show that the gap of the intervention is small,
*every* difference of it has to be shown to be (intersection-union: Berger 1982, Technometrics
24:295), against *one* difference of the baseline, which was chosen on other rows and therefore
neither biased nor larger than its gap. See `docs/verification.md` for the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from fairlightning.verification.paired import BASELINE, INTERVENTION, Array, Estimates, Ints


class _Moments(NamedTuple):
    """Quadratic forms of `first − c · second` for `K` contrasts.

    Attributes:
        first: `(R, K)` values of the intervention.
        second: `(R, K)` values of the baseline.
        mean: `(3, K)` variance of the mean over seeds from rows: of the first, of both, of the
            second.
        single: `(3, K)` the same of one seed, on average.
    """

    first: Array
    second: Array
    mean: Array
    single: Array

    def at(self, factor: float) -> tuple[Array, Array, Array, Array]:
        """`(K,)` mean, row variance of the mean and of one seed, and the mean square of seeds."""
        seeds = self.first - factor * self.second
        powers = np.array([1.0, -2 * factor, factor**2])[:, None]
        spread = seeds.var(0, ddof=1) if len(seeds) > 1 else np.zeros(seeds.shape[1])
        rows, single = ((powers * form).sum(0).clip(0) for form in (self.mean, self.single))
        return seeds.mean(0), rows, single, spread


@dataclass(frozen=True)
class Contrast:
    """Largest contrast of the intervention against `c` times that of the baseline.

    Attributes:
        upper: Forms of every contrast of the intervention against the baseline's witness.
        lower: Forms of the intervention's witness against every contrast of the baseline.
        value: `(2,)` largest contrast of each model, mean over seeds: plug-in figures.
    """

    upper: _Moments
    lower: _Moments
    value: Array

    @classmethod
    def of(cls, test: Estimates, family: Array, other: Estimates | None = None) -> Contrast:
        """Set up a comparison.

        Args:
            test: Estimates that the limits rest on.
            family: `(K, Q)` contrasts, of which the largest is meant.
            other: Estimates of other rows of the same seeds (validation), on which witnesses are
                chosen; not needed for a single contrast.
        """
        found = contrasts((other or test).values, family)
        chosen = np.where(np.isnan(found), -np.inf, found).argmax(-1)
        upper = _moments(test, family, None, chosen[:, BASELINE])
        lower = _moments(test, family, chosen[:, INTERVENTION], None)
        largest = contrasts(test.values, family).max(-1).mean(0)
        return cls(upper, lower, largest)

    def limits(self, factor: float, level: float) -> tuple[float, float]:
        """Lower and upper limit, each one-sided, of the difference with the factor c.

        Args:
            factor: `c ≥ 0`.
            level: Confidence of each limit.
        """
        return self.low(factor, level), self.high(factor, level)

    def low(self, factor: float, level: float) -> float:
        """The lower limit; see `limits`."""
        return float((_center(self.lower, factor) - _half(self.lower, factor, level)).min())

    def high(self, factor: float, level: float) -> float:
        """The upper limit; see `limits`."""
        return float((_center(self.upper, factor) + _half(self.upper, factor, level)).max())

    def alarm(self, level: float) -> float:
        """Lower limit of the plain difference (c = 1) by the normal distribution.

        With few trainings Student's limits are wide: they guard "met", which alarms do not need.
        """
        reach = ndtri(level) * np.sqrt(_variance(self.lower, 1.0)[0])
        return float((_center(self.lower, 1.0) - reach).min())

    def improvement(self, level: float) -> tuple[float | None, float | None]:
        """Limits of the relative improvement, 1 − (largest contrast) / (that of the baseline).

        Each is one-sided, by inverting the test; None where it lies outside of [−1, 1].
        """
        low = _threshold(lambda factor: self.high(factor, level) <= 0)
        high = _threshold(lambda factor: self.low(factor, level) <= 0)
        return (None if low is None else 1 - low), (None if high is None else 1 - high)


def contrasts(values: Array, family: Array) -> Array:
    """Contrasts `(..., K)` of figures `(..., Q)`; NaN only where one that takes part is NaN."""
    lost = np.isnan(values).astype(float) @ np.abs(family).T > 0
    return np.where(lost, np.nan, np.nan_to_num(values) @ family.T)


def _threshold(holds: Callable[[float], bool], most: float = 2.0, steps: int = 40) -> float | None:
    """Smallest factor from which on a statement holds, to 1e-4; None where it never does."""
    grid = np.linspace(0, most, steps + 1)
    # From the far end: the statement may hold nowhere, and should hold for all larger factors.
    last = next((k for k in range(steps, -1, -1) if not holds(grid[k])), -1)
    if last == steps:
        return None
    if last < 0:
        return 0.0
    low, high = grid[last], grid[last + 1]
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return float(high)


def _moments(
    estimates: Estimates, family: Array, first: Ints | None, second: Ints | None
) -> _Moments:
    """Forms for all contrasts, of which a given witness `(R,)` stands for all on its side.

    The last one takes of every seed its own largest contrast: where trainings differ in which
    groups lie farthest apart, the mean of their gaps is larger than any contrast of the means.
    """
    values = np.nan_to_num(estimates.values)
    seeds = np.arange(estimates.seeds)
    models = (INTERVENTION, BASELINE)
    parts = []
    for model, witness in zip(models, (first, second), strict=True):
        if witness is None:
            largest = (values[:, model] @ family.T).argmax(-1)
            each = np.broadcast_to(family[:, None], (len(family), len(seeds), family.shape[1]))
            parts.append(np.concatenate([each, family[largest][None]]))
        else:
            parts.append(
                np.broadcast_to(family[witness], (len(family) + 1, *family[witness].shape))
            )
    mean, single = [], []
    for a, b in ((0, 0), (0, 1), (1, 1)):
        block = estimates.covariance[:, models[a], :, :, models[b], :]
        applied = np.tensordot(parts[a], block, axes=([1, 2], [0, 1]))
        mean.append((applied * parts[b]).sum((1, 2)) / len(seeds) ** 2)
        diagonal = block[seeds, :, seeds, :]
        single.append(np.einsum("krq,rqs,krs->k", parts[a], diagonal, parts[b]) / len(seeds))
    of = [np.einsum("krq,rq->rk", p, values[:, m]) for p, m in zip(parts, models, strict=True)]
    return _Moments(of[0], of[1], np.stack(mean), np.stack(single))


def _center(moments: _Moments, factor: float) -> Array:
    center: Array = moments.at(factor)[0]
    return center


def _variance(moments: _Moments, factor: float) -> tuple[Array, Array]:
    """Variance of the mean from rows and from trainings, and its degrees of freedom."""
    seeds = len(moments.first)
    _, rows, single, spread = moments.at(factor)
    if seeds == 1:
        return rows, np.full_like(rows, np.inf)
    # Rows alone make seeds differ by the variance of one less the covariance of two.
    shared = (seeds * rows - single) / (seeds - 1)
    trainings = (spread - (single - shared)).clip(0)
    variance = rows + trainings / seeds
    # Satterthwaite's; the spread over seeds is uncertain also where nothing of it is left.
    freedom = variance**2 * (seeds - 1) / ((spread / seeds) ** 2).clip(1e-300)
    return variance, freedom.clip(seeds - 1)


def _half(moments: _Moments, factor: float, level: float) -> Array:
    variance, freedom = _variance(moments, factor)
    half: Array = stdtrit(np.minimum(freedom, 1e9), level) * np.sqrt(variance)
    return half


def gap_family(conditions: int, size: int, kept: Ints) -> Array:
    """Signed differences of every two groups: `(K, conditions · (size + 1))`.

    Args:
        conditions: Number of rates of the criterion.
        size: Number of groups of the partition.
        kept: Ids of the groups that take part, at least two.
    """
    rows = []
    for condition in range(conditions):
        for one in kept:
            for other in kept:
                if one != other:
                    row = np.zeros(conditions * (size + 1))
                    row[condition * (size + 1) + one] = 1
                    row[condition * (size + 1) + other] = -1
                    rows.append(row)
    return np.array(rows)


def distance_family(conditions: int, size: int, column: int) -> Array:
    """Distance of a group's rate from that of all rows, in both directions.

    Args:
        conditions: Number of rates that were estimated.
        size: Number of groups of the partition.
        column: Position of the group's rate among all figures.

    Returns:
        `(2, conditions · (size + 1))`.
    """
    row = np.zeros(conditions * (size + 1))
    row[column] = 1
    row[column // (size + 1) * (size + 1) + size] = -1
    return np.stack([row, -row])
