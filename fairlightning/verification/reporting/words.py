"""Figures in sentences for people who do not know the metrics by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairlightning.functional.intervals import Verdict
from fairlightning.metrics import readable
from fairlightning.report.document import Status
from fairlightning.verification.criteria import worst
from fairlightning.verification.results import (
    ComparisonRow,
    GroupRow,
    SuccessCriterion,
    Verification,
)

PLAIN, FAIR = "the baseline", "the model trained for fairness"
"""What baseline and intervention are called in sentences."""

VERDICTS: dict[Verdict, Status] = {
    "met": Status("met", "good"),
    "not met": Status("not met", "bad"),
    "not enough evidence": Status("not enough evidence", "open"),
}

_COUNTS = "{model} %s {high} of {high_group} and {low} of {low_group}"
_HUNDRED = {
    "selection_rate": ("people in each group", _COUNTS % "selects"),
    "true_positive_rate": ("people in each group who truly are positive", _COUNTS % "finds"),
    "false_positive_rate": (
        "people in each group who truly are negative",
        _COUNTS % "wrongly selects",
    ),
    "accuracy": ("people in each group", _COUNTS % "decides rightly on"),
    "positive_predictive_value": (
        "people in each group whom a model selects",
        "under {model} {high} of {high_group} and {low} of {low_group} truly are positive",
    ),
}
"""Whom a rate counts, and how many a model has of them."""


SUBJECTS = {
    "gap": "whether the gap falls by as much as is asked for",
    "accuracy": "whether the loss of accuracy keeps to its bound",
    "stability": "whether groups are harmed",
    "reproducibility": "whether a further training would do the same",
}
"""What each success criterion is about."""


MEASURES = {
    "f1": "the balance of people found and people wrongly selected",
    "auroc": "how well scores tell positive from negative people",
    "calibration_error": "how far scores are from the shares that turn out positive",
    "demographic_parity_difference": "the gap between groups of {attribute} in who is selected",
    "equal_opportunity_difference": "the gap between groups of {attribute} in how many of the "
    "truly positive people are found",
    "predictive_parity_difference": "the gap between groups of {attribute} in how many of the "
    "selected people truly are positive",
    "accuracy_parity_difference": "the gap between groups of {attribute} in right decisions",
}
"""Measures of which the summary speaks, in words."""


class Ends(NamedTuple):
    """How far groups lie apart.

    Attributes:
        low: The group whose mean rate over the trainings is lowest.
        low_rate: That mean.
        high: The group whose mean rate is highest.
        high_rate: That mean.
        gap: Distance between the lowest and the highest rate of each training, on average. Where
            trainings differ in who is ahead, the means lie closer together than that.
    """

    low: str
    low_rate: float
    high: str
    high_rate: float
    gap: float


def status_of(criterion: SuccessCriterion) -> Status:
    """The verdict of a criterion; what is met with a reservation says so."""
    if criterion.verdict == "met" and criterion.note:
        return Status("met, with a note", "note")
    return VERDICTS[criterion.verdict]


def rate_verdicts(found: Verification) -> dict[tuple[str, str], Verdict | None]:
    """Whether each group is unharmed under each rate, by the names of both.

    Returns:
        None for those with too few rows.
    """
    findings = [f for c in found.criteria if c.name == "stability" for f in c.findings]
    pairs = zip(found.groups, findings, strict=True)
    return {(row.group, row.rate): finding.verdict for row, finding in pairs}


def group_verdicts(found: Verification) -> dict[str, Verdict]:
    """Whether each group is unharmed under all rates, by its name.

    A group with too few rows of one rate only cannot be called unharmed; one with too few of every
    rate is left out.
    """
    by_group: dict[str, list[Verdict | None]] = {}
    for (group, _), verdict in rate_verdicts(found).items():
        by_group.setdefault(group, []).append(verdict)
    return {
        group: worst(verdict or "not enough evidence" for verdict in verdicts)
        for group, verdicts in by_group.items()
        if any(verdicts)
    }


def overall_status(found: Verification) -> Status:
    """The verdict of the whole."""
    if found.verdict == "met" and any(criterion.note for criterion in found.criteria):
        return Status("met, with a note", "note")
    return VERDICTS[found.verdict]


def headline(found: Verification) -> str:
    """The verdict in a sentence."""
    if found.summary:
        return found.summary[0]
    met = sum(criterion.verdict == "met" for criterion in found.criteria)
    return f"{met} of {len(found.criteria)} success criteria are met."


def short(group: str) -> str:
    """Name of a group without that of its attributes.

    >>> short("sex=Female & race=Black"), short("all rows")
    ('Female & Black', 'all rows')
    """
    return " & ".join(part.partition("=")[2] or part for part in group.split(" & "))


def ends(rows: Sequence[GroupRow], role: str) -> Ends | None:
    """The groups of one attribute that lie farthest apart, small ones aside.

    Args:
        rows: Groups of one attribute.
        role: `"baseline"` or `"intervention"`.

    Returns:
        None where fewer than two groups have a rate over enough rows.
    """
    spreads = {row.group: getattr(row, role) for row in rows if not row.small}
    if len(spreads) < 2:
        return None
    means = {group: spread.mean for group, spread in spreads.items()}
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    trainings = list(zip(*(spread.values for spread in spreads.values()), strict=True))
    gap = sum(max(rates) - min(rates) for rates in trainings) / len(trainings)
    return Ends(short(low), means[low], short(high), means[high], gap)


def gap_sentence(found: Verification, attribute: str, rate: str) -> str | None:
    """How far apart groups are under both models, as counts of 100 people.

    Returns:
        None where that is not estimable.
    """
    rows = [row for row in found.groups if row.attribute == attribute and row.rate == rate]
    before, after = ends(rows, "baseline"), ends(rows, "intervention")
    if before is None or after is None:
        return None
    whom, clause = _HUNDRED.get(
        rate,
        (
            "",
            "by " + readable(rate) + ", {model} counts {high} of {high_group} and "
            "{low} of {low_group}",
        ),
    )
    first, second = (
        clause.format(
            model=model,
            high=_hundred(of.high_rate),
            high_group=of.high,
            low=_hundred(of.low_rate),
            low_group=of.low,
        )
        for model, of in ((PLAIN, before), (FAIR, after))
    )
    return (
        f"{attribute.capitalize()}: of 100 {whom or 'people in each group'}, {first}, "
        f"{_apart(before)}; {second}, {_apart(after)}."
    )


def _hundred(rate: float) -> str:
    return f"{100 * rate:.0f}"


def _apart(of: Ends) -> str:
    # 17.6 and 11.2 are 18 and 11, yet 6 apart: one digit says why.
    gap, means = (f"{100 * gap:.1f}" for gap in (of.gap, of.high_rate - of.low_rate))
    differing = "" if gap == means else " on average (trainings differ in who is ahead)"
    return f"{gap} apart{differing}"


def worse_sentence(row: ComparisonRow) -> str:
    """Say that one of `MEASURES` got worse.

    Args:
        row: A measure whose means over the seeds are known.
    """
    before, after = (spread.mean or 0.0 for spread in (row.baseline, row.intervention))
    what = MEASURES[row.metric].format(attribute=row.attribute)
    if row.attribute is None:
        change = f"{before:.3f} to {after:.3f}"
    else:
        change = f"{100 * before:.1f} to {100 * after:.1f} in 100"
    return f"Worse: {what} ({readable(row.metric)}) went from {change}."
