"""One cell of `families.py`: a family of models on a data set, plain and with its method."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from family_settings import GRIDS, OVERRIDES, SETTINGS, Setting, arguments, recommended
from hydra import compose, initialize_config_dir

from fairlightning.advisor import OPTIONS
from fairlightning.cli.build import conf_dir
from fairlightning.cli.console import quiet
from fairlightning.cli.train import train
from fairlightning.functional.criteria import CRITERIA
from fairlightning.groups import GroupSpec
from fairlightning.verification.gap_change import gap_change
from fairlightning.verification.limits import Contrast
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Pair, overall_estimates

HALVED, POINTS, SMALL = 0.5, 2.0, 0.05
"""Largest ratio of gaps, largest loss of accuracy in points, and the gap that is not worth it."""

LEVEL = 0.975
"""Confidence of each end of an interval."""


@dataclass(frozen=True)
class Run:
    """One training: figures on validation, and all predictions."""

    accuracy: float
    gap: float
    predictions: pd.DataFrame


def run(setting: Setting, overrides: Sequence[str]) -> Run:
    """Train as the command line does."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        fixed = [
            f"run_dir={folder}",
            "logger=none",
            "trainer.enable_progress_bar=false",
            f"attributes=[{setting.attribute}]",
            f"criterion={setting.definition}",
        ]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", overrides=[*fixed, *overrides])
        with redirect_stdout(StringIO()):
            records = train(config)
        predictions = pd.read_parquet(Path(folder) / "predictions.parquet")
    of = {(r.stage, r.metric, r.attribute): r.value for r in records if r.group is None}
    gap = of["val", f"{setting.definition}_difference", setting.attribute]
    accuracy = float(of["val", "accuracy", None] or 0)
    if setting.balanced:
        accuracy = balanced_accuracy(predictions, setting.attribute)
    return Run(accuracy, float(gap or 0), predictions)


def balanced_accuracy(predictions: pd.DataFrame, attribute: str) -> float:
    """Accuracy on validation, the mean over groups and labels."""
    rows = predictions[predictions["split"] == "val"]
    right = (rows["score"] >= 0.5) == (rows["target"] == 1)
    return float(right.groupby([rows[attribute], rows["target"]]).mean().mean())


def strain(baseline: Run, fair: Run) -> float:
    """The worse of gap and loss of accuracy, in times of what is allowed, on validation."""
    allowed = HALVED * max(baseline.gap, 1e-9)
    return max(fair.gap / allowed, 100 * (baseline.accuracy - fair.accuracy) / POINTS)


def choose(baseline: Run, runs: Sequence[Run]) -> int:
    """Position of the run with the least strain."""
    return min(range(len(runs)), key=lambda place: strain(baseline, runs[place]))


def measure(dataset: str, model: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Train a cell: everything that the table has of it, and what was chosen for each seed.

    Raises:
        DataError: If the data cannot be had.
    """
    setting, start = SETTINGS[dataset], time.process_time()
    model, _, other = model.partition("/")
    option = OPTIONS[other] if other else recommended(model, setting.definition)
    fixed, swept = arguments(option)
    fixed = (*fixed, *setting.fair)
    more = (f"model={model}", *setting.training, *OVERRIDES.get(model, ()))
    grid: Sequence[float | None] = GRIDS[swept] if swept else (None,)
    pairs: dict[str, list[Pair]] = {"val": [], "test": []}
    chosen = []
    for seed in seeds:
        common = (*setting.data(), *more, f"seed={seed}")
        baseline = run(setting, (*common, "method=erm"))
        runs = []
        for value in grid:
            told = () if value is None else (f"{swept}={value}",)
            runs.append(run(setting, (*common, *fixed, *told)))
            if runs[-1].gap <= setting.aim * baseline.gap:
                break
        place = choose(baseline, runs)
        chosen.append(
            {
                "seed": seed,
                "value": grid[place],
                "validation_baseline": [round(baseline.accuracy, 4), round(baseline.gap, 4)],
                "validation": [[round(r.accuracy, 4), round(r.gap, 4)] for r in runs],
            }
        )
        groups = groups_of(baseline.predictions, setting.attribute)
        for split, found in pairs.items():
            both = (baseline.predictions, runs[place].predictions)
            found.append(Pair.of(*both, groups, split))
    material = Material(
        tuple(pairs["test"]),
        tuple(pairs["val"]),
        groups,
        setting.definition,
        (setting.attribute,),
    )
    return {
        "dataset": dataset,
        "model": model,
        "method": option.name,
        "recommended": not other,
        "definition": setting.definition,
        "attribute": setting.attribute,
        "overrides": [*more[1:], *fixed],
        "swept": swept,
        "values": list(grid),
        **judged(material),
        "chosen": chosen,
        "minutes": round((time.process_time() - start) / 60, 1),
    }


def groups_of(predictions: pd.DataFrame, attribute: str) -> GroupSpec:
    return GroupSpec({attribute: sorted(predictions[attribute].unique())})


def judged(material: Material) -> dict[str, Any]:
    """Test figures of a cell, with intervals of the ratio of gaps and of the accuracy lost.

    Figures are means over the seeds. The limits are those of `fairlightning verify`: they know of
    the draw of test rows, which seeds share, and of what trainings differ by.
    """
    rates = CRITERIA[material.criterion].rates
    change = gap_change(material, material.attributes, rates, min_support=1)
    assert change.contrast is not None
    gaps = change.contrast.value
    worst, best = change.contrast.improvement(LEVEL)
    estimates = overall_estimates(material.test, ["accuracy"], material.threshold)
    accuracy = Contrast.of(estimates, np.ones((1, 1)))
    low, high = accuracy.limits(1, LEVEL)
    drop = 100 * float(accuracy.value[0] - accuracy.value[1])
    ratio = float(gaps[1] / gaps[0])
    return {
        "gap_baseline": round(float(gaps[0]), 4),
        "gap": round(float(gaps[1]), 4),
        "gap_ratio": round(ratio, 3),
        # None: no limit within [0, 2]
        "gap_ratio_interval": [_ratio(best), _ratio(worst)],
        "accuracy_baseline": round(float(accuracy.value[0]), 4),
        "accuracy": round(float(accuracy.value[1]), 4),
        "points_lost": round(drop, 2),
        "points_lost_interval": [round(-100 * high, 2), round(-100 * low, 2)],
        "by_seed": [[round(b, 4), round(m, 4)] for b, m in change.by_seed],
        "verdict": verdict(float(gaps[0]), ratio, drop),
    }


def verdict(gap_baseline: float, ratio: float, drop: float) -> str:
    """Whether the gap was halved for at most two points, where it is worth halving."""
    if gap_baseline <= SMALL:
        return "not applicable"
    return "met" if ratio <= HALVED and drop <= POINTS else "missed"


def _ratio(improvement: float | None) -> float | None:
    return None if improvement is None else round(1 - improvement, 3)
