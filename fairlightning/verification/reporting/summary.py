"""The first sections: findings, costs and what is not known; the success criteria."""

from __future__ import annotations

from collections.abc import Iterator

from fairlightning.functional.criteria import CRITERIA
from fairlightning.metrics import readable, signed
from fairlightning.report.document import (
    Block,
    Bullets,
    Cell,
    Number,
    Section,
    Source,
    Status,
    Table,
    Text,
    interval_text,
    number_text,
)
from fairlightning.verification.reporting import words
from fairlightning.verification.reporting.inputs import VERIFICATION, ReportInputs
from fairlightning.verification.results import (
    ComparisonRow,
    Estimate,
    Finding,
    GroupRow,
    SuccessCriterion,
    Verification,
)


def summary(inputs: ReportInputs) -> Section:
    """The executive summary."""
    found = inputs.found
    blocks: list[Block] = []
    for title, items in (
        ("What was found", _findings(found)),
        ("What it costs", _costs(found)),
        ("What is not known", _unknown(inputs)),
    ):
        blocks += [Text(title, "heading"), Bullets(tuple(items))]
    blocks.append(
        Text("Rates, rows and verdicts of this section:", sources=(Source(VERIFICATION),))
    )
    return Section("summary", "Summary", tuple(blocks))


def _findings(found: Verification) -> Iterator[str]:
    rates = CRITERIA[found.criterion].rates if found.criterion in CRITERIA else ()
    for attribute in found.attributes:
        said = [words.gap_sentence(found, attribute, rate) for rate in rates]
        sentences = [sentence for sentence in said if sentence]
        yield from sentences or [f"{attribute.capitalize()}: the gap cannot be estimated."]
    for group, verdict in words.group_verdicts(found).items():
        if verdict == "not met":
            harmed = [row for row in found.groups if row.group == group and row.harmed]
            yield _harmed(max(harmed, key=lambda row: row.harm.value or 0.0))
    yield _harm_sentence(found)


def _harmed(row: GroupRow) -> str:
    """What the harm of a group is: a distance from all rows, decisions that are wrong, or both."""
    farther = (row.harm.low or 0.0) > 0
    lost = row.accuracy_change
    harms = []
    if farther:
        harms.append(
            f"which came to lie visibly farther from all rows in its {readable(row.rate)} (by "
            f"{number_text(Number(row.harm.value))})"
        )
    if not farther or (lost.high or 0.0) < 0:
        fewer = -100 * (lost.value or 0.0)
        harms.append(f"on which {words.FAIR} decides rightly {fewer:.1f} times in 100 less")
    return f"Harmed: {words.short(row.group)}, {' and '.join(harms)} ({row.support:,} rows)."


def _harm_sentence(found: Verification) -> str:
    """Of how many groups it is known that they are not harmed, and of how many it is not."""
    seen = list(words.group_verdicts(found).values())
    known, open_ = seen.count("met"), seen.count("not enough evidence")
    text = f"{known} of {len(seen)} groups and intersections with enough rows are not harmed"
    return f"{text}; of {open_} it cannot be said." if open_ else f"{text}."


def _costs(found: Verification) -> Iterator[str]:
    accuracy = _row(found, "accuracy", None)
    if accuracy is None or accuracy.change.value is None:
        yield "The cost in accuracy cannot be estimated."
    else:
        before, after = accuracy.baseline.mean, accuracy.intervention.mean
        way = "fewer" if accuracy.change.value < 0 else "more"
        yield (
            f"Of 100 decisions, {words.PLAIN} gets {100 * (before or 0):.1f} right and "
            f"{words.FAIR} {100 * (after or 0):.1f}: {abs(100 * accuracy.change.value):.1f} {way}"
            f"{_between(accuracy.change)}."
        )
    worse = [row for row in found.comparison if row.better is False and row.metric != "accuracy"]
    said = [row for row in worse if row.attribute in (None, *found.attributes)]
    said = [row for row in said if row.metric in words.MEASURES]
    yield from map(words.worse_sentence, said)
    rest = len(worse) - len(said)
    if rest:
        yield f"Worse too: {rest} of the less common measures, named in the appendix."
    if not worse:
        yield "No other measure got visibly worse."


def _between(change: Estimate) -> str:
    if change.low is None or change.high is None:
        return ""
    low, high = (signed(100 * end, 1) for end in (change.low, change.high))
    return f" (in new data between {low} and {high})"


_FEW = 4
"""Most findings of one criterion that the main text spells out."""


def _unknown(inputs: ReportInputs) -> Iterator[str]:
    found = inputs.found
    for criterion in found.criteria:
        findings = [f for f in criterion.findings if f.verdict == "not enough evidence"]
        open_ = dict.fromkeys(words.short(finding.about) for finding in findings)
        if open_:
            listed = ", ".join(open_)
            of = listed if len(open_) <= _FEW else f"{len(open_)} groups"
            subject = words.SUBJECTS.get(criterion.name, criterion.title)
            yield f"Not enough evidence: {subject} ({of})."
    small = [row for row in found.groups if row.small]
    if small:
        names = ", ".join(dict.fromkeys(words.short(row.group) for row in small))
        yield f"Too few rows to be judged ({inputs.few}): {names}."
    if len(found.seeds) == 1:
        yield "There is one training of each model; how much another would differ is not known."
    for curve in (*found.drift, found.thresholds):
        if curve.omitted:
            yield f"Not examined: {curve.title.rstrip('.')} ({curve.omitted.rstrip('.')})."
    if found.sensitivity.omitted:
        yield f"Not examined: other strengths of the method ({found.sensitivity.omitted})."
    if inputs.audit is None:
        yield "Where the differences come from: no audit of the data was made."
    yield (
        "All figures are of past data like those that the model was trained on; other data were "
        "imitated at most."
    )


def criteria(inputs: ReportInputs) -> Section:
    """The success criteria with their verdicts."""
    found = inputs.found
    table = Table.of(
        "verdicts",
        "Success criteria and their verdicts",
        {"criterion": "Criterion", "verdict": "Verdict", "found": "Found"},
        [(_capital(c.title), words.status_of(c), _found(c)) for c in found.criteria],
        _criteria_sources(found),
        "In brackets: the interval. Met and not met are said only where all of it lies on one side "
        "of the bound.",
    )
    return Section("criteria", "Success criteria", (table,))


def all_findings(inputs: ReportInputs) -> Section:
    """Every finding of every criterion, for an appendix."""
    found = inputs.found
    table = Table.of(
        "findings",
        "What the criteria rest on",
        {
            "criterion": "Criterion",
            "about": "Of",
            "verdict": "Verdict",
            "baseline": "Baseline",
            "intervention": "Intervention",
            "estimate": "Held against the bound",
            "bound": "Bound",
            "rows": "Rows",
            "note": "Note",
        },
        [_finding(c, finding) for c in found.criteria for finding in c.findings],
        _criteria_sources(found),
        "Held against the bound: " + "; ".join(f"{c.name}, the {c.figure}" for c in found.criteria),
    )
    sentences = Bullets(found.summary, (Source(VERIFICATION, "summary"),))
    title = "Findings of every criterion"
    return Section("findings-all", title, (sentences, table), appendix=True)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _found(criterion: SuccessCriterion) -> str:
    """The findings in words; of many, those that are not met, and how many there are."""
    judged = [finding for finding in criterion.findings if finding.verdict is not None]
    bad = [finding for finding in judged if finding.verdict == "not met"]
    shown = judged if len(judged) <= _FEW else bad[:_FEW]
    parts = [_finding_words(finding) for finding in shown]
    if len(shown) < len(judged):
        met = sum(finding.verdict == "met" for finding in judged)
        parts.append(f"met for {met} of {len(judged)} judged, see the appendix")
    text = f"{criterion.figure}: " + "; ".join(parts or ["nothing to judge"])
    return f"{text}. {_capital(criterion.note.rstrip('.'))}." if criterion.note else f"{text}."


def _finding_words(finding: Finding) -> str:
    of = finding.estimate
    number = Number(of.value, of.low, of.high)
    interval = interval_text(number)
    text = f"{words.short(finding.about)} {number_text(number)}"
    return f"{text} ({interval})" if interval else text


def _finding(criterion: SuccessCriterion, finding: Finding) -> tuple[Cell, ...]:
    verdict, estimate = finding.verdict, finding.estimate
    return (
        criterion.name.capitalize(),
        finding.about,
        Status("not judged", "open") if verdict is None else words.VERDICTS[verdict],
        Number(finding.baseline),
        Number(finding.intervention),
        Number(estimate.value, estimate.low, estimate.high),
        Number(criterion.bound),
        Number(finding.support, digits=0),
        finding.note,
    )


def _criteria_sources(found: Verification) -> tuple[Source, ...]:
    files = dict.fromkeys(path for criterion in found.criteria for path in criterion.sources)
    return (Source(VERIFICATION, "criteria"), *(Source(path) for path in files))


def _row(found: Verification, metric: str, attribute: str | None) -> ComparisonRow | None:
    return next(
        (r for r in found.comparison if (r.metric, r.attribute) == (metric, attribute)), None
    )
