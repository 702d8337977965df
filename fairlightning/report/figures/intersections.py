"""A crossing of two or three attributes as a map of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from math import prod

from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.metrics import SMALL_SUPPORT, SUPPORT, Record
from fairlightning.report.figures import words
from fairlightning.report.figures.heat_map import Axis, Cell, Scale, heat_map

MAX_COLUMNS, MAX_PANELS, MAX_ROWS = 12, 6, 40
"""Most categories of one map; the rows of all panels together are at most `MAX_ROWS`."""


def intersections_figure(
    records: Iterable[Record],
    stage: str,
    metric: str,
    attributes: Sequence[str],
    *,
    level: float = 0.95,
) -> Figure:
    """Show a metric of every intersection of two or three attributes, with the rows behind it.

    The attribute with most categories gives the rows, the next one the columns, and the third one
    a panel for each category. Colours say how far a cell lies from all rows (or, without a record
    over all rows, from the mean of the cells weighted by support), in either direction. A cell of
    fewer than `SMALL_SUPPORT` rows is white, dashed and marked `†`, and does not stretch the
    colours; a cell without rows is hatched. Intervals are written where there is room. Of more
    than `MAX_COLUMNS`, `MAX_ROWS` or `MAX_PANELS` categories those with fewest rows are left out,
    and counted below.

    Args:
        records: Records of a run.
        stage: The stage to show.
        metric: A metric of single groups.
        attributes: Two or three attributes whose crossing the records have, in any order.
        level: Level of the intervals in the records, in (0, 1), for the title.

    Returns:
        The figure.

    Raises:
        ArgumentError: If the attributes are not two or three, or there are no records of the
            stage, the crossing or the metric.
    """
    records = list(records)
    crossing, names = _crossing(records, stage, attributes)
    of = [r for r in words.of_attribute(records, stage, crossing) if r.metric != SUPPORT]
    check_choice("metric", metric, dict.fromkeys(record.metric for record in of))
    axes, cells = _arranged(names, _cells(names, [r for r in of if r.metric == metric]))
    shown = words.shown_level(cells.values(), level)
    subject = f"{words.metric_words(metric)} by {crossing}"
    overall = next((r.value for r in records if r.key == (stage, metric, None, None)), None)
    scale = _scale(overall, cells)
    return heat_map(subject, stage, shown, _notes(axes, cells), axes, cells, scale)


def _crossing(
    records: Sequence[Record], stage: str, attributes: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    if isinstance(attributes, str) or not 2 <= len(attributes) == len(set(attributes)) <= 3:
        raise ArgumentError.of(
            "attributes",
            found=repr(attributes),
            expected="two or three different attributes",
            mend='pass for example ["sex", "race"]; `rates_figure` shows any other crossing',
        )
    known = {r.attribute for r in words.of_stage(records, stage) if r.group is not None}
    orders = {" & ".join(order): order for order in permutations(attributes)}
    name = next((name for name in orders if name in known), " & ".join(attributes))
    return name, orders[name]


def _cells(names: Sequence[str], records: Iterable[Record]) -> dict[Cell, Record]:
    cells = {}
    for record in records:
        cell = words.categories(str(record.group), names)
        if cell is None:
            raise ArgumentError.of(
                "records",
                found=f"the group {record.group!r}",
                expected=" & ".join(f"{name}=…" for name in names),
                mend="name groups as GroupSpec.group_names does",
            )
        cells[cell] = record
    return cells


def _arranged(
    names: Sequence[str], cells: Mapping[Cell, Record]
) -> tuple[tuple[Axis, Axis, Axis], dict[Cell, Record]]:
    """Give each attribute its place: panels (one without a name for two), columns, rows."""
    values = [list(dict.fromkeys(cell[i] for cell in cells)) for i in range(len(names))]
    order = sorted(range(len(names)), key=lambda i: (len(values[i]), -i))
    *outer, columns, rows = order

    def axis(i: int, limit: int) -> Axis:
        size = {v: sum(r.support for cell, r in cells.items() if cell[i] == v) for v in values[i]}
        largest = sorted(values[i], key=lambda value: -size[value])[:limit]
        kept = tuple(value for value in values[i] if value in largest)
        return Axis(names[i], kept, len(values[i]) - len(kept))

    panels = axis(outer[0], MAX_PANELS) if outer else Axis("", ("",), 0)
    axes = panels, axis(columns, MAX_COLUMNS), axis(rows, MAX_ROWS // len(panels.categories))
    blank = () if outer else ("",)
    moved = {(*blank, *(cell[i] for i in order)): record for cell, record in cells.items()}
    return axes, {
        cell: record
        for cell, record in moved.items()
        if all(value in axis.categories for value, axis in zip(cell, axes, strict=True))
    }


def _scale(overall: float | None, cells: Mapping[Cell, Record]) -> Scale:
    figures = [(r.value, r.support) for r in cells.values() if r.value is not None]
    meaning = "all rows"
    if overall is None:
        mass = sum(support for _, support in figures)
        overall = sum(value * support for value, support in figures) / max(mass, 1)
        meaning = "mean of cells"
    spread = [value for value, support in figures if not words.is_small(support)] or [overall]
    return Scale(overall, min(spread), max(spread), meaning)


def _notes(axes: Sequence[Axis], cells: Mapping[Cell, Record]) -> list[str]:
    notes = ["Last in each cell: its rows."]
    drawn = prod(len(axis.categories) for axis in axes)
    if sum(r.value is not None for r in cells.values()) < drawn:
        notes.append("Hatched: without a figure.")
    if any(words.is_small(r.support) and r.value is not None for r in cells.values()):
        notes.append(f"† fewer than {SMALL_SUPPORT} rows, where chance alone moves it widely.")
    notes += [
        f"Not shown: {axis.left_out} of {axis.left_out + len(axis.categories)} categories of "
        f"{axis.name}, those with fewest rows."
        for axis in axes
        if axis.left_out
    ]
    return [" ".join(notes)]
