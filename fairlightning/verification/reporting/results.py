"""Sections on what the intervention changed: tables and pictures of baseline and intervention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from matplotlib.figure import Figure

from fairlightning.functional.criteria import CRITERIA
from fairlightning.functional.intervals import Verdict
from fairlightning.functional.score_figures import reliability
from fairlightning.functional.score_histogram import ScoreTable
from fairlightning.groups import GroupSpec, as_labels
from fairlightning.metrics import Record, readable
from fairlightning.report.document import (
    Block,
    Cell,
    Missing,
    Number,
    Picture,
    Section,
    Source,
    Status,
    Table,
    Text,
)
from fairlightning.report.figures import (
    calibration_figure,
    gaps_figure,
    intersections_figure,
    rates_figure,
    svg,
)
from fairlightning.verification.files import read_predictions
from fairlightning.verification.reporting import words
from fairlightning.verification.reporting.inputs import VERIFICATION, ReportInputs, RunFiles
from fairlightning.verification.results import ComparisonRow, GroupRow

STAGE = "test"
MAIN_OVERALL = ("accuracy", "f1", "auroc")
MAIN_GAPS = ("demographic_parity_difference", "equal_opportunity_difference")
"""Figures of the main table, beside those of the criterion itself; an appendix has all."""

_BETTER: dict[bool | None, Cell] = {
    True: Status("better", "good"),
    False: Status("worse", "bad"),
    None: "no clear change",
}

_UNHARMED: dict[Verdict | None, Status] = {
    "met": Status("not harmed", "good"),
    "not met": Status("harmed", "bad"),
    "not enough evidence": Status("cannot be said", "open"),
    None: Status("not judged", "open"),
}


def comparison(inputs: ReportInputs) -> Section:
    """Baseline and intervention in the main text: the common figures, gaps and rates."""
    found = inputs.found
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    rows = [r for r in found.comparison if r.attribute is None and r.metric in MAIN_OVERALL]
    rows += [r for r in found.comparison if r.attribute in found.attributes and r.metric in gaps]
    blocks: list[Block] = [comparison_table(inputs, "common", rows, "The common measures")]
    blocks += _gap_pictures(inputs)
    blocks.append(_rates_picture(inputs, _widest(inputs)))
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
    blocks += [_rates_picture(inputs, name) for name in crossings if name != first]
    blocks += _heat_maps(inputs)
    return Section("groups-all", "Groups and intersections", tuple(blocks), appendix=True)


def calibration(inputs: ReportInputs) -> Section:
    """Calibration of both models by group, for an appendix."""
    blocks: list[Block] = []
    for role, run in _roles(inputs):
        blocks.append(Text(role.capitalize(), "heading"))
        blocks += [_calibration(inputs, run, role, name) for name in inputs.found.attributes]
    return Section("calibration-all", "Calibration by group", tuple(blocks), appendix=True)


def metric_sources(inputs: ReportInputs) -> tuple[Source, ...]:
    """`metrics.json` of both models of every seed."""
    runs = [run for run in inputs.found.runs if run.role in ("baseline", "intervention")]
    return tuple(Source(f"{run.folder}/metrics.json") for run in runs)


def picture(
    name: str, figure: Figure, caption: str, alternative: str, sources: Iterable[Source]
) -> Picture:
    """A figure as a block."""
    return Picture(name, caption, alternative, svg(figure), tuple(sources))


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


def _roles(inputs: ReportInputs) -> tuple[tuple[str, RunFiles], ...]:
    return ("baseline", inputs.baseline), ("intervention", inputs.intervention)


def _shown_seed(inputs: ReportInputs) -> str:
    return f"Seed {inputs.seed}, {STAGE} rows."


def _pair_sources(inputs: ReportInputs) -> tuple[Source, Source]:
    return (
        inputs.baseline.source("metrics.json"),
        inputs.intervention.source("metrics.json"),
    )


def _no_records(inputs: ReportInputs, what: str) -> Missing | None:
    lacking = [run.folder for run in (inputs.baseline, inputs.intervention) if run.records is None]
    if not lacking:
        return None
    return Missing(
        f"{what}: there is no metrics.json in {' and '.join(lacking)}.",
        "put the runs of the verification back in their place and write the report again.",
    )


def _gap_pictures(inputs: ReportInputs) -> Iterator[Block]:
    missing = _no_records(inputs, "The picture of gaps")
    if missing:
        yield missing
        return
    found = inputs.found
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    wanted = {*found.attributes, " & ".join(found.attributes)}

    def kept(records: Iterable[Record] | None) -> list[Record]:
        of = [r for r in records or () if r.attribute in wanted and r.metric in gaps]
        return [r for r in of if r.group is None]

    figure = gaps_figure(
        kept(inputs.intervention.records), STAGE, baseline=kept(inputs.baseline.records)
    )
    yield picture(
        "gaps",
        figure,
        f"Differences between groups before and after. {_shown_seed(inputs)}",
        "Differences between groups with intervals, baseline above intervention; the numbers are "
        "in the table of all measures.",
        _pair_sources(inputs),
    )


def _rates_picture(inputs: ReportInputs, attribute: str) -> Block:
    missing = _no_records(inputs, f"The picture of groups of {attribute}")
    if missing:
        return missing
    criterion = CRITERIA.get(inputs.found.criterion)
    rates = tuple(dict.fromkeys([*(criterion.rates if criterion else ()), "accuracy"]))
    known = {r.metric for r in inputs.intervention.records or () if r.attribute == attribute}
    figure = rates_figure(
        inputs.intervention.records or [],
        STAGE,
        attribute,
        [rate for rate in rates if rate in known] or None,
        baseline=inputs.baseline.records,
    )
    return picture(
        f"rates-{_identifier(attribute)}",
        figure,
        f"Groups of {attribute} before and after. {_shown_seed(inputs)}",
        f"Rates of each group of {attribute} with intervals, baseline above intervention; the "
        "numbers are in the table of groups.",
        _pair_sources(inputs),
    )


def groups_table(inputs: ReportInputs) -> Table:
    """Every group and intersection, whatever its support."""
    verdicts = words.group_verdicts(inputs.found)
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
        [_group_cells(row, verdicts.get(row.group)) for row in rows],
        (Source(VERIFICATION, "groups"), *metric_sources(inputs)),
        f"Too few rows: {inputs.few} of the rate; no verdict on these groups. "
        "Rows: different rows over all seeds.",
    )


def _group_cells(row: GroupRow, verdict: Verdict | None) -> tuple[Cell, ...]:
    status = Status("harmed", "bad") if row.harmed else _UNHARMED[verdict]
    if row.small:
        status = Status("too few rows", "open")
    harm, accuracy = row.harm, row.accuracy_change
    return (
        row.group,
        readable(row.rate),
        Number(row.baseline.mean, deviation=row.baseline.deviation),
        Number(row.intervention.mean, deviation=row.intervention.deviation),
        Number(harm.value, harm.low, harm.high, sign=True),
        Number(accuracy.value, accuracy.low, accuracy.high, sign=True),
        status,
        Number(row.support, digits=0),
    )


def _heat_maps(inputs: ReportInputs) -> Iterator[Block]:
    missing = _no_records(inputs, "The maps of intersections")
    if missing:
        yield missing
        return
    crossings = dict.fromkeys(
        row.attribute for row in inputs.found.groups if row.attribute.count(" & ") in (1, 2)
    )
    rates = dict.fromkeys(row.rate for row in inputs.found.groups)
    for role, run in _roles(inputs):
        yield Text(role.capitalize(), "heading")
        for crossing in crossings:
            for rate in rates:
                yield picture(
                    f"map-{role}-{_identifier(rate)}-{_identifier(crossing)}",
                    intersections_figure(run.records or [], STAGE, rate, crossing.split(" & ")),
                    f"{role.capitalize()}: {readable(rate)} of intersections of {crossing}. "
                    f"{_shown_seed(inputs)}",
                    f"{readable(rate).capitalize()} of every intersection of {crossing} under the "
                    f"{role}; the numbers are in the table of groups.",
                    (run.source("metrics.json"),),
                )
    if not crossings:
        yield Text("There is one sensitive attribute, and so no intersection.")


def _calibration(inputs: ReportInputs, run: RunFiles, role: str, attribute: str) -> Block:
    if run.predictions is None:
        return Missing(
            f"Calibration of the {role} by {attribute}: there is no predictions.parquet in "
            f"{run.folder}.",
            "put the predictions back in their place and write the report again.",
        )
    frame = read_predictions(run.predictions)
    frame = frame[frame["split"] == STAGE]
    names = sorted(as_labels(frame[attribute]).dropna().unique())
    spec = GroupSpec({attribute: names})
    scores = torch.logit(torch.tensor(frame["score"].to_numpy(dtype=float)))
    positive = torch.tensor(frame["target"].to_numpy()) == 1
    mass = torch.tensor(frame["weight"].to_numpy(dtype=float)) if "weight" in frame else None
    table = ScoreTable.of_rows(scores, positive, spec.encode(frame), spec, weight=mass)
    curve = reliability(table.partition(spec, [attribute]).moments)
    groups = spec.group_names([attribute])
    return picture(
        f"calibration-{role}-{_identifier(attribute)}",
        calibration_figure(*curve, groups, stage=STAGE, attribute=attribute),
        f"{role.capitalize()}: calibration by {attribute}. {_shown_seed(inputs)}",
        f"Share of positives against score for each group of {attribute} under the {role}.",
        (run.source("predictions.parquet"),),
    )


def _identifier(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
