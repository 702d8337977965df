"""Intervals for rates and differences that benchmarks/coverage.py compares, over all counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import special, stats

from fairlightning.functional import intervals

TAIL = 0.025
Limits = tuple[np.ndarray, np.ndarray]


def by_shift(n: int, shift: float) -> Limits:
    return intervals.rate_limits(np.arange(n + 1.0), np.full(n + 1, float(n)), TAIL, shift)


def mid_p(n: int) -> Limits:
    x, low, high = np.arange(1.0, n + 1), np.zeros(n), np.ones(n)
    for _ in range(50):
        middle = (low + high) / 2
        tail = special.bdtrc(x - 1, n, middle) / 2 + special.bdtrc(x, n, middle) / 2
        low, high = np.where(tail < TAIL, middle, low), np.where(tail < TAIL, high, middle)
    low = np.concatenate([[0.0], low])
    return low, 1 - low[::-1]


def blaker(n: int) -> Limits:
    low, counts = np.full(n + 1, np.nan), np.arange(n + 1)
    for rate in np.linspace(0, 1, 10 * max(n, 200) + 1):
        mass = stats.binom.pmf(counts, n, rate)
        tail = np.minimum(mass.cumsum(), mass[::-1].cumsum()[::-1])
        order = tail.argsort(kind="stable")
        last = np.searchsorted(tail[order], tail * (1 + 1e-9), side="right") - 1
        accepted = mass[order].cumsum()[last] >= 2 * TAIL
        low[accepted & np.isnan(low)] = rate
    return low, 1 - low[::-1]


def wilson(n: int) -> Limits:
    z = -special.ndtri(TAIL)
    rate = np.arange(n + 1) / n
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    middle, scale = rate + z**2 / (2 * n), 1 + z**2 / n
    return np.maximum((middle - half) / scale, 0), np.minimum((middle + half) / scale, 1)


def agresti_coull(n: int) -> Limits:
    z = -special.ndtri(TAIL)
    rate = (np.arange(n + 1) + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(rate * (1 - rate) / (n + z**2))
    return np.maximum(rate - half, 0), np.minimum(rate + half, 1)


RATES: dict[str, Callable[[int], Limits]] = {
    "fairlightning": partial(by_shift, shift=intervals.SHIFT),
    "Clopper-Pearson": partial(by_shift, shift=0.0),
    "Blaker": blaker,
    "mid-P": mid_p,
    "Jeffreys": partial(by_shift, shift=0.5),
    "Wilson": wilson,
    "Agresti-Coull": agresti_coull,
}


def ours_difference(n_a: int, n_b: int) -> Limits:
    a, b = np.arange(n_a + 1.0)[:, None], np.arange(n_b + 1.0)[None]
    n, m = np.full_like(a, n_a), np.full_like(b, n_b)
    limit = intervals.difference_limit
    return -limit(b, m, a, n, TAIL), limit(a, n, b, m, TAIL)


def ours_ratio(n_a: int, n_b: int) -> Limits:
    a, b = np.arange(n_a + 1.0)[:, None], np.arange(n_b + 1.0)[None]
    n, m = np.full_like(a, n_a), np.full_like(b, n_b)
    limit = intervals.ratio_limit
    return limit(a, n, b, m, TAIL), intervals.reciprocal(limit(b, m, a, n, TAIL))


def mover(n_a: int, n_b: int, rates: Callable[[int], Limits]) -> Limits:
    a, b = np.arange(n_a + 1)[:, None] / n_a, np.arange(n_b + 1) / n_b
    (low_a, high_a), (low_b, high_b) = rates(n_a), rates(n_b)
    low_a, high_a = low_a[:, None], high_a[:, None]
    return a - b - np.hypot(a - low_a, high_b - b), a - b + np.hypot(high_a - a, b - low_b)


def agresti_caffo(n_a: int, n_b: int) -> Limits:
    a, b = (np.arange(n_a + 1)[:, None] + 1) / (n_a + 2), (np.arange(n_b + 1) + 1) / (n_b + 2)
    half = -special.ndtri(TAIL) * np.sqrt(a * (1 - a) / (n_a + 2) + b * (1 - b) / (n_b + 2))
    return np.maximum(a - b - half, -1), np.minimum(a - b + half, 1)


def score_z(d: np.ndarray, n_a: int, n_b: int) -> np.ndarray:
    # Miettinen & Nurminen (1985): variance at the restricted maximum-likelihood rates.
    a, b, total = np.arange(n_a + 1.0)[:, None], np.arange(n_b + 1.0)[None], n_a + n_b
    l2 = (n_a + 2 * n_b) * d - total - a - b
    l1 = (n_b * d - total - 2 * b) * d + a + b
    l0 = b * d * (1 - d)
    q = (l2 / (3 * total)) ** 3 - l1 * l2 / (6 * total**2) + l0 / (2 * total)
    p = np.sqrt(np.maximum((l2 / (3 * total)) ** 2 - l1 / (3 * total), 0))
    p = np.where(q < 0, -p, p)
    cosine = np.clip(np.divide(q, p**3, out=np.zeros_like(q), where=p != 0), -1, 1)
    rate_b = 2 * p * np.cos((np.pi + np.arccos(cosine)) / 3) - l2 / (3 * total)
    rate_b = np.clip(rate_b, np.maximum(0, -d), np.minimum(1, 1 - d))
    rate_a = rate_b + d
    variance = rate_a * (1 - rate_a) / n_a + rate_b * (1 - rate_b) / n_b
    excess = a / n_a - b / n_b - d
    return excess / np.sqrt(np.maximum(variance * total / (total - 1), 1e-30))


def miettinen_nurminen(n_a: int, n_b: int) -> Limits:
    z = -special.ndtri(TAIL)
    estimate = np.arange(n_a + 1)[:, None] / n_a - np.arange(n_b + 1) / n_b
    ends = []
    for inner, outer, bound in ((estimate, -np.ones_like(estimate), z), (estimate, 1.0, -z)):
        inside, outside = inner, np.broadcast_to(outer, inner.shape)
        for _ in range(30):
            middle = (inside + outside) / 2
            kept = score_z(middle, n_a, n_b) * np.sign(bound) < abs(bound)
            inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
        ends.append(outside)
    return ends[0], ends[1]


DIFFERENCES: dict[str, Callable[[int, int], Limits]] = {
    "fairlightning": ours_difference,
    "MOVER, c = 1/6": partial(mover, rates=RATES["fairlightning"]),
    "MOVER, Clopper-Pearson": partial(mover, rates=RATES["Clopper-Pearson"]),
    "MOVER, Jeffreys": partial(mover, rates=RATES["Jeffreys"]),
    "Newcombe": partial(mover, rates=wilson),
    "Agresti-Caffo": agresti_caffo,
    "Miettinen-Nurminen": miettinen_nurminen,
}
