"""Sections on what the intervention changed: tables and pictures of baseline and intervention."""

from __future__ import annotations

from collections.abc import Sequence

from fairlightning.functional.intervals import Verdict
from fairlightning.metrics import readable
from fairlightning.report.document import (
    Block,
    Cell,
    Number,
    Section,
    Source,
    Status,
    Table,
)
from fairlightning.verification.reporting import words
from fairlightning.verification.reporting.group_pictures import (
    MAIN_GAPS,
    STAGE,
    gap_pictures,
    heat_maps,
    rates_picture,
)
from fairlightning.verification.reporting.inputs import VERIFICATION, ReportInputs
from fairlightning.verification.results import ComparisonRow, GroupRow

MAIN_OVERALL = ("accuracy", "f1", "auroc")
"""Figures over all rows in the main text; an appendix has all."""

_BETTER: dict[bool | None, Cell] = {
    True: Status("better", "good"),
    False: Status("worse", "bad"),
    None: "no clear change",
}

_UNHARMED: dict[Verdict | None, Status] = {
    "met": Status("not harmed", "good"),
    "not met": Status("harmed", "bad"),
    "not enough evidence": Status("cannot be said", "open"),
    None: Status("too few rows", "open"),
}


def comparison(inputs: ReportInputs) -> Section:
    """Baseline and intervention in the main text: the common figures, gaps and rates."""
    found = inputs.found
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    rows = [r for r in found.comparison if r.attribute is None and r.metric in MAIN_OVERALL]
    rows += [r for r in found.comparison if r.attribute in found.attributes and r.metric in gaps]
    blocks: list[Block] = [comparison_table(inputs, "common", rows, "The common measures")]
    blocks += gap_pictures(inputs)
    blocks.append(rates_picture(inputs, _widest(inputs)))
    return Section("comparison", "Baseline and intervention", tuple(blocks))


def all_figures(inputs: ReportInputs) -> Section:
    """Every figure of both, and those of each seed, for an appendix."""
    found = inputs.found
    rows = sorted(found.comparison, key=lambda row: row.attribute or "")
    everything = comparison_table(inputs, "comparison-all", rows, "Every measure")
    return Section("figures-all", "All measures", (everything, _seeds_table(inputs)), appendix=True)


def groups(inputs: ReportInputs) -> Section:
    """Every group and intersection, for an appendix."""
    blocks: list[Block] = [groups_table(inputs)]
    first, crossings = _widest(inputs), dict.fromkeys(r.attribute for r in inputs.found.groups)
    blocks += [rates_picture(inputs, name) for name in crossings if name != first]
    blocks += heat_maps(inputs)
    return Section("groups-all", "Groups and intersections", tuple(blocks), appendix=True)


def metric_sources(inputs: ReportInputs) -> tuple[Source, ...]:
    """`metrics.json` of both models of every seed."""
    runs = [run for run in inputs.found.runs if run.role in ("baseline", "intervention")]
    return tuple(Source(f"{run.folder}/metrics.json") for run in runs)


def comparison_table(
    inputs: ReportInputs, name: str, rows: Sequence[ComparisonRow], caption: str
) -> Table:
    """Measures of baseline and intervention with their change."""
    cells: list[tuple[Cell, ...]] = [
        (
            readable(row.metric),
            row.attribute or "all rows",
            Number(row.baseline.mean, deviation=row.baseline.deviation),
            Number(row.intervention.mean, deviation=row.intervention.deviation),
            Number(row.change.value, row.change.low, row.change.high, sign=True),
            Number(
                None if row.relative is None else 100 * row.relative,
                digits=0,
                sign=True,
                unit=" %",
            ),
            _BETTER[row.better],
            Number(row.support, digits=0),
        )
        for row in rows
    ]
    seeds = ", ".join(map(str, inputs.found.seeds))
    return Table.of(
        name,
        f"{caption}, {STAGE} rows, mean ± deviation over seeds {seeds}",
        {
            "metric": "Measure",
            "of": "Of",
            "baseline": "Baseline",
            "intervention": "Intervention",
            "change": "Change, with interval",
            "relative": "Relative",
            "better": "",
            "rows": "Rows",
        },
        cells,
        (Source(VERIFICATION, "comparison"), *metric_sources(inputs)),
        "Rows: of a difference or ratio, those of the smallest group. A dash is not estimable.",
    )


def _widest(inputs: ReportInputs) -> str:
    """The attribute whose gap under the criterion was widest before."""
    found = inputs.found
    metric = f"{found.criterion}_difference"
    gaps = {r.attribute: r.baseline.mean or 0.0 for r in found.comparison if r.metric == metric}
    return max(found.attributes, key=lambda name: gaps.get(name, 0.0))


def _seeds_table(inputs: ReportInputs) -> Table:
    found = inputs.found
    columns = {"metric": "Measure", "of": "Of"}
    for seed in found.seeds:
        for role in ("baseline", "intervention"):
            columns[f"{role}_{seed}"] = f"{role.capitalize()}, seed {seed}"
    rows: list[tuple[Cell, ...]] = []
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    for row in found.comparison:
        if row.metric in (MAIN_OVERALL if row.attribute is None else gaps):
            pairs = zip(row.baseline.values, row.intervention.values, strict=True)
            values = (Number(value) for pair in pairs for value in pair)
            rows.append((readable(row.metric), row.attribute or "all rows", *values))
    return Table.of(
        "seeds",
        f"The common measures of each training, {STAGE} rows",
        columns,
        rows,
        (Source(VERIFICATION, "comparison"), *metric_sources(inputs)),
    )


def groups_table(inputs: ReportInputs) -> Table:
    """Every group and intersection, whatever its support."""
    verdicts = words.rate_verdicts(inputs.found)
    rows = sorted(inputs.found.groups, key=lambda row: (row.attribute.count("&"), row.attribute))
    return Table.of(
        "groups",
        f"Every group and intersection, {STAGE} rows, mean ± deviation over seeds",
        {
            "group": "Group",
            "rate": "Rate",
            "baseline": "Baseline",
            "intervention": "Intervention",
            "harm": "Farther from all rows by",
            "accuracy_change": "Change of accuracy",
            "verdict": "",
            "rows": "Rows",
        },
        [_group_cells(row, verdicts[row.group, row.rate]) for row in rows],
        (Source(VERIFICATION, "groups"), *metric_sources(inputs)),
        f"Too few rows: {inputs.few} of the rate; no verdict on these groups. "
        "Rows: different rows over all seeds.",
    )


def _group_cells(row: GroupRow, verdict: Verdict | None) -> tuple[Cell, ...]:
    harm, accuracy = row.harm, row.accuracy_change
    return (
        row.group,
        readable(row.rate),
        Number(row.baseline.mean, deviation=row.baseline.deviation),
        Number(row.intervention.mean, deviation=row.intervention.deviation),
        Number(harm.value, harm.low, harm.high, sign=True),
        Number(accuracy.value, accuracy.low, accuracy.high, sign=True),
        _UNHARMED[verdict],
        Number(row.support, digits=0),
    )
