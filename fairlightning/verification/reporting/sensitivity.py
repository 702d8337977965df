"""Sections on what the result hangs on: strength, threshold, and data that shift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlightning.exceptions import DataError
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
)
from fairlightning.report.figures import Panel, Series, front_figure, graded_figure
from fairlightning.verification.front_rows import front_rows
from fairlightning.verification.reporting.material import (
    DECISION,
    FRONT,
    VERIFICATION,
    Material,
)
from fairlightning.verification.reporting.results import picture
from fairlightning.verification.results import Curve, CurvePoint, Reading

_FRONT_MEND = "run `fairlightning verify` with a method that has a strength, or copy the folder of "
_FRONT_MEND += "`fairlightning front` to front/."


def trade_off(material: Material) -> Section:
    """Other strengths of the method: the front, and how figures follow λ."""
    blocks: list[Block] = [*_front(material), *_decision(material), *_strengths(material)]
    return Section("trade-off", "Trade-off", tuple(blocks))


def robustness(material: Material) -> Section:
    """What shifts do to accuracy and gaps, as a table."""
    curves = [*material.found.drift, material.found.thresholds]
    shown = [curve for curve in curves if curve.points]
    blocks: list[Block] = [_overview(curves)] if shown else []
    blocks += [_omitted(curve) for curve in curves if not curve.points]
    return Section("robustness", "Robustness", tuple(blocks))


def all_curves(material: Material) -> Section:
    """A picture and a table for every curve, for an appendix."""
    blocks: list[Block] = []
    for curve in (*material.found.drift, material.found.thresholds):
        if not curve.points:
            blocks.append(_omitted(curve))
            continue
        blocks += [_curve_picture(curve), _curve_table(curve)]
    return Section("curves-all", "Robustness curves", tuple(blocks), appendix=True)


def _front(material: Material) -> Iterator[Block]:
    front = material.front
    if front is None:
        yield Missing("No front of models of other strengths.", _FRONT_MEND)
        return
    try:
        rows = front_rows(front)
        figure = front_figure(
            rows,
            f"{front.title}: chosen on validation, shown on test",
            limit=None if front.limit is None else front.limit.points,
        )
    except DataError as error:
        yield Missing(f"The picture of the front: {error}", _FRONT_MEND)
        return
    yield picture(
        "front",
        figure,
        f"What other strengths of the method would give: {len(rows)} models, "
        f"{sum(row.chosen for row in rows)} of which no other beats on validation.",
        "Performance against gap of each model of the front; front/front.html has the numbers.",
        (Source(FRONT), *_page(material)),
    )


def _page(material: Material) -> list[Source]:
    page = FRONT.replace(".json", ".html")
    return [Source(page, "to choose on")] if (material.folder / page).is_file() else []


def _decision(material: Material) -> Iterator[Block]:
    decision = material.decision
    if decision is None:
        yield Missing(
            "No person's decision for one model of the front.",
            f"choose on front/front.html, save {DECISION} here and run `fairlightning report`.",
        )
        return
    bounds = "meets its bounds" if decision.within_bounds else "does not meet all bounds"
    yield Text(
        f"Decision of {decision.by}, {decision.time:%Y-%m-%d}: {decision.point.id}, which {bounds} "
        f"on validation. Reason: {decision.reason}"
    )


def _strengths(material: Material) -> Iterator[Block]:
    sensitivity = material.found.sensitivity
    if not sensitivity.points:
        why = (sensitivity.omitted or "no figures").rstrip(".")
        yield Missing(f"How figures follow the strength of the method: {why}.", _FRONT_MEND)
        return
    points = sensitivity.points
    levels = [f"{point.strength:.3g}" for point in points]
    chosen = sensitivity.strength
    at = None
    if chosen is not None:
        at = min(range(len(points)), key=lambda i: abs(points[i].strength - chosen))
    attributes = list(points[0].gaps)
    panels = [
        Panel(
            "Accuracy",
            "strength λ",
            levels,
            [Series("accuracy", [point.accuracy for point in points])],
            at,
        ),
        Panel(
            f"{readable(material.found.criterion + '_difference').capitalize()}",
            "strength λ",
            levels,
            [Series(name, [point.gaps[name] for point in points]) for name in attributes],
            at,
        ),
    ]
    known = [
        panel for panel in panels if any(v is not None for s in panel.series for v in s.values)
    ]
    if known:
        yield picture(
            "strengths",
            graded_figure(
                "Accuracy and gap by strength of the method", known, ["Dashed: chosen strength."]
            ),
            "How accuracy and gap follow the strength of the method.",
            "Accuracy and gap for each strength; the table has the change at the chosen one.",
            _sources(sensitivity.sources, "sensitivity"),
        )
    yield Table.of(
        "elasticity",
        "Change in per cent for one per cent more strength, at the chosen strength",
        {
            "figure": "Figure",
            "elasticity": "Elasticity",
        },
        tuple((name, Number(value, sign=True)) for name, value in sensitivity.elasticity.items()),
        _sources(sensitivity.sources, "sensitivity"),
    )


def _overview(curves: Sequence[Curve]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    files: list[str] = []
    for curve in curves:
        if not curve.points:
            continue
        files += curve.sources
        for attribute in curve.points[0].intervention.gaps:
            gaps = [(p.intervention.gaps[attribute], p) for p in curve.points]
            known = [(gap, point) for gap, point in gaps if gap is not None]
            accuracy = [(p.intervention.accuracy, p) for p in curve.points]
            least = [(value, point) for value, point in accuracy if value is not None]
            worst = max(known, key=lambda pair: pair[0], default=None)
            low = min(least, key=lambda pair: pair[0], default=None)
            rows.append(
                (
                    curve.title,
                    attribute,
                    *_extreme(worst, attribute),
                    Number(None if low is None else low[0]),
                    "–" if low is None else low[1].label,
                )
            )
    return Table.of(
        "robustness-overview",
        "The worst along each curve, for the intervention, without training again",
        {
            "change": "What is done to the test rows",
            "of": "Gap of",
            "gap": "Largest gap",
            "baseline": "Baseline there",
            "at": "At",
            "accuracy": "Lowest accuracy",
            "accuracy_at": "At ",
        },
        rows,
        _sources(tuple(dict.fromkeys(files)), "drift and thresholds"),
        "Means over seeds; the appendix has the whole curves.",
    )


def _extreme(worst: tuple[float, CurvePoint] | None, attribute: str) -> tuple[Cell, Cell, Cell]:
    if worst is None:
        return Number(None), Number(None), "–"
    gap, point = worst
    deviation = point.intervention.gap_deviations.get(attribute)
    before = point.baseline.gaps.get(attribute)
    return Number(gap, deviation=deviation), Number(before), point.label


def _omitted(curve: Curve) -> Missing:
    why = (curve.omitted or "no figures").rstrip(".")
    return Missing(
        f"{curve.title.rstrip('.')}: {why}.",
        "give what is lacking to `fairlightning verify` and run it again in this folder.",
    )


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
    known = [p for p in panels if any(v is not None for s in p.series for v in s.values)]
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
    columns = {"at": curve.axis.capitalize() or "At", "rows": "Rows"}
    of: list[str | None] = [None, *curve.points[0].intervention.gaps]
    for attribute in of:
        name = "Accuracy" if attribute is None else f"Gap of {attribute}"
        for role in ("baseline", "intervention"):
            columns[f"{role}: {name.lower()}"] = f"{name}, {role}"
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
