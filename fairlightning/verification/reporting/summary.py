"""The first sections: findings, costs and what is not known; the success criteria."""

from __future__ import annotations

from collections.abc import Iterator

from fairlightning.functional.criteria import CRITERIA
from fairlightning.metrics import SMALL_SUPPORT, readable
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
)
from fairlightning.verification.reporting import words
from fairlightning.verification.reporting.material import VERIFICATION, Material
from fairlightning.verification.results import ComparisonRow, SuccessCriterion, Verification


def summary(material: Material) -> Section:
    """The executive summary."""
    found = material.found
    blocks: list[Block] = [Bullets(found.summary)] if found.summary else []
    blocks += [Text("What was found", "heading"), Bullets(tuple(_findings(found)))]
    blocks += [Text("What it costs", "heading"), Bullets(tuple(_costs(found)))]
    blocks += [Text("What is not known", "heading"), Bullets(tuple(_unknown(material)))]
    return Section("summary", "Summary", tuple(blocks))


def _findings(found: Verification) -> Iterator[str]:
    rates = CRITERIA[found.criterion].rates if found.criterion in CRITERIA else ()
    for attribute in found.attributes:
        said = [words.gap_sentence(found, attribute, rate) for rate in rates]
        sentences = [sentence for sentence in said if sentence]
        yield from sentences or [f"{attribute.capitalize()}: the gap cannot be estimated."]
    harmed = [row for row in found.groups if row.harmed]
    for row in harmed:
        yield (
            f"Harmed: {words.short(row.group)}, which {words.FAIR} treats visibly worse "
            f"({row.support:,} rows)."
        )
    if not harmed:
        fine = [row for row in found.groups if not row.small]
        yield f"None of the {len(fine)} groups and intersections with enough rows is harmed."


def _costs(found: Verification) -> Iterator[str]:
    accuracy = _row(found, "accuracy", None)
    if accuracy is None or accuracy.change.value is None:
        yield "The cost in accuracy cannot be estimated."
    else:
        before, after = accuracy.baseline.mean, accuracy.intervention.mean
        way = "fewer" if accuracy.change.value < 0 else "more"
        yield (
            f"Of 100 decisions, {words.PLAIN} gets {100 * (before or 0):.1f} right and "
            f"{words.FAIR} {100 * (after or 0):.1f}: {abs(100 * accuracy.change.value):.1f} {way}."
        )
    worse = [row for row in found.comparison if row.better is False and row.metric != "accuracy"]
    single = [row for row in worse if row.attribute is None or row.attribute in found.attributes]
    for row in [row for row in single if row.metric in _COMMON]:
        yield _worse(row)
    rest = len(worse) - sum(row.metric in _COMMON for row in single)
    if rest:
        yield f"{rest} other measures got worse too; the tables of results name them."
    if not worse:
        yield "No other measure got visibly worse."


_COMMON = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "accuracy_parity_difference",
    "predictive_parity_difference",
    "f1",
    "auroc",
    "calibration_error",
)


def _worse(row: ComparisonRow) -> str:
    about = f" of {row.attribute}" if row.attribute else ""
    return (
        f"Worse: the {readable(row.metric)}{about} went from {row.baseline.mean:.3f} to "
        f"{row.intervention.mean:.3f}."
    )


def _unknown(material: Material) -> Iterator[str]:
    found = material.found
    for criterion in found.criteria:
        open_ = [f for f in criterion.findings if f.verdict == "not enough evidence"]
        if open_:
            names = ", ".join(words.short(finding.about) for finding in open_)
            yield f"“{criterion.title}” cannot be judged for {names}."
    small = [row for row in found.groups if row.small]
    if small:
        names = ", ".join(dict.fromkeys(words.short(row.group) for row in small))
        yield (
            f"{len(small)} groups have too few rows to be judged (at least {SMALL_SUPPORT} are "
            f"needed): {names}."
        )
    if len(found.seeds) == 1:
        yield "There is one training of each model; how much another would differ is not known."
    for curve in (*found.drift, found.thresholds):
        if curve.omitted:
            yield f"Not examined: {curve.title.rstrip('.')} ({curve.omitted.rstrip('.')})."
    if found.sensitivity.omitted:
        yield f"Not examined: other strengths of the method ({found.sensitivity.omitted})."
    if material.audit is None:
        yield "Where the differences come from: no audit of the data was made."
    yield (
        "All figures are of past data like those that the model was trained on; other data were "
        "imitated at most."
    )


def criteria(material: Material) -> Section:
    """The success criteria with their verdicts."""
    found = material.found
    rows = tuple(_criterion(criterion) for criterion in found.criteria)
    overview = Table.of(
        "criteria",
        "Success criteria and their verdicts",
        {
            "criterion": "Criterion",
            "verdict": "Verdict",
            "note": "Note",
        },
        rows,
        (Source(VERIFICATION, "criteria"),),
        "Met and not met are said only where the whole interval lies on one side of the bound.",
    )
    # The many findings on intersections are in an appendix.
    few = _findings_rows(found, appendix=False)
    table = _findings_table("findings", few, found)
    return Section("criteria", "Success criteria", (overview, table))


def all_findings(material: Material) -> Section:
    """Every finding of every criterion, for an appendix."""
    rows = _findings_rows(material.found, appendix=True)
    table = _findings_table("all-findings", rows, material.found)
    return Section("findings-all", "Findings of every criterion", (table,), appendix=True)


def _criterion(criterion: SuccessCriterion) -> tuple[Cell, ...]:
    return criterion.title, words.status_of(criterion), criterion.note


def _findings_rows(found: Verification, *, appendix: bool) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for criterion in found.criteria:
        for finding in criterion.findings:
            if not appendix and len(criterion.findings) > 6 and finding.verdict != "not met":
                continue
            verdict, estimate = finding.verdict, finding.estimate
            status = Status("not judged", "open") if verdict is None else words.VERDICTS[verdict]
            rows.append(
                (
                    criterion.title,
                    finding.about,
                    status,
                    Number(finding.baseline),
                    Number(finding.intervention),
                    Number(estimate.value, estimate.low, estimate.high),
                    "–" if criterion.bound is None else f"{criterion.bound:g}",
                    Number(finding.support, digits=0),
                    finding.note,
                )
            )
    return rows


def _findings_table(name: str, rows: list[tuple[Cell, ...]], found: Verification) -> Table:
    files = dict.fromkeys(path for criterion in found.criteria for path in criterion.sources)
    return Table.of(
        name,
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
        rows,
        (Source(VERIFICATION, "criteria"), *(Source(path) for path in files)),
        "; ".join(f"{c.title}: {c.figure}" for c in found.criteria) + ".",
    )


def _row(found: Verification, metric: str, attribute: str | None) -> ComparisonRow | None:
    return next(
        (r for r in found.comparison if (r.metric, r.attribute) == (metric, attribute)), None
    )
