"""Success criteria: the gap fell, accuracy held, no group is harmed, and it happens again.

Each is met, not met, or there is not enough evidence; the mathematics is in `docs/verification.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.criteria import CRITERIA
from fairlightning.functional.intervals import VERDICTS, Verdict
from fairlightning.groups import GroupSpec
from fairlightning.metrics.verdicts import DECIDABLE
from fairlightning.verification.limits import Contrast, gap_family
from fairlightning.verification.paired import (
    BASELINE,
    INTERVENTION,
    Ints,
    Pair,
    group_estimates,
    overall_estimates,
)
from fairlightning.verification.results import Estimate, Finding, GroupRow, SuccessCriterion

TESTABLE = tuple(name for name in DECIDABLE if CRITERIA[name].combine == "worst")
"""Fairness criteria whose gap is the largest of some differences of rates."""


@dataclass(frozen=True)
class Bounds:
    """What a method has to keep to.

    Attributes:
        improvement: Share by which the gap has to fall for a pass.
        improvement_with_note: Share from which on it passes with a note.
        accuracy_drop: Largest loss of accuracy, in [0, 1].
        tolerated_harm: Largest growth of a group's distance from all rows that counts as none.
        visible_harm: Growth beyond which a group is harmed, once chance is ruled out.
        min_support: Different rows from which on a group takes part in verdicts.
        level: One-sided confidence of "met" and "not met".
        no_effect: Confidence at which "the gap did not fall at all" has to be ruled out.
        reproducible: Probability with which a further training has to lower the gap too.

    Raises:
        ArgumentError: If a number lies outside of its range.
    """

    improvement: float = 0.15
    improvement_with_note: float = 0.10
    accuracy_drop: float = 0.05
    tolerated_harm: float = 0.05
    visible_harm: float = 0.02
    min_support: int = 100
    level: float = 0.97
    no_effect: float = 0.995
    reproducible: float = 0.9

    def __post_init__(self) -> None:
        shares = {n: v for n, v in vars(self).items() if n != "min_support"}
        wrong = [f"{name}={value}" for name, value in shares.items() if not 0 <= value < 1]
        if self.improvement_with_note > self.improvement or self.level <= 0.5:
            wrong.append(f"improvement_with_note={self.improvement_with_note}, level={self.level}")
        if self.min_support < 1:
            wrong.append(f"min_support={self.min_support}")
        if wrong:
            raise ArgumentError.of(
                "success",
                found=", ".join(wrong),
                expected="shares in [0, 1), a note no later than the pass, a level above 0.5, and "
                "support of 1 or more",
                mend="see conf/verify.yaml for the defaults",
            )


@dataclass(frozen=True)
class Material:
    """What the criteria are judged on.

    Attributes:
        test: Predictions of test, by seed.
        validation: Predictions of validation, by seed; other rows, on which witnesses are chosen.
        groups: Sensitive attributes.
        criterion: One of `TESTABLE`.
        attributes: Attributes whose gaps are to fall.
        threshold: Score from which a row is selected.
        sources: Files of the predictions.

    Raises:
        ArgumentError: If the criterion cannot be tested or an attribute does not exist.
    """

    test: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    groups: GroupSpec
    criterion: str
    attributes: tuple[str, ...]
    threshold: float = 0.5
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, TESTABLE)
        for name in self.attributes:
            check_choice("attributes", name, self.groups.names)

    @property
    def rates(self) -> tuple[str, ...]:
        """Rates that the criterion wants equal."""
        return CRITERIA[self.criterion].rates


def worst(verdicts: Iterable[Verdict | None]) -> Verdict:
    """The verdict on all: not met if one is not, met if all are.

    >>> worst(["met", "not enough evidence", None]), worst([])
    ('not enough evidence', 'not enough evidence')
    """
    found = [verdict for verdict in verdicts if verdict is not None]
    if not found:
        return "not enough evidence"
    order: tuple[Verdict, ...] = ("not met", "not enough evidence", "met")
    assert set(order) == set(VERDICTS)
    return next(verdict for verdict in order if verdict in found)


@dataclass(frozen=True)
class GapChange:
    """Gap of one partition in both models.

    Attributes:
        contrast: The comparison of the two gaps; None with fewer than two groups that take part.
        by_seed: `(R, 2)` gaps of baseline and intervention.
        support: Different rows of the smallest group that takes part.
        left_out: Groups with too few rows, by name, with their number.
    """

    contrast: Contrast | None
    by_seed: tuple[tuple[float, float], ...]
    support: int
    left_out: dict[str, int]


def gap_change(
    material: Material, partition: Sequence[str], rates: Sequence[str], min_support: int
) -> GapChange:
    """Compare the gap of a partition in the rates of a criterion."""
    groups, threshold = material.groups, material.threshold
    test = group_estimates(material.test, groups, partition, rates, threshold)
    other = group_estimates(
        material.validation, groups, partition, rates, threshold, covariance=False
    )
    size = groups.num_groups(partition)
    shape = (len(rates), size + 1)
    distinct = test.distinct.reshape(shape)[:, :size].min(0)
    # A group has to be in every seed: an absent one would narrow that seed's gap.
    everywhere = test.supports.reshape(-1, *shape)[..., :size].min((0, 1)) > 0
    kept: Ints = np.flatnonzero((distinct >= min_support) & everywhere)
    names = groups.group_names(partition)
    left = {names[g]: int(distinct[g]) for g in range(size) if g not in kept}
    if len(kept) < 2:
        return GapChange(None, (), 0, left)
    family = gap_family(len(rates), size, kept)
    by_seed = (test.values @ family.T).max(-1)
    pairs = tuple((float(b), float(m)) for b, m in by_seed)
    return GapChange(Contrast.of(test, family, other), pairs, int(distinct[kept].min()), left)


def gap_criterion(material: Material, bounds: Bounds) -> SuccessCriterion:
    """Judge "the gap of every attribute fell by the share that is asked for"."""
    changes = {
        name: gap_change(material, (name,), material.rates, bounds.min_support)
        for name in material.attributes
    }
    findings = tuple(_gap_finding(name, change, bounds) for name, change in changes.items())
    verdict = worst(finding.verdict for finding in findings)
    noted = [f.about for f in findings if f.note.startswith("pass with note")]
    note = f"pass with note: {', '.join(noted)}" if verdict == "met" and noted else ""
    title = (
        f"{material.criterion.replace('_', '-')} difference improved by at least "
        f"{100 * bounds.improvement_with_note:g} % (pass with note) or "
        f"{100 * bounds.improvement:g} % (pass)"
    )
    return SuccessCriterion(
        "gap",
        title,
        verdict,
        note,
        bounds.improvement_with_note,
        "relative improvement of the gap",
        findings,
        bounds.level,
        material.sources,
    )


def _gap_finding(attribute: str, change: GapChange, bounds: Bounds) -> Finding:
    left = ", ".join(f"{name} ({rows})" for name, rows in change.left_out.items())
    note = f"Says nothing of groups with too few rows: {left}" if left else ""
    if change.contrast is None:
        return Finding(attribute, "not enough evidence", None, None, Estimate(None), 0, note)
    contrast = change.contrast
    verdict: Verdict = "not enough evidence"
    enough = contrast.limits(1 - bounds.improvement_with_note, bounds.level)
    if enough[1] <= 0 and contrast.high(1, bounds.no_effect) < 0:
        verdict = "met"
        if contrast.high(1 - bounds.improvement, bounds.level) > 0:
            passed = f"pass with note: less than {100 * bounds.improvement:g} % is not ruled out"
            note = f"{passed}. {note}".strip()
    elif enough[0] > 0:
        verdict = "not met"
    baseline, intervention = contrast.value.tolist()
    value = 1 - intervention / baseline if baseline > 0 else None
    interval = within(value, *contrast.improvement(bounds.level))
    return Finding(attribute, verdict, baseline, intervention, interval, change.support, note)


def accuracy_criterion(material: Material, bounds: Bounds) -> SuccessCriterion:
    """Judge "accuracy fell by no more than is allowed"."""
    estimates = overall_estimates(material.test, ["accuracy"], material.threshold)
    contrast = Contrast.of(estimates, np.ones((1, 1)))
    low, high = contrast.limits(1, bounds.level)
    baseline, intervention = contrast.value.tolist()
    verdict: Verdict = "not enough evidence"
    if -low <= bounds.accuracy_drop:
        verdict = "met"
    elif -high > bounds.accuracy_drop:
        verdict = "not met"
    drop = baseline - intervention
    finding = Finding(
        "all rows",
        verdict,
        baseline,
        intervention,
        Estimate(drop, -high, -low),
        int(estimates.distinct[0]),
        f"{100 * drop / baseline:.1f} % of the baseline's accuracy" if baseline else "",
    )
    return SuccessCriterion(
        "accuracy",
        f"accuracy falls by at most {100 * bounds.accuracy_drop:g} percentage points",
        verdict,
        "",
        bounds.accuracy_drop,
        "loss of accuracy",
        (finding,),
        bounds.level,
        material.sources,
    )


def stability_criterion(
    material: Material, rows: Sequence[GroupRow], bounds: Bounds
) -> SuccessCriterion:
    """Judge "no group and no intersection is harmed" from the table of all of them."""
    findings = tuple(_group_finding(row, bounds) for row in rows)
    verdict = worst(finding.verdict for finding in findings)
    harmed = dict.fromkeys(row.group for row in rows if row.harmed)
    small = dict.fromkeys(f"{row.group} ({row.support})" for row in rows if row.small)
    notes = [f"harmed: {', '.join(harmed)}"] if harmed else []
    notes += [f"too few rows for a part in the verdict: {', '.join(small)}"] if small else []
    return SuccessCriterion(
        "stability",
        f"no group or intersection comes to lie more than {bounds.tolerated_harm:g} farther from "
        "all rows, none visibly loses",
        verdict,
        "; ".join(notes),
        bounds.tolerated_harm,
        "growth of the distance from all rows",
        findings,
        bounds.level,
        material.sources,
    )


def _group_finding(row: GroupRow, bounds: Bounds) -> Finding:
    verdict: Verdict | None = None
    if not row.small:
        high = row.harm.high
        verdict = "met" if high is not None and high <= bounds.tolerated_harm else None
        verdict = "not met" if row.harmed else verdict or "not enough evidence"
    note = f"{row.rate.replace('_', ' ')}"
    if row.small and row.support:
        note += "; too few rows for a part in the verdict"
    return Finding(
        row.group,
        verdict,
        row.distance_baseline,
        row.distance_intervention,
        row.harm,
        row.support,
        note,
    )


def reproducibility_criterion(
    material: Material, bounds: Bounds, *, identical: bool, compared: tuple[str, str]
) -> SuccessCriterion:
    """Judge "the same seed gives the same model, and another seed improves the gap too".

    Args:
        material: What is judged.
        bounds: What has to be kept to.
        identical: Whether training the same seed twice gave the same predictions.
        compared: Their two files.
    """
    twice = Finding(
        "same seed trained twice",
        "met" if identical else "not met",
        None,
        None,
        Estimate(None),
        len(material.test[0].row) + len(material.validation[0].row),
        "the same predictions, bit by bit" if identical else "the predictions differ",
    )
    findings = [twice]
    for name in material.attributes:
        change = gap_change(material, (name,), material.rates, bounds.min_support)
        findings.append(_next_training(name, change, bounds.reproducible))
    return SuccessCriterion(
        "reproducibility",
        "the same seed gives the same predictions, and a further training lowers the gap with a "
        f"probability of {bounds.reproducible:g}",
        worst(finding.verdict for finding in findings),
        "",
        0.0,
        "fall of the gap in a further training",
        tuple(findings),
        bounds.reproducible,
        (*material.sources, *compared),
    )


def _next_training(attribute: str, change: GapChange, probability: float) -> Finding:
    """Prediction interval for the fall of the gap in one more training."""
    verdict: Verdict = "not enough evidence"
    if len(change.by_seed) < 2:
        note = "fewer than two trainings, or fewer than two groups"
        return Finding(attribute, verdict, None, None, Estimate(None), change.support, note)
    gaps = np.array(change.by_seed)
    falls = gaps[:, BASELINE] - gaps[:, INTERVENTION]
    number = len(falls)
    reach = student.ppf(probability, number - 1) * falls.std(ddof=1) * np.sqrt(1 + 1 / number)
    low, high = float(falls.mean() - reach), float(falls.mean() + reach)
    if low > 0:
        verdict = "met"
    elif high < 0:
        verdict = "not met"
    fell = int((falls > 0).sum())
    return Finding(
        attribute,
        verdict,
        float(gaps[:, BASELINE].mean()),
        float(gaps[:, INTERVENTION].mean()),
        Estimate(float(falls.mean()), low, high),
        change.support,
        f"fell in {fell} of {number} trainings",
    )


def within(value: float | None, low: float | None, high: float | None) -> Estimate:
    """An estimate whose interval holds its value: plug-in figures of gaps are biased upwards."""
    if value is None:
        return Estimate(None, low, high)
    return Estimate(
        value, None if low is None else min(low, value), None if high is None else max(high, value)
    )
