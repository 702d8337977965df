"""Adversarial debiasing on Adult: how far the gap falls, and what it costs.

For each strength the fair method and, once, the plain network are trained with the same seeds and
splits by `fairlightning train`'s own code. The strength is chosen on validation: among those whose
mean accuracy stays within `--budget` of the plain network's, the one with the smallest mean
difference for sex under the criterion. The figures are those on test.

    python benchmarks/adult.py [--seeds 0 1 2] [--strengths 0.25 0.5 1 2] [--budget 0.015]
                               [--method adversarial] [--criterion demographic_parity]
                               [--figure docs/adult.png]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing import get_context
from statistics import mean, stdev

from hydra import compose, initialize_config_dir

from fairlightning.cli.build import conf_dir
from fairlightning.cli.console import quiet
from fairlightning.cli.train import train
from fairlightning.metrics import Record

FIGURES = {
    "accuracy": ("accuracy", None),
    "f1": ("f1", None),
    "auroc": ("auroc", None),
    "dp_sex": ("demographic_parity_difference", "sex"),
    "eo_sex": ("equal_opportunity_difference", "sex"),
    "eodds_sex": ("equalized_odds_difference", "sex"),
    "dp_race": ("demographic_parity_difference", "race"),
    "dp_crossed": ("demographic_parity_difference", "sex & race"),
}
WATCHED = {
    "demographic_parity": "dp_sex",
    "equal_opportunity": "eo_sex",
    "equalized_odds": "eodds_sex",
}
Run = dict[str, dict[str, float]]


def records(overrides: tuple[str, ...]) -> list[Record]:
    """One training as the command line does it; what its `metrics.json` holds."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"run_dir={folder}", "logger=none", "trainer.enable_progress_bar=false"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", overrides=[*fixed, *overrides])
        with redirect_stdout(StringIO()):
            return train(config)


def run(overrides: tuple[str, ...]) -> Run:
    """One training; the figures of validation and test."""
    whole = (r for r in records(overrides) if r.group is None)
    table = {(r.stage, r.metric, r.attribute): r.value for r in whole}
    return {
        stage: {name: float(table[(stage, *key)]) for name, key in FIGURES.items()}  # type: ignore[arg-type]
        for stage in ("val", "test")
    }


def average(runs: list[Run], stage: str, name: str) -> float:
    return mean(run[stage][name] for run in runs)


def show(label: str, runs: list[Run]) -> None:
    cells = []
    for name in FIGURES:
        values = [run["test"][name] for run in runs]
        spread = stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{mean(values):.3f} ±{spread:.3f}")
    print(f"{label:>16}  " + "  ".join(f"{cell:>13}" for cell in cells), flush=True)


def draw(path: str, results: dict[str, list[Run]]) -> None:
    """Accuracy against the gap, a dot for each training and a line through the means."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    colours = plt.get_cmap("viridis")
    for place, (arm, runs) in enumerate(results.items()):
        gaps = [run["test"]["dp_sex"] for run in runs]
        accuracies = [100 * run["test"]["accuracy"] for run in runs]
        colour = "0.35" if arm == "erm" else colours(place / len(results))
        label = "plain network" if arm == "erm" else arm
        axes.scatter(gaps, accuracies, color=colour, s=22, alpha=0.6)
        axes.scatter(mean(gaps), mean(accuracies), color=colour, s=90, marker="D", label=label)
    means = [
        (average(r, "test", "dp_sex"), average(r, "test", "accuracy")) for r in results.values()
    ]
    axes.plot([x for x, _ in means], [100 * y for _, y in means], color="0.7", zorder=0)
    axes.set_xlabel("demographic-parity difference for sex, test (0 is parity)")
    axes.set_ylabel("accuracy, test (%)")
    axes.set_title("Adult: adversarial debiasing, 3 seeds (dots) and their means", loc="left")
    axes.set_xlim(left=0)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.25, 0.5, 1.0, 2.0])
    parser.add_argument("--budget", type=float, default=0.015)
    parser.add_argument("--method", default="adversarial")
    parser.add_argument("--criterion", default="demographic_parity")
    parser.add_argument("--figure")
    options = parser.parse_args()
    arms: dict[str, tuple[str, ...]] = {"erm": ("method=erm",)}
    for strength in options.strengths:
        fair = (f"method={options.method}", f"criterion={options.criterion}")
        arms[f"strength {strength:g}"] = (*fair, f"method.strength={strength}")
    jobs = [(arm, (*how, f"seed={seed}")) for arm, how in arms.items() for seed in options.seeds]
    print(f"Adult, MLP 64-64, {options.method}, {len(options.seeds)} seeds: test, mean ± spread")
    print(f"{'':>16}  " + "  ".join(f"{name:>13}" for name in FIGURES))
    results: dict[str, list[Run]] = {arm: [] for arm in arms}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for (arm, _), result in zip(jobs, pool.map(run, [how for _, how in jobs]), strict=True):
            results[arm].append(result)
            if len(results[arm]) == len(options.seeds):
                show(arm, results[arm])
    if options.figure:
        draw(options.figure, results)
    baseline = results.pop("erm")
    least = average(baseline, "val", "accuracy") - options.budget
    watched = WATCHED[options.criterion]
    within = [arm for arm in results if average(results[arm], "val", "accuracy") >= least]
    if not within:
        raise SystemExit("no strength stays within the budget: try smaller ones")
    chosen = min(within, key=lambda arm: average(results[arm], "val", watched))
    fair = results[chosen]
    print(f"chosen on validation: {chosen}")
    accuracies = [average(runs, "test", "accuracy") for runs in (baseline, fair)]
    figures = {"strength": float(chosen.removeprefix("strength "))}
    for name in WATCHED.values():
        figures[f"{name}_baseline"] = round(average(baseline, "test", name), 4)
        figures[name] = round(average(fair, "test", name), 4)
    figures["gap_ratio"] = round(figures[watched] / figures[f"{watched}_baseline"], 4)
    figures["accuracy_drop_points"] = round(100 * (accuracies[0] - accuracies[1]), 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
