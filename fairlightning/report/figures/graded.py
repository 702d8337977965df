"""Figures at graded levels of something: strengths of a method, of noise, of a shift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError
from fairlightning.report.figures import layout as lay

_BETWEEN, _SCALE, _PLOT = 0.25, 0.42, 1.45  # inches
_HEAD, _FOOT = 0.24, 0.5
MAX_SERIES = len(lay.PALETTE)
"""Most series of one figure that can be told apart."""


class Series(NamedTuple):
    """Figures at the levels of a panel.

    Attributes:
        name: What they are figures of; series of one name share a colour.
        values: A figure for each level; None where there is none.
        low: Lower ends of their intervals; empty without intervals.
        high: Upper ends of their intervals; empty without intervals.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


class Panel(NamedTuple):
    """One plot.

    Attributes:
        heading: What is seen, such as `"Accuracy"`.
        axis: What the levels are levels of.
        levels: The levels, in words.
        series: At least one series, each with a figure for each level.
        chosen: Position, from 0, that is marked, which may lie between levels; None for none.
    """

    heading: str
    axis: str
    levels: Sequence[str]
    series: Sequence[Series]
    chosen: float | None = None


def graded_figure(title: str, panels: Sequence[Panel], notes: Sequence[str] = ()) -> Figure:
    """Show figures at graded levels, two or three panels in a row; levels are evenly spaced.

    Args:
        title: What is seen.
        panels: At least one panel.
        notes: Sentences below.

    Returns:
        The figure. Intervals are bars; a level without a figure leaves a gap in its line.

    Raises:
        ArgumentError: If there is no panel, a panel has no figure, its lengths differ, or there
            are more than `MAX_SERIES` names of series.
    """
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    _check(panels, names)
    colours = dict(zip(names, lay.PALETTE, strict=False))
    key = 0.24 if len(names) > 1 else 0.0
    columns = 3 if len(panels) % 3 == 0 or len(panels) > 4 else 2
    tall = _HEAD + _PLOT + _FOOT
    sheet = lay.Sheet(title, key + tall * -(-len(panels) // columns) - 0.1, notes)
    _key(sheet, colours) if key else None
    width = (lay.BODY - _BETWEEN * (columns - 1)) / columns
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        _draw(sheet, panel, (column * (width + _BETWEEN), key + row * tall), width, colours)
    return sheet.done()


def _check(panels: Sequence[Panel], names: Sequence[str]) -> None:
    for panel in panels:
        lengths = [len(of) for s in panel.series for of in (s.values, s.low, s.high)]
        if not panel.levels or not {0, len(panel.levels)} >= set(lengths) or not _known(panel):
            raise ArgumentError.of(
                f"panel {panel.heading!r}",
                found=f"{len(panel.levels)} levels, series of lengths {lengths}",
                expected="series with a figure for each level, and at least one of them known",
                mend="pass None where there is no figure, and no panel without any",
            )
    if not panels or len(names) > MAX_SERIES:
        raise ArgumentError.of(
            "panels",
            found=f"{len(panels)} panels with {len(names)} names of series",
            expected=f"at least one panel, and at most {MAX_SERIES} names",
            mend="leave some out",
        )


def _known(panel: Panel) -> list[float]:
    of = (n for s in panel.series for n in (*s.values, *s.low, *s.high))
    return [number for number in of if number is not None and isfinite(number)]


def _key(sheet: lay.Sheet, colours: dict[str, str]) -> None:
    x = 0.0
    for number, (name, colour) in enumerate(colours.items()):
        sheet.rule((x, x + 0.26), 0.06, color=colour, linestyle=_dash(number))
        sheet.write(x + 0.32, 0.06, name)
        x += 0.32 + lay.text_width(name, lay.SMALL) + 0.25


def _dash(number: int) -> Any:
    return lay.DASHES[number % len(lay.DASHES)]


def _draw(
    sheet: lay.Sheet,
    panel: Panel,
    corner: tuple[float, float],
    width: float,
    colours: dict[str, str],
) -> None:
    left, top = corner
    heading = lay.elide(panel.heading, width, lay.LABEL, "bold")
    sheet.write(left, top + 0.08, heading, size=lay.LABEL, weight="bold")
    y, yticks = lay.nice_range(_known(panel), ticks=4, least=0.05)
    last = len(panel.levels) - 1
    shown = _fitting(panel.levels, (width - _SCALE) / (last + 0.7))
    box = (left + _SCALE, top + _HEAD, width - _SCALE, _PLOT)
    axes = sheet.axes(box, (-0.35, last + 0.35), y, xticks=shown, yticks=yticks)
    room = (width - _SCALE) / max(len(shown), 1) - 0.06
    sheet.ticks(axes, "x", shown, [lay.elide(panel.levels[i], room, lay.SMALL) for i in shown])
    if panel.chosen is not None:
        axes.axvline(panel.chosen, **lay.MARK_LINE, zorder=1)
    for number, (name, colour) in enumerate(colours.items()):
        for series in (s for s in panel.series if s.name == name):
            shift = 0.04 * (number - (len(colours) - 1) / 2)
            _line(axes, series, shift, colour, _dash(number))
    axis = lay.elide(panel.axis, width, lay.SMALL)
    below = top + _HEAD + _PLOT + 0.27
    sheet.write(left + width, below, axis, ha="right", color=lay.MUTED)


def _fitting(levels: Sequence[str], each: float) -> list[int]:
    """Positions of the levels whose names have room: few, all, or every second, third or so on."""
    widest = max(lay.text_width(level, lay.SMALL) for level in levels) + 0.08
    step = max(1, -(-widest // each)) if len(levels) > 4 else 1
    return list(range(0, len(levels), int(step)))


def _line(axes: Axes, series: Series, shift: float, colour: str, dash: Any) -> None:
    points = [(x + shift, value) for x, value in enumerate(series.values) if value is not None]
    bars = list(_bars(series, shift))
    if bars:
        x, low, high = zip(*bars, strict=True)
        axes.vlines(x, low, high, colors=colour, linewidth=1.2, alpha=0.5, gid="intervals")
    # Single pieces, since a level without a figure leaves a gap.
    for one, two in pairwise(points):
        if two[0] - one[0] < 1.5:
            ends = zip(one, two, strict=True)
            axes.plot(*ends, color=colour, linestyle=dash, linewidth=1.4, marker="")
    if points:
        axes.plot(
            *zip(*points, strict=True),
            linestyle="none",
            marker="o",
            markersize=3.6,
            markeredgewidth=0,
            color=colour,
            gid=series.name,
            clip_on=False,
        )


def _bars(series: Series, shift: float) -> Iterator[tuple[float, float, float]]:
    ends: Iterable[tuple[float | None, float | None]] = zip(series.low, series.high, strict=True)
    for x, (low, high) in enumerate(ends):
        if low is not None and high is not None:
            yield x + shift, low, high
