"""Constraints on a network: are they met on test, and what do they cost beside a penalty?

Adult, MLP 64-64, demographic parity for sex. For each ε the network is trained with
`method=constrained`, five seeds (split, initial weights, order of batches), by `fairlightning
train`'s own code. Beside its accuracy stands that of a sweep over the parity penalty's strength at
the same gap: of each seed, interpolated linearly between the two strengths next to it.

    python benchmarks/constrained_network.py [--seeds 0 1 2 3 4] [--epsilons 0.02 0.05 0.1] [--full]

The sweep takes twice as long as the rest, so its results are kept in
`benchmarks/constrained_network_sweep.json`; `--full` makes them anew.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from adult import records

SWEEP = Path(__file__).with_name("constrained_network_sweep.json")
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
Run = dict[str, float]


def run(overrides: tuple[str, ...]) -> Run:
    """One training; gap with its interval, and accuracy, on test, and both on validation."""
    whole = (r for r in records(("attributes=[sex]", *overrides)) if r.group is None)
    table = {(r.stage, r.metric, r.attribute): r for r in whole}
    gap = table["test", "demographic_parity_difference", "sex"]
    return {
        "gap": float(gap.value),  # type: ignore[arg-type]
        "low": float(gap.low),  # type: ignore[arg-type]
        "high": float(gap.high),  # type: ignore[arg-type]
        "accuracy": float(table["test", "accuracy", None].value),  # type: ignore[arg-type]
        "val_gap": float(table["val", "demographic_parity_difference", "sex"].value),  # type: ignore[arg-type]
        "val_accuracy": float(table["val", "accuracy", None].value),  # type: ignore[arg-type]
    }


def trained(arms: dict[str, tuple[str, ...]], seeds: list[int]) -> dict[str, dict[str, Run]]:
    """Every arm with every seed, two at a time, one thread each."""
    jobs = [(arm, seed) for arm in arms for seed in seeds]
    overrides = [(*arms[arm], f"seed={seed}") for arm, seed in jobs]
    results: dict[str, dict[str, Run]] = {arm: {} for arm in arms}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for (arm, seed), result in zip(jobs, pool.map(run, overrides), strict=True):
            results[arm][str(seed)] = result
            if len(results[arm]) == len(seeds):
                show(arm, results[arm])
    return results


def show(arm: str, runs: dict[str, Run]) -> None:
    cells = []
    for name in ("gap", "accuracy", "val_gap", "val_accuracy"):
        values = [result[name] for result in runs.values()]
        cells.append(f"{mean(values):.4f} ±{stdev(values) if len(values) > 1 else 0:.4f}")
    print(f"{arm:>14}  " + "  ".join(f"{cell:>15}" for cell in cells), flush=True)


def at_gap(front: list[Run], gap: float) -> float:
    """Accuracy of a sweep at a gap; of its nearest end where the gap lies beyond it."""
    points = sorted((point["gap"], point["accuracy"]) for point in front)
    return float(np.interp(gap, *zip(*points, strict=True)))


def within(result: Run, epsilon: float) -> bool:
    return result["gap"] <= epsilon or result["low"] <= epsilon


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--full", action="store_true", help="train the sweep anew, too")
    options = parser.parse_args()
    columns = ("test gap", "test accuracy", "val gap", "val accuracy")
    print(
        f"Adult, MLP 64-64, demographic parity for sex, {len(options.seeds)} seeds: mean ± spread"
    )
    print(f"{'':>14}  " + "  ".join(f"{name:>15}" for name in columns))
    if options.full:
        arms = {f"{s:g}": ("method=parity", f"method.strength={s}") for s in STRENGTHS}
        SWEEP.write_text(json.dumps(trained(arms, options.seeds), indent=1) + "\n")
    sweep: dict[str, dict[str, Run]] = json.loads(SWEEP.read_text())
    if not options.full:
        for arm, runs in sweep.items():
            show(f"λ sweep {arm}", runs)
    bounds = {f"ε = {e:g}": ("method=constrained", f"epsilon={e}") for e in options.epsilons}
    constrained = trained(bounds, options.seeds)

    figures: dict[str, float] = {}
    met, table = [], []
    for epsilon, (arm, runs) in zip(options.epsilons, constrained.items(), strict=True):
        met += [within(result, epsilon) for result in runs.values()]
        pairs = [
            (result["accuracy"], at_gap([points[seed] for points in sweep.values()], result["gap"]))
            for seed, result in runs.items()
        ]
        gains = [100 * (ours - theirs) for ours, theirs in pairs]
        gap = mean(result["gap"] for result in runs.values())
        spread = stdev(gains) if len(gains) > 1 else 0.0
        table.append(
            f"{arm:>14}  {gap:>8.4f}  {mean(p[0] for p in pairs):>11.4f}  "
            f"{mean(p[1] for p in pairs):>9.4f}  {mean(gains):>+8.2f} ±{spread:.2f}"
        )
        figures[f"gap_at_{epsilon:g}"] = round(gap, 4)
        figures[f"accuracy_gain_points_at_{epsilon:g}"] = round(mean(gains), 2)
    print("\nAccuracy beside the sweep's at the same gap, seed by seed")
    print(f"{'':>14}  test gap  constrained  the sweep  gain in points")
    print("\n".join(table))
    share = {"share_within_bound": round(mean(met), 4)}
    below = all(figures[f"gap_at_{e:g}"] <= e for e in options.epsilons)
    print(json.dumps(share | {"mean_gap_below_epsilon": below} | figures))


if __name__ == "__main__":
    main()
