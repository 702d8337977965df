"""How often the intervals of areas and Brier scores hold the truth, as they are reported.

Each repeat is a group of its own; rows go through `GroupCounts`, so that binning, merging of bins
and the mixture of the other groups take part. See docs/intervals.md.

    python benchmarks/coverage_scores.py [--groups 100]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats

from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupCounts
from fairlightning.metrics.intervals import group_intervals

SIZES = (10, 30, 100, 1000)
RESAMPLES, EPS = 300, 1e-9
Rows = tuple[np.ndarray, np.ndarray]  # scores as logits, labels
Draw = Callable[[np.random.Generator, int], Rows]


def normal(centre: float, spread: float, positive: float) -> Draw:
    """Logits that are normal in either label; the area is Φ(1/√2) = 0.76 wherever they lie."""

    def draw(rng: np.random.Generator, count: int) -> Rows:
        label = rng.random(count) < positive
        return centre + spread * (rng.standard_normal(count) + label), label

    return draw


def calibrated(score: Callable[[np.random.Generator, int], np.ndarray]) -> Draw:
    def draw(rng: np.random.Generator, count: int) -> Rows:
        scores = score(rng, count).clip(1e-4, 1 - 1e-4)
        return np.log(scores / (1 - scores)), rng.random(count) < scores

    return draw


AREAS = {
    "around 0, half positive": normal(0, 1, 0.5),
    "around −5, a tenth positive": normal(-5, 0.25, 0.1),
    "around 12, close together": normal(12, 0.02, 0.5),
}
SCORES = {
    "all 0.05": calibrated(lambda rng, n: np.full(n, 0.05)),
    "mostly low": calibrated(lambda rng, n: rng.beta(0.5, 3, n)),
    "middling": calibrated(lambda rng, n: rng.beta(2, 2, n)),
    "mostly sure": calibrated(lambda rng, n: rng.beta(0.2, 0.2, n)),
}


def coverage(draw: Draw, metric: str, truth: float, n: int, groups: int) -> tuple[float, float]:
    spec = GroupSpec({"draw": [str(number) for number in range(groups)]})
    logits, label = draw(np.random.default_rng(n), n * groups)
    group = torch.arange(groups).repeat_interleave(n).unsqueeze(1)
    counts = GroupCounts(spec)
    counts.update(torch.tensor(logits), torch.tensor(label).long(), group)
    tables = counts.compute().partition(spec, ("draw",))
    low, high = group_intervals(tables, num_resamples=RESAMPLES)[metric]
    held = ((low <= truth + EPS) & (truth <= high + EPS))[low.isfinite()]
    return 100 * held.double().mean().item(), (high - low).nanmean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    area = float(stats.norm.cdf(1 / np.sqrt(2)))
    cases = [(m, name, draw, area) for m in ("auroc", "auroc_bpsn") for name, draw in AREAS.items()]
    for name, draw in SCORES.items():
        logits, _ = draw(np.random.default_rng(0), 1_000_000)
        score = 1 / (1 + np.exp(-logits))
        cases.append(("brier", name, draw, float((score * (1 - score)).mean())))
    print(f"Coverage in % and mean width of {options.groups} groups")
    print(f"| | {' | '.join(f'n={n}' for n in SIZES)} |\n|---|{'---|' * len(SIZES)}")
    least: dict[str, float] = {}
    for metric, name, draw, truth in cases:
        found = [coverage(draw, metric, truth, n, options.groups) for n in SIZES]
        cells = " | ".join(f"{held:.1f} {width:.3f}" for held, width in found)
        print(f"| {metric}, {name} | {cells} |", flush=True)
        least[metric] = min(least.get(metric, 100.0), *(held for held, _ in found))
    print(json.dumps({f"min_coverage_{metric}": round(low, 1) for metric, low in least.items()}))


if __name__ == "__main__":
    main()
