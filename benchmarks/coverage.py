"""How often the 95 % intervals hold the truth, and how wide they are, against other methods.

Exact for rates, differences, ratios and the largest difference of two groups: every possible pair
of counts, weighted by its probability, at rates 0.02, 0.04, ..., 0.98. Simulated with at least
2,000 repeats for more groups. `false_met` is the largest share of verdicts "met" where the true
difference equals the tolerance. See docs/intervals.md for what the figures decided.

    python benchmarks/coverage.py [--repeats 2000]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from coverage_bootstrap import bootstrap_tables
from coverage_candidates import (
    DIFFERENCES,
    RATES,
    Limits,
    by_shift,
    ours_difference,
    ours_ratio,
)
from scipy import stats

from fairlightning.functional import extremes, intervals

EPS = 1e-9
GRID = np.arange(1, 50) / 50
FINE = np.arange(1, 1000) / 1000
SIZES = (10, 30, 100, 1000)
SIZE_PAIRS = [(a, b) for a in SIZES for b in SIZES if a <= b]


def pmf(n: int, rates: np.ndarray = GRID) -> np.ndarray:
    return stats.binom.pmf(np.arange(n + 1), n, rates[:, None])


def rate_coverage(limits: Limits, n: int, rates: np.ndarray = GRID) -> np.ndarray:
    low, high = limits
    held = (low <= rates[:, None] + EPS) & (rates[:, None] <= high + EPS)
    return (pmf(n, rates) * held).sum(1)


def pair_coverage(
    limits: Limits, n_a: int, n_b: int, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and P(high ≤ truth) at every pair of rates, both `(49, 49)`, by enumeration."""
    low, high = limits
    mass_a, mass_b = pmf(n_a), pmf(n_b)
    held, below = np.empty_like(truth), np.empty_like(truth)
    for value in np.unique(truth):
        i, j = np.nonzero(truth == value)
        slack = EPS * max(1, abs(value))
        for result, cells in (
            (held, (low <= value + slack) & (value <= high + slack)),
            (below, high <= value + slack),
        ):
            unique, back = np.unique(i, return_inverse=True)
            result[i, j] = ((mass_a[unique] @ cells.astype(float))[back] * mass_b[j]).sum(1)
    return held, below


def mean_width(limits: Limits, n_a: int, n_b: int) -> float:
    return float((pmf(n_a) @ (limits[1] - limits[0]) @ pmf(n_b).T).mean())


def show(title: str, columns: Iterable[str], rows: Iterable[tuple[str, list[str]]]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---{'|---' * len(list(columns))}|")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def cell(coverage: np.ndarray, width: float) -> str:
    return f"{100 * coverage.min():.1f} {100 * coverage.mean():.1f} {width:.3f}"


def rates_table(found: dict[str, list[float]]) -> None:
    rows = []
    for name, method in RATES.items():
        cells = []
        for n in SIZES:
            limits = method(n)
            coverage = rate_coverage(limits, n)
            cells.append(cell(coverage, float((pmf(n) @ (limits[1] - limits[0])).mean())))
            if name == "fairlightning":
                found["coverage"].append(coverage.min())
                found["mean"].append(coverage.mean())
        rows.append((name, cells))
    show("Rates: least coverage %, mean coverage %, mean width", [f"n={n}" for n in SIZES], rows)
    sizes = (1, 2, 3, 5, 8, 9, 10, 20, 30, 50, 100, 200, 1000)
    finer = {name: RATES[name] for name in ("fairlightning", "Jeffreys", "Wilson")}
    rows = [
        (name, [f"{100 * rate_coverage(method(n), n, FINE).min():.1f}" for n in sizes])
        for name, method in {**finer, "c = 0.2": partial(by_shift, shift=0.2)}.items()
    ]
    title = "Rates 0.001 to 0.999 by 0.001: least coverage %"
    show(title, [f"n={n}" for n in sizes], rows)


def weighted_table(repeats: int) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for spread in (0.5, 1.0):
        cells = []
        for n in SIZES:
            held, width = [], []
            for rate in (0.05, 0.2, 0.5, 0.9):
                weight = rng.lognormal(0, spread, (repeats, n))
                hit = (weight * (rng.random((repeats, n)) < rate)).sum(1) / weight.sum(1)
                size = torch.tensor(weight.sum(1) ** 2 / (weight**2).sum(1))
                low, high = intervals.rate_interval(torch.tensor(hit) * size, size)
                held.append(((low <= rate) & (rate <= high)).double().mean().item())
                width.append((high - low).mean().item())
            cells.append(f"{100 * min(held):.1f} {np.mean(width):.3f}")
        rows.append((f"log-normal weights, σ = {spread}", cells))
    columns = [f"n={n}" for n in SIZES]
    show("Rates of weighted rows, Kish's size: least coverage %, mean width", columns, rows)


def differences_table(found: dict[str, list[float]]) -> None:
    truth = np.round(GRID[:, None] - GRID, 9)
    rows = []
    for name, method in DIFFERENCES.items():
        cells = []
        for n_a, n_b in SIZE_PAIRS:
            limits = method(n_a, n_b)
            coverage, _ = pair_coverage(limits, n_a, n_b, truth)
            cells.append(cell(coverage, mean_width(limits, n_a, n_b)))
            if name == "fairlightning":
                found["coverage"].append(coverage.min())
                found["mean"].append(coverage.mean())
        rows.append((name, cells))
    columns = [f"{a}, {b}" for a, b in SIZE_PAIRS]
    show("Differences: least coverage %, mean coverage %, mean width", columns, rows)


def small_table() -> None:
    truth = np.round(GRID[:, None] - GRID, 9)
    sizes = [(1, 1), (1, 2), (2, 2), (3, 3), (2, 5), (5, 5), (1, 100), (5, 100)]
    least = [pair_coverage(ours_difference(*pair), *pair, truth)[0].min() for pair in sizes]
    cells = [f"{100 * value:.1f}" for value in least]
    columns = [f"{a}, {b}" for a, b in sizes]
    show("Differences, tiny groups: least coverage %", columns, [("fairlightning", cells)])


def ratios_table() -> None:
    truth = np.round(GRID[:, None] / GRID, 9)
    pairs = [pair for pair in SIZE_PAIRS if pair[0] * pair[1] <= 10_000]
    results = [pair_coverage(ours_ratio(*pair), *pair, truth)[0] for pair in pairs]
    cells = [f"{100 * held.min():.1f} {100 * held.mean():.1f}" for held in results]
    columns = [f"{a}, {b}" for a, b in pairs]
    show("Ratios: least and mean coverage %", columns, [("fairlightning", cells)])


def two_groups_table(found: dict[str, list[float]]) -> None:
    truth = np.round(abs(GRID[:, None] - GRID), 9)
    cells = []
    for n_a, n_b in SIZE_PAIRS:
        grid = torch.cartesian_prod(torch.arange(n_a + 1), torch.arange(n_b + 1))
        both = extremes.largest_difference_interval(grid[:, None], torch.tensor([[n_a, n_b]]))
        low, high = (limit.view(n_a + 1, n_b + 1).numpy() for limit in both)
        held, met = pair_coverage((low, high), n_a, n_b, truth)
        found["coverage"].append(held.min())
        found["met"].append(met.max())
        width = mean_width((low, high), n_a, n_b)
        cells.append(f"{cell(held, width)} {100 * met.max():.1f}")
    columns = [f"{a}, {b}" for a, b in SIZE_PAIRS]
    title = "Largest difference, 2 groups: least coverage %, mean %, mean width, most false met %"
    show(title, columns, [("fairlightning", cells)])


def configurations(groups: int) -> dict[str, np.ndarray]:
    equal = np.ones((1, groups))
    one = np.eye(1, groups)
    inner = np.full((1, groups), 0.2)
    inner[0, 0], inner[0, -1] = 0.1, 0.3
    return {
        "all 0.05": 0.05 * equal,
        "all 0.2": 0.2 * equal,
        "all 0.5": 0.5 * equal,
        "0.02, others 0.12": 0.12 * equal - 0.1 * one,
        "0.5, others 0.2": 0.2 * equal + 0.3 * one,
        "0.1, 0.3, others 0.2": inner,
        "0.02 to 0.12": np.linspace(0.02, 0.12, groups)[None],
        "0.1 to 0.4": np.linspace(0.1, 0.4, groups)[None],
        "0.05 to 0.95": np.linspace(0.05, 0.95, groups)[None],
        "two conditions, 0.2 and 0.6": np.stack([inner[0], inner[0] + 0.4]),
    }


def simulate(
    kind: str, rates: np.ndarray, sizes: np.ndarray, repeats: int
) -> tuple[float, float, float]:
    """Coverage, share of "met" with the truth as tolerance, and mean width."""
    rng = np.random.default_rng(0)
    count = torch.tensor(rng.binomial(sizes, rates, (repeats, *rates.shape)))
    trials = torch.tensor(np.broadcast_to(sizes, rates.shape).copy())
    difference = rates.max(-1) - rates.min(-1)
    if kind == "ratio":
        truth = (rates.min(-1) / rates.max(-1)).min()
        low, high = extremes.smallest_ratio_interval(count, trials)
        met = low >= truth - EPS
    else:
        truth = difference.sum() if kind == "sum" else difference.max()
        method = {
            "sum": extremes.largest_difference_sum_interval,
            "difference": extremes.largest_difference_interval,
        }[kind]
        low, high = method(count, trials)
        met = high <= truth + EPS
    held = (low <= truth + EPS) & (truth <= high + EPS)
    return held.double().mean().item(), met.double().mean().item(), (high - low).mean().item()


def many_groups_table(
    kind: str, numbers: tuple[int, ...], repeats: int, found: dict[str, list[float]] | None = None
) -> None:
    columns = [*(f"n={n}" for n in SIZES), "mixed"]
    rows = []
    for groups in numbers:
        cells = []
        for size in (*SIZES, None):
            mixed = np.resize([10, 1000, 30, 100], groups)
            sizes = mixed if size is None else np.full(groups, size)
            chosen = configurations(groups)
            if kind == "sum":
                chosen = {k: np.concatenate([v, v[:, ::-1]]) for k, v in chosen.items()}
            runs = np.array([simulate(kind, v, sizes, repeats) for v in chosen.values()])
            held, met, width = runs[:, 0].min(), runs[:, 1].max(), runs[:, 2].mean()
            cells.append(f"{100 * held:.1f} {width:.3f} {100 * met:.1f}")
            if found is not None:
                found["coverage"].append(held)
                found["met"].append(met)
        rows.append((f"{groups} groups", cells))
    title = {
        "difference": "Largest difference",
        "ratio": "Smallest ratio",
        "sum": "Sum of TPR and FPR differences",
    }[kind]
    show(f"{title}: least coverage %, mean width, most false met %", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"coverage": [], "mean": [], "met": []}
    rates_table(found)
    weighted_table(repeats)
    differences_table(found)
    small_table()
    two_groups_table(found)
    many_groups_table("difference", (3, 8, 20), repeats, found)
    ratios_table()
    many_groups_table("ratio", (2, 3, 8, 20), repeats)
    many_groups_table("sum", (2, 3, 8), repeats)
    for table in bootstrap_tables(repeats):
        show(*table)
    result = {
        "min_coverage": min(found["coverage"]),
        "mean_coverage": float(np.mean(found["mean"])),
        "lowest_mean": min(found["mean"]),
        "highest_mean": max(found["mean"]),
        "false_met": max(found["met"]),
        "repeats": repeats,
    }
    print("\n" + json.dumps({key: round(float(value), 4) for key, value in result.items()}))


if __name__ == "__main__":
    main()
