"""Success criteria: the gap fell, accuracy held, no group is harmed, and it happens again.

Each is met, not met, or there is not enough evidence; the mathematics is in `docs/verification.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import stdtrit

from fairlightning.functional.intervals import VERDICTS, Verdict
from fairlightning.verification.gap_change import GapChange, gap_change
from fairlightning.verification.limits import Contrast
from fairlightning.verification.material import Bounds, Material
from fairlightning.verification.paired import BASELINE, INTERVENTION, overall_estimates
from fairlightning.verification.results import Estimate, Finding, GroupRow, SuccessCriterion

APART = 0.9995
"""Confidence at which two trainings of one and the same method have to be ruled out."""


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
    if enough[1] <= 0 and contrast.high(1, bounds.no_effect) < 0 and _apart(change):
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


def _apart(change: GapChange) -> bool:
    """Whether gaps of the two models lie farther apart than those of one model among themselves.

    Two trainings of a method without effect can differ as two of the baseline do; the spread of
    both, pooled, has twice the degrees of freedom of that of their differences.
    """
    gaps = np.array(change.by_seed)
    number = len(gaps)
    if number < 2:
        return True  # which a single training cannot tell; another criterion asks for more
    error = np.sqrt(gaps.var(0, ddof=1).sum() / number)
    fall = float(gaps[:, BASELINE].mean() - gaps[:, INTERVENTION].mean())
    return bool(fall > stdtrit(2 * (number - 1), APART) * error)


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
    reach = stdtrit(number - 1, probability) * falls.std(ddof=1) * np.sqrt(1 + 1 / number)
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
