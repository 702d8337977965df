"""What combinations cost in a training step, against the weighted sum of the same two terms.

Task and parity penalty, MLP 64-64 on Adult, batch 1,024, one CPU thread, as in `step.py`. All run
side by side, in turns; figures are medians over the turns of the ratio to the weighted sum.
Gradient aggregation needs the extra `aggregation`.

    python benchmarks/combinations.py [--turns 8] [--epochs 2]
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from statistics import median

import torch
from step import trainer_step

from fairlightning.cli.console import quiet
from fairlightning.data import adult
from fairlightning.objectives import (
    Chebyshev,
    Combination,
    EpsilonConstraint,
    GradientAggregation,
    SmoothChebyshev,
    WeightedSum,
)

COMBINATIONS: dict[str, Callable[[], Combination]] = {
    "weighted_sum": WeightedSum,
    "chebyshev": Chebyshev,
    "smooth_chebyshev": SmoothChebyshev,
    "epsilon_constraint": lambda: EpsilonConstraint({"parity": 0.05}),
    # The Jacobian alone, with the cheapest weights that there are.
    "mean": lambda: GradientAggregation("Mean"),
    "mgda": lambda: GradientAggregation("MGDA"),
    "upgrad": lambda: GradientAggregation("UPGrad"),
    "pcgrad": lambda: GradientAggregation("PCGrad"),
    "imtl_g": lambda: GradientAggregation("IMTLG"),
    "aligned_mtl": lambda: GradientAggregation("AlignedMTL"),
    "cagrad": lambda: GradientAggregation("CAGrad", {"c": 0.5}),
    "nash_mtl": lambda: GradientAggregation("NashMTL", {"n_tasks": 2}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = adult(batch_size=1024)
    data.setup()
    times: dict[str, list[float]] = {name: [] for name in COMBINATIONS}
    for turn in range(options.turns + 1):
        for name, make in COMBINATIONS.items():
            found = trainer_step(data, options.epochs, "parity", make())
            if turn:  # the first warms up
                times[name].append(found)
    print(f"MLP 64-64, Adult, batch 1,024, {options.turns} turns of {options.epochs} epochs")
    figures = {}
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["weighted_sum"], strict=True)]
        if name != "weighted_sum":
            figures[f"{name}_vs_weighted_sum"] = round(median(ratios), 2)
        low, high = min(ratios), max(ratios)
        print(
            f"  {name:20} {median(values):6.2f} ms  "
            f"{median(ratios):.2f} times the weighted sum ({low:.2f} to {high:.2f})"
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
