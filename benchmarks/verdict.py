"""Is the verdict right where the truth is known?

Thousands of audits on drawn predictions (see `drawn_audits.py`), at truths on which a verdict is
hardest: an improvement, a loss of accuracy and a harm exactly at the bound, several sizes, numbers
of groups, and amounts of variation from training to training; a method without effect; and one that
helps every single group but harms an intersection. Then five audits end to end, with trainings on
synthetic data. `false_met` is the largest share of audits of one truth in which a criterion was
said to be met that is not; `useless_passed` counts methods without effect that passed;
`caught_intersection` is the smallest share in which the harmed intersection was named;
`trained_wrong` counts the audits end to end whose gap was said to be met and is not.

    python benchmarks/verdict.py [--audits 500] [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from drawn_audits import Truth, draw, improved_by
from joblib import Parallel, delayed
from trained_audits import AUDITS, audited

from fairlightning.functional.intervals import Verdict
from fairlightning.groups import GroupSpec
from fairlightning.verification.criteria import (
    accuracy_criterion,
    gap_criterion,
    reproducibility_criterion,
    stability_criterion,
    worst,
)
from fairlightning.verification.group_rows import group_rows
from fairlightning.verification.material import Bounds, Material

BOUNDS = Bounds()
TWO = GroupSpec({"a": ["0", "1"]})
FIVE = GroupSpec({"a": list("01234")})
CROSSED = GroupSpec({"a": ["0", "1"], "b": ["0", "1", "2"]})
BOTH = np.ones((2, 1))
"""Rates that are the same under both labels."""


def ends(low: float, high: float) -> Truth:
    """Two groups under demographic parity, of which the first is a third."""
    rates = np.stack([BOTH * np.array([high, low])] * 2)
    return Truth("", TWO, np.array([0.35, 0.65]), np.array([0.3, 0.2]), rates)


def toward_mean(rates: np.ndarray) -> Callable[[float], np.ndarray]:
    middle = rates[0].mean(-1, keepdims=True)
    return lambda s: middle + s * (rates[0] - middle)


def boundary_gaps() -> Iterator[Truth]:
    """Improvement of exactly 10 %."""
    large = ends(0.1, 0.3)
    yield from (
        improved_by(truth, BOUNDS.improvement_with_note, toward_mean(truth.rates))
        for truth in (
            replace(large, name="two groups"),
            replace(large, name="3 seeds", seeds=3),
            replace(large, name="3 seeds, few rows", seeds=3, rows=1500),
            replace(large, name="one test split, trainings vary", seeds=3, fixed=True, wobble=0.05),
            replace(large, name="trainings vary", wobble=0.05),
            replace(large, name="trainings vary, 3 seeds", wobble=0.05, seeds=3),
            replace(large, name="vary together", wobble=0.05, together=0.8),
            replace(ends(0.02, 0.06), name="rare decisions, few rows", rows=3000),
            replace(ends(0.02, 0.06), name="rare decisions, few rows, 3 seeds", rows=2000, seeds=3),
            replace(
                ends(0.4, 0.7),
                name="equal opportunity, few positives",
                criterion="equal_opportunity",
                base=np.array([0.12, 0.08]),
                rows=5000,
            ),
        )
    )
    yield five_groups()
    yield replace(five_groups(wobble=0.03, seeds=3), name="five groups, trainings vary, 3 seeds")


def five_groups(**options: float) -> Truth:
    """A baseline whose widest pair is a matter of chance, and an intervention that has but one."""
    share = np.array([0.05, 0.06, 0.07, 0.4, 0.42])
    baseline = BOTH * np.array([0.3, 0.29, 0.3, 0.2, 0.2])
    truth = Truth("five groups", FIVE, share, np.full(5, 0.25), np.stack([baseline] * 2), **options)
    shape = np.array([0.0, 0.0, 0.0, 0.1, 0.0])
    return improved_by(truth, BOUNDS.improvement_with_note, lambda s: BOTH * (0.2 + s * shape))


def boundary_accuracy() -> Iterator[Truth]:
    """A loss of exactly five points."""
    truth = ends(0.1, 0.3)
    base = truth.share @ truth.base
    true_positive, false_positive = np.full(2, 0.7), np.full(2, 0.1)
    # What is lost among the positives is lost by their share in all rows.
    worse = true_positive - BOUNDS.accuracy_drop / base
    rates = np.stack([np.stack([false_positive, true_positive]), np.stack([false_positive, worse])])
    truth = replace(truth, rates=rates)
    yield replace(truth, name="accuracy")
    yield replace(truth, name="accuracy, few rows, 3 seeds", rows=1500, seeds=3)
    yield replace(truth, name="accuracy, trainings vary, 3 seeds", wobble=0.03, seeds=3)
    yield replace(truth, name="accuracy, one test split", fixed=True, seeds=3, rows=3000)


def crossed(harm: float, cell_share: float = 0.1, **options: float) -> Truth:
    """Attributes whose single gaps fall, while one intersection moves away from all rows."""
    share = np.array([0.2, 0.25, cell_share, 0.25, 0.2, 0.1])
    share = share / share.sum()
    baseline = np.array([0.35, 0.35, 0.25, 0.2, 0.2, 0.2])
    overall = share @ baseline
    # The harmed cell is the third; its row and column make up for it.
    intervention = np.full(6, overall)
    intervention[2] = overall - (abs(baseline[2] - overall) + harm)
    others = np.arange(6) != 2
    for _ in range(50):
        excess = share @ intervention - overall
        intervention[others] -= excess / share[others].sum()
    rates = np.stack([BOTH * baseline, BOTH * intervention])
    return Truth("", CROSSED, share, np.full(6, 0.25), rates, attributes=("a", "b"), **options)


def boundary_harm() -> Iterator[Truth]:
    """An intersection that comes to lie exactly 0.05 farther from all rows."""
    yield replace(crossed(BOUNDS.tolerated_harm), name="harm")
    yield replace(crossed(BOUNDS.tolerated_harm, 0.04, rows=4000, seeds=3), name="harm, few rows")
    yield replace(
        crossed(BOUNDS.tolerated_harm, wobble=0.02, seeds=3), name="harm, trainings vary, 3 seeds"
    )


def useless() -> Iterator[Truth]:
    """λ = 0: the intervention is another training of the baseline, or the same."""
    truth = ends(0.1, 0.3)
    yield replace(truth, name="no effect")
    yield replace(truth, name="no effect, few rows, 3 seeds", rows=1500, seeds=3)
    yield replace(truth, name="no effect, trainings vary", wobble=0.03)
    yield replace(truth, name="no effect, trainings vary, 3 seeds", wobble=0.03, seeds=3)
    yield replace(truth, name="no effect, trainings vary together", wobble=0.03, together=0.9)


def harmed() -> Iterator[Truth]:
    """Single gaps that fall; one intersection has a gap of 0.15 and 300 test rows in a seed."""
    for seeds in (1, 3, 5):
        truth = crossed(0.0, 0.1, seeds=seeds)
        middle = truth.share @ truth.rates[0, 0]
        start = abs(truth.rates[0, 0, 2] - middle)
        truth = crossed(0.15 - start, 0.1, seeds=seeds)
        yield replace(
            truth, rows=int(5 * 300 / truth.share[2]), name=f"intersection, {seeds} seeds"
        )


def judged(material: Material) -> dict[str, Verdict]:
    """All criteria; the models of drawn predictions are the same when trained again."""
    of = {
        "gap": gap_criterion(material, BOUNDS).verdict,
        "accuracy": accuracy_criterion(material, BOUNDS).verdict,
        "stability": stability_criterion(material, group_rows(material, BOUNDS), BOUNDS).verdict,
        "reproducibility": reproducibility_criterion(
            material, BOUNDS, identical=True, compared=("", "")
        ).verdict,
    }
    return of | {"all": worst(of.values())}


def gap(material: Material) -> str:
    return gap_criterion(material, BOUNDS).verdict


def accuracy(material: Material) -> str:
    return accuracy_criterion(material, BOUNDS).verdict


def stability(material: Material) -> str:
    return stability_criterion(material, group_rows(material, BOUNDS), BOUNDS).verdict


def everything(material: Material) -> str:
    # A verdict needs the gap to be met: where it is not, the rest need not be computed.
    return gap(material) if gap(material) != "met" else judged(material)["all"]


def named(material: Material) -> str:
    rows = group_rows(material, BOUNDS)
    return "named" if any(row.harmed and row.group == "a=0 & b=2" for row in rows) else "missed"


def count(
    truth: Truth, judge: Callable[[Material], str], audits: int, jobs: int
) -> dict[str, float]:
    """Share of each answer."""

    def part(number: int) -> list[str]:
        rng = np.random.default_rng((number, 1))
        return [judge(draw(truth, rng)) for _ in range(len(range(number, audits, 4 * jobs)))]

    parts = Parallel(jobs)(delayed(part)(number) for number in range(4 * jobs))
    answers = [answer for answer_list in parts for answer in answer_list]
    shares = {answer: answers.count(answer) / audits for answer in sorted(set(answers))}
    print(f"  {truth.name:45} {shares}", flush=True)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--audits", type=int, default=500, help="of each truth")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    most, few = options.audits, max(options.audits // 4, 1)
    wrong, passed, trained_wrong, counted = {}, 0, 0, 0
    for title, truths, judge, audits in (
        ("Improvement exactly at the bound", boundary_gaps, gap, most),
        ("Loss of accuracy exactly at the bound", boundary_accuracy, accuracy, most),
        ("Harm exactly at the bound", boundary_harm, stability, few),
    ):
        print(title)
        for truth in truths():
            wrong[truth.name] = count(truth, judge, audits, options.jobs).get("met", 0.0)
            counted += audits
    print("A method without effect: all criteria")
    for truth in useless():
        passed += round(most * count(truth, everything, most, options.jobs).get("met", 0.0))
        counted += most
    print("An intersection with a gap of 0.15, 300 rows")
    caught = [count(truth, named, few, options.jobs).get("named", 0.0) for truth in harmed()]
    counted += few * len(caught)
    hardest = max(wrong, key=lambda name: wrong[name])
    print("End to end: verdict, verdict on the gap, true improvement")
    with tempfile.TemporaryDirectory() as folder:
        for number, audit in enumerate(AUDITS):
            outcome = audited(audit, Path(folder) / str(number), number)
            print(f"  {audit.name:45} {outcome}", flush=True)
            passed += audit.useless and outcome.verdict == "met"
            least = BOUNDS.improvement_with_note
            trained_wrong += outcome.gap == "met" and outcome.improvement < least
    figures = {
        "false_met": round(wrong[hardest], 4),
        "hardest": hardest,
        "useless_passed": passed,
        "caught_intersection": round(min(caught), 4),
        "trained_wrong": trained_wrong,
        "audits": counted,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
