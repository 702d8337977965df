"""Sections on what the result hangs on: strength, threshold, and data that shift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fairlightning.exceptions import FairlightningError
from fairlightning.metrics import readable
from fairlightning.report.document import (
    Block,
    Cell,
    Missing,
    Number,
    Section,
    Source,
    Table,
    Text,
    number_text,
)
from fairlightning.report.figures import Panel, Series, front_figure, graded_figure
from fairlightning.verification.front_rows import front_rows
from fairlightning.verification.reporting.group_pictures import picture
from fairlightning.verification.reporting.inputs import (
    DECISION,
    VERIFICATION,
    ReportInputs,
)
from fairlightning.verification.results import Curve, Reading

_FRONT_MEND = (
    "take a method that has a strength, or copy the folder of `fairlightning front` here, "
)
_FRONT_MEND += "as front/."

_CURVE_MEND = "give what is lacking to `fairlightning verify` and run it again in this folder."

_SHORT, _TALL = 1.8, 3.2  # inches: height of a front in the main text and in the appendix


def trade_off(inputs: ReportInputs) -> Section:
    """Other strengths of the method: the front, and how figures follow λ."""
    blocks: list[Block] = [*_front(inputs, "front", 1), *_decision(inputs), *_elasticity(inputs)]
    return Section("trade-off", "Trade-off", tuple(blocks))


def robustness(inputs: ReportInputs) -> Section:
    """What shifts do to accuracy and gaps, as a table."""
    curves = [*inputs.found.drift, inputs.found.thresholds]
    shown = [curve for curve in curves if curve.points]
    blocks: list[Block] = [_overview(curves)] if shown else []
    gone = [_why(curve) for curve in curves if not curve.points]
    if gone:
        blocks.append(Missing(" ".join(gone), _CURVE_MEND))
    return Section("robustness", "Robustness", tuple(blocks))


def all_curves(inputs: ReportInputs) -> Section:
    """A picture and a table for every curve, for an appendix."""
    blocks: list[Block] = list(_strengths(inputs))
    if inputs.front is not None and len(inputs.front.criteria) > 2:
        blocks += _front(inputs, "front-all", None)
    for curve in (*inputs.found.drift, inputs.found.thresholds):
        if not curve.points:
            blocks.append(_omitted(curve))
            continue
        blocks += [_curve_picture(curve), _curve_table(curve)]
    return Section("curves-all", "Strength and robustness curves", tuple(blocks), appendix=True)


def _front(inputs: ReportInputs, name: str, gaps: int | None) -> Iterator[Block]:
    """The picture of the front, with so many of its gaps."""
    front = inputs.front
    if front is None:
        yield Missing("No front of models of other strengths.", _FRONT_MEND)
        return
    last = None if gaps is None else gaps + 1
    try:
        rows = [replace(row, figures=row.figures[:last]) for row in front_rows(front)]
        figure = front_figure(
            rows,
            f"{front.title}: chosen on validation, shown on test",
            limit=None if front.limit is None else front.limit.points,
            height=_SHORT if gaps == 1 else _TALL,
        )
    except FairlightningError as error:
        yield Missing(f"The picture of the front: {error}", _FRONT_MEND)
        return
    page = _front_file(inputs, ".html", "to choose on")
    pages = [page] if (inputs.folder / page.path).is_file() else []
    yield picture(
        name,
        figure,
        f"What other strengths of the method would give: models that no other beats on validation "
        f"are filled ({sum(row.chosen for row in rows)} of {len(rows)}).",
        "Performance against gap of each model of the front.",
        (_front_file(inputs, ".json"), *pages),
    )


def _front_file(inputs: ReportInputs, ending: str, what: str = "") -> Source:
    return Source(f"{inputs.front_folder}/front{ending}", what)


def _decision(inputs: ReportInputs) -> Iterator[Block]:
    decision = inputs.decision
    if decision is None:
        page = _front_file(inputs, ".html").path
        yield Missing(
            "No person's decision for one model of the front.",
            f"choose on {page}, save {DECISION} here and run `fairlightning report`.",
        )
        return
    bounds = "meets its bounds" if decision.within_bounds else "does not meet all bounds"
    yield Text(
        f"Decision of {decision.by}, {decision.time:%Y-%m-%d}: {decision.point.id}, which {bounds} "
        f"on validation. Reason: {decision.reason}",
        sources=(Source(DECISION),),
    )


def _strengths(inputs: ReportInputs) -> Iterator[Block]:
    sensitivity = inputs.found.sensitivity
    if not sensitivity.points:
        why = (sensitivity.omitted or "no figures").rstrip(".")
        yield Missing(f"How figures follow the strength of the method: {why}.", _FRONT_MEND)
        return
    points = sensitivity.points
    strengths = [point.strength for point in points]
    at = None
    if sensitivity.strength is not None:
        at = float(np.interp(sensitivity.strength, strengths, range(len(points))))
    gap = readable(f"{inputs.found.criterion}_difference")
    figures = {
        "Accuracy": [Series("accuracy", [point.accuracy for point in points])],
        gap[0].upper() + gap[1:]: [
            Series(name, [point.gaps[name] for point in points]) for name in points[0].gaps
        ],
    }
    levels = [f"{strength:.3g}" for strength in strengths]
    panels = [Panel(title, "strength λ", levels, of, at) for title, of in figures.items()]
    known = [panel for panel in panels if _has_figures(panel)]
    sources = _sources(sensitivity.sources, "sensitivity")
    if known:
        title = "Accuracy and gap by strength of the method"
        yield picture(
            "strengths",
            graded_figure(title, known, ["Dashed: chosen strength."]),
            "How accuracy and gap follow the strength of the method.",
            "Accuracy and gap for each strength; the text on the trade-off has their change.",
            sources,
        )


def _elasticity(inputs: ReportInputs) -> Iterator[Block]:
    sensitivity = inputs.found.sensitivity
    changes = ", ".join(
        f"{name} {number_text(Number(value, sign=True, digits=2, unit=' %'))}"
        for name, value in sensitivity.elasticity.items()
    )
    if changes:
        yield Text(
            f"One per cent more strength changes, at the chosen strength: {changes}. A picture is "
            "in the appendix on robustness.",
            sources=_sources(sensitivity.sources, "sensitivity"),
        )


def _has_figures(panel: Panel) -> bool:
    return any(value is not None for series in panel.series for value in series.values)


def _overview(curves: Sequence[Curve]) -> Table:
    shown = [curve for curve in curves if curve.points]
    attributes = dict.fromkeys(name for c in shown for name in c.points[0].intervention.gaps)
    columns = {"change": "What is done to the test rows"}
    for role in ("baseline", "intervention"):
        columns[f"accuracy_{role}"] = f"Lowest accuracy, {role}"
    for name in attributes:
        for role in ("baseline", "intervention"):
            columns[f"gap_{name}_{role}"] = f"Largest gap of {name}, {role}"
    files = dict.fromkeys(path for curve in shown for path in curve.sources)
    return Table.of(
        "robustness-overview",
        "The worst along each curve, without training again",
        columns,
        [_worst(curve, attributes) for curve in shown],
        _sources(tuple(files), "drift and thresholds"),
        "Means over seeds; the appendix has the whole curves.",
    )


def _worst(curve: Curve, attributes: Iterable[str]) -> list[Cell]:
    def extreme(role: str, attribute: str | None) -> Number:
        found = [_value(getattr(point, role), attribute) for point in curve.points]
        known = [(value, deviation) for value, deviation in found if value is not None]
        if not known:
            return Number(None)
        value, deviation = (min if attribute is None else max)(known, key=lambda pair: pair[0])
        return Number(value, deviation=deviation)

    of = [None, *attributes]
    roles = ("baseline", "intervention")
    return [curve.title, *(extreme(role, name) for name in of for role in roles)]


def _omitted(curve: Curve) -> Missing:
    return Missing(_why(curve), _CURVE_MEND)


def _why(curve: Curve) -> str:
    return f"{curve.title.rstrip('.')}: {(curve.omitted or 'no figures').rstrip('.')}."


def _curve_picture(curve: Curve) -> Block:
    levels = [f"{point.strength:.3g}" for point in curve.points]

    def panel(heading: str, attribute: str | None) -> Panel:
        series = []
        for name in ("intervention", "baseline"):
            readings = [getattr(point, name) for point in curve.points]
            values, low, high = zip(*(_band(r, attribute) for r in readings), strict=True)
            series.append(Series(name, values, low, high))
        return Panel(heading, curve.axis, levels, series)

    panels = [panel("Accuracy", None)]
    panels += [panel(f"Gap of {name}", name) for name in curve.points[0].intervention.gaps]
    known = [panel for panel in panels if _has_figures(panel)]
    if not known:
        return Missing(f"{curve.title}: nothing is estimable.", "take more test rows.")
    return picture(
        f"curve-{curve.name.replace('_', '-')}",
        graded_figure(curve.title, known, ["Bars: one standard deviation over seeds, both ways."]),
        f"{curve.title}: accuracy and gaps, mean over seeds.",
        "Accuracy and gaps of both models along the curve; the table below has the numbers.",
        _sources(curve.sources, "drift and thresholds"),
    )


def _band(
    reading: Reading, attribute: str | None
) -> tuple[float | None, float | None, float | None]:
    value, deviation = _value(reading, attribute)
    if value is None or deviation is None:
        return value, None, None
    return value, value - deviation, value + deviation


def _value(reading: Reading, attribute: str | None) -> tuple[float | None, float | None]:
    if attribute is None:
        return reading.accuracy, reading.accuracy_deviation
    return reading.gaps.get(attribute), reading.gap_deviations.get(attribute)


def _curve_table(curve: Curve) -> Table:
    columns = {
        "at": curve.axis if len(curve.axis) == 1 else curve.axis.capitalize(),
        "rows": "Rows",
    }
    of: list[str | None] = [None, *curve.points[0].intervention.gaps]
    for attribute in of:
        name = "Accuracy" if attribute is None else f"Gap of {attribute}"
        for role in ("baseline", "intervention"):
            columns[f"{role}: {name[0].lower()}{name[1:]}"] = f"{name}, {role}"
    rows: list[tuple[Cell, ...]] = []
    for point in curve.points:
        cells: list[Cell] = [point.label, Number(point.support, digits=0)]
        for attribute in of:
            for reading in (point.baseline, point.intervention):
                value, deviation = _value(reading, attribute)
                cells.append(Number(value, deviation=deviation))
        rows.append(tuple(cells))
    return Table.of(
        f"curve-{curve.name.replace('_', '-')}-table",
        f"{curve.title}, mean ± deviation over seeds",
        columns,
        rows,
        _sources(curve.sources, "drift and thresholds"),
    )


def _sources(files: Sequence[str], what: str) -> tuple[Source, ...]:
    return (Source(VERIFICATION, what), *(Source(path) for path in files))
