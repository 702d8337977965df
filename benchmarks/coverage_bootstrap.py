"""Coverage of the bootstrap for F1, balanced accuracy, AUROC and calibration error.

A part of benchmarks/coverage.py: ours against what is usual, resampled rows with percentile and
with BCa limits (Efron 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import special
from torch import Tensor

from fairlightning.functional.bootstrap import (
    bootstrap_distance_interval,
    bootstrap_interval,
    half_row,
    half_rows_of_bins,
)
from fairlightning.functional.extremes import largest_difference_of
from fairlightning.functional.intervals import Interval

SIZES = (10, 30, 100, 1000)
RESAMPLES, BINS, EPS = 300, 20, 1e-9
CELLS = {
    "0.4 0.1 0.1 0.4": [0.4, 0.1, 0.1, 0.4],
    "0.85 0.05 0.05 0.05": [0.85, 0.05, 0.05, 0.05],
    "0.48 0.02 0.02 0.48": [0.48, 0.02, 0.02, 0.48],
}
AREAS = ((0.6, 0.5), (0.8, 0.2), (0.95, 0.5), (0.99, 0.2))
METHODS = ("fairlightning", "rows, percentile", "rows, BCa")
Statistic = Callable[[Tensor], Tensor]
Table = tuple[str, list[str], list[tuple[str, list[str]]]]


def f1(table: Tensor) -> Tensor:
    return 2 * table[..., 1, 1] / (2 * table[..., 1, 1] + table[..., 0, 1] + table[..., 1, 0])


def balanced_accuracy(table: Tensor) -> Tensor:
    right = table.diagonal(dim1=-2, dim2=-1)
    return (right / table.sum(-1)).mean(-1)


def auroc(table: Tensor) -> Tensor:
    negative, positive = table.unbind(-2)
    below = negative.cumsum(-1) - negative / 2
    return (positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1))


def of_rows(statistic: Statistic, table: Tensor, within: int) -> tuple[Interval, Interval]:
    """Percentile and BCa limits from resampled rows, which are multinomial counts."""
    rng = np.random.default_rng(0)
    strata = table.numpy().reshape(*table.shape[:-within], -1)
    rows = strata.sum(-1, keepdims=True)
    share = strata / np.maximum(rows, 1)
    share[..., -1] = np.maximum(1 - share[..., :-1].sum(-1), 0)
    drawn = rng.multinomial(rows[..., 0], share, size=(RESAMPLES, *rows.shape[:-1]))
    figures = statistic(torch.tensor(drawn).double().view(RESAMPLES, *table.shape)).numpy()
    # As is usual, and generous to these methods: resamples without a figure are left out.
    kept = (~np.isnan(figures)).sum(0)
    ordered = np.sort(figures, 0)
    percentile = at(ordered, kept, np.broadcast_to([[0.025], [0.975]], (2, *kept.shape)))
    estimate = statistic(table.double()).numpy()
    below = ((figures < estimate).sum(0) + (figures == estimate).sum(0) / 2) / np.maximum(kept, 1)
    bias = special.ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    skew = acceleration(statistic, table)
    shifted = bias + special.ndtri([[0.025], [0.975]])
    wanted = np.nan_to_num(special.ndtr(bias + shifted / (1 - skew * shifted)), nan=0.5)
    accelerated = at(ordered, kept, wanted)
    return Interval(*torch.tensor(percentile)), Interval(*torch.tensor(accelerated))


def at(ordered: np.ndarray, kept: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.take_along_axis(ordered, (share * np.maximum(kept - 1, 0)).round().astype(int), 0)


def acceleration(statistic: Statistic, table: Tensor) -> np.ndarray:
    """Jackknife over rows: all rows of a cell share the figure without one of them."""
    flat = table.double().flatten(1)
    less = flat[:, None] - torch.eye(flat.shape[1])
    figures = statistic(less.clamp_min(0).view(*less.shape[:2], *table.shape[1:]))
    weight = torch.where(figures.isnan(), 0.0, flat)
    figures = figures.nan_to_num()
    mean = (weight * figures).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    cubes, squares = (((mean - figures) ** power * weight).sum(1) for power in (3, 2))
    return (cubes / (6 * squares.clamp_min(1e-30) ** 1.5)).numpy()


def compare(
    statistic: Statistic, table: Tensor, truth: float, within: int, prior: Tensor | float
) -> list[tuple[float, float]]:
    """Coverage and mean width of every method, where the figure is estimable."""
    ours = bootstrap_interval(statistic, table, within=within, prior=prior, num_resamples=RESAMPLES)
    known = ~statistic(table.double()).isnan()
    results = []
    for low, high in (ours, *of_rows(statistic, table, within)):
        held = (low <= truth + EPS) & (truth <= high + EPS)
        results.append((held[known].double().mean().item(), (high - low)[known].nanmean().item()))
    return results


def scores(
    area: float, positives: int, negatives: int, repeats: int, seed: int = 0
) -> tuple[Tensor, float]:
    """Tables of binned scores, normal in either label, and the AUROC of the bins."""
    shift = np.sqrt(2) * special.ndtri(area)
    edges = np.linspace(-3, 3 + shift, BINS - 1)
    shares = [np.diff(np.r_[0, special.ndtr(edges - d), 1]) for d in (0, shift)]
    rng = np.random.default_rng(seed)
    drawn = [
        rng.multinomial(count, share, repeats)
        for count, share in zip((negatives, positives), shares, strict=True)
    ]
    return torch.tensor(np.stack(drawn, 1)), auroc(torch.tensor(np.stack(shares))).item()


def figure_table(name: str, columns: dict[str, list[list[tuple[float, float]]]]) -> Table:
    rows = []
    for number, method in enumerate(METHODS):
        cells = []
        for results in columns.values():
            coverage, width = np.array([result[number] for result in results]).T
            cells.append(f"{100 * coverage.min():.1f} {width.mean():.3f}")
        rows.append((method, cells))
    return f"Bootstrap, {name}: least coverage %, mean width", list(columns), rows


def area_gaps(repeats: int) -> Table:
    rows = []
    cases = {"2 equal": [0.8] * 2, "0.7, 0.9": [0.7, 0.9], "8 equal": [0.8] * 8}
    cases["8, 0.6 to 0.95"] = list(np.linspace(0.6, 0.95, 8))
    for name, areas in cases.items():
        cells = []
        for n in SIZES:
            drawn = [scores(a, 2 * n // 5, 3 * n // 5, repeats, g) for g, a in enumerate(areas)]
            table = torch.stack([counts for counts, _ in drawn], 1)
            figures = bootstrap_interval(
                auroc, table, within=1, prior=half_row(table), num_resamples=RESAMPLES
            )
            present = torch.ones(table.shape[:2], dtype=torch.bool)
            low, high = largest_difference_of(auroc(table.double()), figures, present, most=1.0)
            truth = max(t for _, t in drawn) - min(t for _, t in drawn)
            held = (low <= truth + EPS) & (truth <= high + EPS)
            cells.append(f"{100 * held.double().mean():.1f} {(high - low).mean():.3f}")
        rows.append((name, cells))
    columns = [f"n={n}" for n in SIZES]
    return "Largest AUROC difference: coverage %, mean width", columns, rows


def calibration(repeats: int) -> Table:
    """Calibration error over ten bins of models whose scores are right, or too high by a shift."""
    score = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)

    def deviations(table: Tensor) -> Tensor:
        return (table[..., 1, :] - table.sum(-2) * score) / table.sum((-2, -1)).unsqueeze(-1)

    rows: dict[str, list[str]] = {"fairlightning": [], "rows, percentile": []}
    for n in SIZES:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for shift in (0.0, 0.02, 0.05, 0.2):
            positive = (score - shift).clamp_min(0.01)
            shares = torch.stack([1 - positive, positive]) / 10
            drawn = np.random.default_rng(0).multinomial(n, shares.flatten(), repeats)
            table = torch.tensor(drawn).view(-1, 2, 10)
            truth = deviations(shares).abs().sum()
            prior = half_rows_of_bins(table)
            ours = bootstrap_distance_interval(
                deviations, table, within=2, prior=prior, num_resamples=RESAMPLES
            )
            usual, _ = of_rows(lambda t: deviations(t).abs().sum(-1), table, 2)
            for name, (low, high) in zip(rows, (ours, usual), strict=True):
                held = (low <= truth + EPS) & (truth <= high + EPS)
                found[name].append((held.double().mean().item(), (high - low).mean().item()))
        for name, results in found.items():
            coverage, width = np.array(results).T
            rows[name].append(f"{100 * coverage.min():.1f} {width.mean():.3f}")
    columns = [f"n={n}" for n in SIZES]
    title = "Bootstrap, calibration error: least coverage %, mean width"
    return title, columns, list(rows.items())


def bootstrap_tables(repeats: int) -> Iterator[Table]:
    """Coverage tables, each a title, its columns and its rows."""
    for statistic in (f1, balanced_accuracy):
        columns = {}
        for n in SIZES:
            results = []
            for shares in CELLS.values():
                rng = np.random.default_rng(0)
                table = torch.tensor(rng.multinomial(n, shares, repeats)).view(-1, 2, 2)
                truth = statistic(torch.tensor(shares).view(2, 2)).item()
                results.append(compare(statistic, table, truth, 2, 0.5))
            columns[f"n={n}"] = results
        yield figure_table(statistic.__name__, columns)
    columns = {}
    for n in SIZES:
        results = []
        for area, share in AREAS:
            positives = round(n * share)
            table, truth = scores(area, positives, n - positives, repeats)
            results.append(compare(auroc, table, truth, 1, half_row(table)))
        columns[f"n={n}"] = results
    yield figure_table("auroc", columns)
    yield area_gaps(min(repeats, 2000))
    yield calibration(repeats)
