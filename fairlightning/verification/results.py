"""What a verification found: the data structures of `verification.json`.

All figures are of the stage `test` unless they say otherwise, all shares and rates in [0, 1]. Paths
(`source`, `sources`) are relative to the folder of the file. None stands for what is not estimable;
lists by seed are in the order of `seeds`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlightning.functional.intervals import Verdict
from fairlightning.verification.result_parts import (
    Checklist,
    ChecklistItem,
    Curve,
    CurvePoint,
    LambdaSensitivity,
    Reading,
    Reproducibility,
    SensitivityPoint,
)

__all__ = [
    "VERSION",
    "Checklist",
    "ChecklistItem",
    "ComparisonRow",
    "Curve",
    "CurvePoint",
    "Estimate",
    "Finding",
    "GroupRow",
    "LambdaSensitivity",
    "Reading",
    "Reproducibility",
    "Run",
    "SensitivityPoint",
    "Spread",
    "SuccessCriterion",
    "Verification",
]

VERSION = 1
"""Version of `verification.json`; raised when it changes its form."""


@dataclass(frozen=True)
class Run:
    """One training of the plan.

    Attributes:
        seed: Seed of splits, initial weights and order of batches.
        role: `"baseline"`, `"intervention"`, or `"repeat"` of the intervention of the same seed.
        folder: Its folder, as `fairlightning train` writes it.
    """

    seed: int
    role: str
    folder: str


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: The figure; None where it is not estimable.
        low: Lower limit; None where no interval is known.
        high: Upper limit; None where no interval is known.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Finding:
    """What a criterion found about one attribute, group or run.

    Attributes:
        about: Name of the attribute, group or run, such as `"sex"` or `"sex=Female & race=Black"`.
        verdict: Its own verdict; None where it takes no part in the verdict of the criterion, such
            as a group with too few rows.
        baseline: The figure of the baseline, mean over seeds.
        intervention: The figure of the intervention, mean over seeds.
        estimate: What is held against the bound.
        support: Number of different rows that it rests on, over all seeds.
        note: What has to be said about it, or nothing.
    """

    about: str
    verdict: Verdict | None
    baseline: float | None
    intervention: float | None
    estimate: Estimate
    support: int
    note: str = ""


@dataclass(frozen=True)
class SuccessCriterion:
    """One success criterion with its verdict.

    Attributes:
        name: `"gap"`, `"accuracy"`, `"stability"` or `"reproducibility"`.
        title: What is asked for, in words.
        verdict: The worst one of the findings that take part.
        note: Reservations that a reader must see, such as "pass with note"; or nothing.
        bound: The bound of `estimate`; None where there is none.
        figure: What `estimate` is, in words, such as "relative improvement of the gap".
        findings: One for each attribute, group or run, also those without a part in the verdict.
        level: One-sided confidence of "met" and of "not met".
        sources: Files that the figures come from.
    """

    name: str
    title: str
    verdict: Verdict
    note: str
    bound: float | None
    figure: str
    findings: tuple[Finding, ...]
    level: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds.

    Attributes:
        mean: Mean over the seeds; None where it is not estimable in one of them.
        deviation: Standard deviation from seed to seed; None with fewer than two seeds.
        values: The figure of each seed.
    """

    mean: float | None
    deviation: float | None
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of baseline and intervention.

    Attributes:
        metric: Name of the metric as in `metrics.json`, such as `"accuracy"`.
        attribute: Partition of a gap, such as `"sex"` or `"sex & race"`; None overall.
        group: Group of the partition; None for a figure over all of it.
        baseline: Its values, from `runs/seed=*/baseline/metrics.json`.
        intervention: Its values, from `runs/seed=*/intervention/metrics.json`.
        change: Intervention minus baseline, mean over seeds, with its paired interval; without
            limits where no paired interval is known for the metric.
        relative: The change as a share of the baseline's mean; None where that is 0.
        better: Whether the whole interval of the change is on the better side; None where it holds
            0, or neither side is the better one.
        support: Smallest support of the figure in one run.
    """

    metric: str
    attribute: str | None
    group: str | None
    baseline: Spread
    intervention: Spread
    change: Estimate
    relative: float | None
    better: bool | None
    support: int


@dataclass(frozen=True)
class GroupRow:
    """One group or intersection under the rate of the criterion; every one is listed.

    Attributes:
        attribute: Partition, such as `"sex & race"`.
        group: Its name, such as `"sex=Female & race=Black"`.
        rate: Name of the rate, such as `"selection_rate"`.
        baseline: Rate of the group.
        intervention: Rate of the group.
        change: Intervention minus baseline, with paired interval.
        distance_baseline: Distance of the rate from that of all rows, mean over seeds.
        distance_intervention: The same of the intervention.
        harm: How much farther from all rows the group came to lie (negative: nearer), with
            interval.
        accuracy_change: Change of the accuracy in the group, with paired interval.
        supports: Rows of the rate in the test split of each seed.
        support: Different rows over all seeds.
        small: Whether the support is too small for a part in the verdict.
        harmed: Whether it is visibly harmed: the lower limit of `harm`, or of the loss of
            accuracy, lies above what is tolerated.
        sources: Files that the figures come from.
    """

    attribute: str
    group: str
    rate: str
    baseline: Spread
    intervention: Spread
    change: Estimate
    distance_baseline: float | None
    distance_intervention: float | None
    harm: Estimate
    accuracy_change: Estimate
    supports: tuple[int, ...]
    support: int
    small: bool
    harmed: bool
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """Everything that `fairlightning verify` found.

    Attributes:
        title: Data set, model and method.
        dataset: Name of the data set.
        model: Class of the model.
        method: Names of the objectives, joined by `+`.
        criterion: Fairness criterion, such as `"demographic_parity"`.
        attributes: Sensitive attributes whose gaps are to fall.
        threshold: Score from which a row is selected.
        seeds: Seeds of the runs.
        verdict: `"met"` where all success criteria are, `"not met"` where one is not, else
            `"not enough evidence"`.
        summary: The verdict for those who decide, one sentence each.
        runs: All trainings.
        criteria: Success criteria.
        comparison: All metrics of all rows and partitions; those of single groups are in `groups`.
        groups: Every group and intersection.
        sensitivity: λ around the chosen one.
        drift: Curves of shifted, noisy and corrupted data.
        thresholds: Curve over the decision threshold.
        reproducibility: All that it takes to get the same numbers again.
        checklist: The eleven items.
    """

    title: str
    dataset: str
    model: str
    method: str
    criterion: str
    attributes: tuple[str, ...]
    threshold: float
    seeds: tuple[int, ...]
    verdict: Verdict
    summary: tuple[str, ...]
    runs: tuple[Run, ...]
    criteria: tuple[SuccessCriterion, ...]
    comparison: tuple[ComparisonRow, ...]
    groups: tuple[GroupRow, ...]
    sensitivity: LambdaSensitivity
    drift: tuple[Curve, ...]
    thresholds: Curve
    reproducibility: Reproducibility
    checklist: Checklist
