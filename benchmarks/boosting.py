"""LightGBM on the parity objective, beside exponentiated gradient over LightGBM, on Adult.

Demographic parity for sex. Window, splits and area are those of `front_window.py`: models are
chosen on validation, and the area is that on test. The rival is that of `front_rivals.py`, six
bounds on the gap. Both run here, one after the other, with one thread each.

    python benchmarks/boosting.py [--seeds 0 1 2] [--rival-seeds 0]

`time_ratio` is the time of our front over the rival's, on the seeds that both have.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import mean

import numpy as np
from front_quality import show, start
from front_window import Area, Costs, area, corner, costs, decisions, table

from fairlightning.boosting import BoostedTrees
from fairlightning.data import TabularDataModule
from fairlightning.objectives import Fairness, ParityPenalty

CRITERION = "demographic_parity"
STRENGTHS = (*np.linspace(0.0, 0.6, 11).tolist(), 0.8)
SPLITS = ("validation", "test")


def trees(data: TabularDataModule, seed: int) -> Costs:
    """Costs of one model for each strength, `(K, 2, 2)`."""
    points = []
    for strength in STRENGTHS:
        fairness = Fairness(data.groups, strength=strength)
        fairness.add("parity", ParityPenalty(data.groups, criterion=CRITERION))
        model = BoostedTrees(data.num_numeric, data.cardinalities, num_leaves=15, seed=seed)
        model.fit(fairness, data.batch("train"), data.batch("validation"))
        points.append([costs(decisions(model, data, s), data, s, CRITERION)[0] for s in SPLITS])
    return np.array(points)


def timed(name: str, points: Costs, begin: float, worst: Costs, seed: int) -> tuple[Area, float]:
    seconds = time.perf_counter() - begin
    found = area(points[:, 0], points[:, 1], worst)
    print(f"seed {seed}, {name}: {found.test:.3f} of the window, {seconds:.0f} s", flush=True)
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rival-seeds", type=int, nargs="*", default=[0])
    options = parser.parse_args()
    start()
    ours: dict[int, tuple[Area, float]] = {}
    theirs: dict[int, tuple[Area, float]] = {}
    for seed in options.seeds:
        data = table(seed)
        worst = corner(data, CRITERION, seed)
        begin = time.perf_counter()
        ours[seed] = timed("boosted trees", trees(data, seed), begin, worst, seed)
        if seed in options.rival_seeds:
            from front_rivals import boosted, gradient

            begin = time.perf_counter()
            points = gradient(data, CRITERION, boosted())
            theirs[seed] = timed("exponentiated gradient", points, begin, worst, seed)
    print("Adult, demographic parity, sex: area in the window, test, mean ± spread (each seed)")
    figures = {"area": show("boosted trees", [found for found, _ in ours.values()])}
    if theirs:
        name = "exponentiated gradient"
        figures["expgrad_area"] = show(name, [found for found, _ in theirs.values()])
        ratio = mean(ours[seed][1] / theirs[seed][1] for seed in theirs)
        figures["time_ratio"] = round(ratio, 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
