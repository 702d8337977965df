"""Differences between groups, by attribute and criterion, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import SMALL_SUPPORT, Record, readable
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words
from fairlightning.report.figures.rows import BASELINE_NOTE, Line, RowSheet, draw_estimates, extent

_FIGURES = 1.5  # inches for "0.171† [0.160, 0.182]"


def gaps_figure(
    records: Iterable[Record],
    stage: str,
    tolerance: float | None = None,
    *,
    level: float = 0.95,
    baseline: Iterable[Record] | None = None,
) -> Figure:
    """Show the differences between groups of every attribute, by criterion, with intervals.

    Args:
        records: Records of a run; those of metrics `<criterion>_difference` are shown.
        stage: The stage to show.
        tolerance: Largest difference that is accepted, ≥ 0; drawn as a line.
        level: Level of the intervals in the records, in (0, 1), for the title.
        baseline: Records of a baseline over the same rows, drawn above those of `records` in
            another colour.

    Returns:
        The figure. A difference that rests on a group of fewer than `SMALL_SUPPORT` rows is
        hollow; one that is not estimable is listed.

    Raises:
        ArgumentError: If the tolerance is negative or not finite, or there are no differences of
            the stage.
    """
    if tolerance is not None and not (isfinite(tolerance) and tolerance >= 0):
        raise ArgumentError.of(
            "tolerance",
            found=tolerance,
            expected="a difference of 0 or more",
            mend="pass for example tolerance=0.05, or None for no line",
        )
    found = [r for r in words.of_stage(records, stage) if r.attribute and r.group is None]
    found = [r for r in found if r.metric.endswith("_difference")]
    if not found:
        raise ArgumentError.of(
            "records",
            found=f"no difference of stage {stage!r}",
            expected="records such as demographic_parity_difference of an attribute",
            mend="pass the records of an evaluation with groups",
        )
    lines: list[Line] = []
    rows: list[Record | None] = []
    for attribute in dict.fromkeys(str(record.attribute) for record in found):
        lines.append(Line(attribute, None))
        rows.append(None)
        for record in (r for r in found if r.attribute == attribute):
            name = readable(record.metric.removesuffix("_difference"))
            lines.append(Line(name[0].upper() + name[1:], record.support))
            rows.append(record)
    before = None if baseline is None else _before(baseline, rows)
    title = words.title("Differences between groups", stage, words.shown_level(found, level))
    sheet = RowSheet(
        title, lines, _notes(found, tolerance, before is not None), row=0.29 if before else 0.25
    )
    # The interval of treatment equality, a ratio of counts, may reach far beyond all others.
    drawn = [*found, *(record for record in before or () if record is not None)]
    most = max(1.0, *(record.value or 0.0 for record in drawn), tolerance or 0.0)
    values = [0.0, tolerance or 0.0, *(min(end, most) for end in extent(drawn))]
    [place] = sheet.panels(1, right=_FIGURES)
    axes = sheet.panel(place, values)
    if tolerance is not None:
        axes.axvline(tolerance, **{**lay.MARK_LINE, "color": lay.VERMILLION, "linewidth": 1.2})
    draw_estimates(axes, [row if row and row.support else None for row in rows], baseline=before)
    for number, row in enumerate(rows):
        if row is not None:
            beside = _figure(row) if before is None else _change(before[number], row)
            sheet.write_beside(place, number, beside)
    return sheet.done()


def _before(baseline: Iterable[Record], rows: Sequence[Record | None]) -> list[Record | None]:
    known = {record.key: record for record in baseline}
    return [None if row is None else known.get(row.key) for row in rows]


def _change(before: Record | None, after: Record) -> str:
    values = (None if record is None else record.value for record in (before, after))
    first, second = ("n. e." if value is None else f"{value:.3f}" for value in values)
    return f"{first} → {second}" + ("†" if words.is_small(after.support) else "")


def _figure(record: Record) -> str:
    if record.value is None:
        return "not estimable"
    mark = "†" if words.is_small(record.support) else ""
    if not words.has_interval(record):
        return f"{record.value:.3f}{mark}"
    return f"{record.value:.3f}{mark} [{words.interval(record)}]"


def _notes(records: Sequence[Record], tolerance: float | None, compared: bool) -> list[str]:
    notes = ["0 is parity. Rows: those of the smallest group that takes part."]
    if compared:
        notes.insert(0, BASELINE_NOTE)
    if tolerance is not None:
        notes.append(f"Dashed line: tolerance {tolerance:.3f}.")
    if any(words.is_small(r.support) and r.value is not None for r in records):
        notes.append(f"○ † a group has fewer than {SMALL_SUPPORT} rows.")
    return [" ".join(notes)]
