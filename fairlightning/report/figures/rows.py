"""Figures with one row per group: names and supports at the left, panels that share the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from fairlightning.metrics import Record
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures.words import has_interval, is_small, number_of

NAMES, BETWEEN = 1.75, 0.16
"""Widths in inches: names of rows at most, and between columns."""

APART = 0.19
"""Distance of two marks of one row from its middle, in rows."""

BASELINE_NOTE = "Orange, above: baseline. Blue, below: intervention."
"""What the colours mean where a baseline is shown."""

_TICKS = 0.22  # inches below the panels
_FEW = 12  # up to so many rows there is room to set them apart


class Line(NamedTuple):
    """What stands at the left of one row.

    Attributes:
        name: Name of the row.
        support: Number of rows behind it; None for a heading.
    """

    name: str
    support: int | None

    @property
    def rows(self) -> str:
        """The support in words."""
        if self.support is None:
            return ""
        return number_of(self.support) if self.support else "no rows"


class RowSheet(lay.Sheet):
    """A sheet whose body is a list of rows beside panels.

    Args:
        title: What is seen, in words.
        lines: The rows, from the top.
        notes: Sentences below the body.
        headings: Most lines that the name of a panel takes, of at most 2; 0 without any.
        row: Height in inches of a row; by default as little as is legible.
    """

    def __init__(
        self,
        title: str,
        lines: Sequence[Line],
        notes: Sequence[str],
        *,
        headings: int = 0,
        row: float | None = None,
    ) -> None:
        names = [lay.wrap(line.name, NAMES, lay.SMALL, lines=2) for line in lines]
        counts = [line.rows for line in lines]
        self._left = _widest(itertools.chain(*names)) + BETWEEN + _widest(counts)
        least = lay.text_height(max(map(len, names), default=1), lay.SMALL) + 0.05
        self.row = max(least, row or (0.27 if len(lines) <= _FEW else least))
        self._header = 0.22 + lay.text_height(headings, lay.LABEL)
        self._lines = len(lines)
        self._guided = [row for row, line in enumerate(lines) if line.support is not None]
        super().__init__(title, self._header + self.row * len(lines) + _TICKS, notes)
        top = self._header - 0.02
        self.write(self._left, top, "rows", ha="right", va="bottom", color=lay.MUTED)
        for number, (line, name) in enumerate(zip(lines, names, strict=True)):
            self._write_row(number, line, name)

    def _write_row(self, number: int, line: Line, name: Sequence[str]) -> None:
        y = self._header + (number + 0.5) * self.row
        self.write(
            0,
            y,
            "\n".join(name),
            va="center_baseline" if len(name) == 1 else "center",
            color=lay.MUTED if line.support == 0 else lay.INK,
            weight="bold" if line.support is None else "normal",
            linespacing=1.15,
        )
        color = lay.INK if line.support else lay.MUTED
        self.write(self._left, y, line.rows, ha="right", va="center_baseline", color=color)

    def panels(self, count: int, *, right: float = 0.0) -> list[tuple[float, float]]:
        """Left end and width of so many panels, beside some room at the right."""
        room = lay.BODY - self._left - right
        width = room / count - BETWEEN
        return [
            (self._left + BETWEEN + number * (width + BETWEEN), width) for number in range(count)
        ]

    def panel(
        self,
        place: tuple[float, float],
        values: Sequence[float],
        *,
        heading: str = "",
        guide: float = 0.0,
    ) -> Axes:
        """Add a panel in which row `i`, from the top, has its middle at `y = i`.

        Args:
            place: Left end and width, from `panels`.
            values: All values that must be seen.
            heading: What the panel is called; wrapped to two lines.
            guide: Where a thin line runs along each row: 0 in its middle, 0.5 at its lower end.
        """
        left, width = place
        limits, ticks = lay.nice_range(values, ticks=3 if width < 2 else 5)
        box = left, self._header, width, self.row * self._lines
        axes = self.axes(box, limits, (self._lines - 0.5, -0.5), xticks=ticks)
        lines = [row + guide for row in self._guided]
        axes.hlines(lines, *limits, colors=lay.GRID, linewidth=0.6, zorder=0.5)
        name = lay.wrap(heading, width + BETWEEN / 2, lay.LABEL, lines=2, weight="bold")
        height = lay.text_height(len(name), lay.LABEL)
        for number, line in enumerate(name):
            y = self._header - 0.2 - height + lay.text_height(number + 1, lay.LABEL)
            self.write(left, y, line, size=lay.LABEL, weight="bold", va="bottom")
        return axes

    def note_panel(self, place: tuple[float, float], text: str) -> None:
        """Write a remark between the heading of a panel and its rows."""
        left, width = place
        note = lay.elide(text, width + BETWEEN / 2, lay.SMALL)
        self.write(left, self._header - 0.02, note, va="bottom", color=lay.MUTED)

    def key(self, place: tuple[float, float], names: Sequence[tuple[str, str]]) -> None:
        """Write what the colours mean, as pairs of colour and name, above the rows."""
        x, y = place[0], self._header - 0.02
        for color, name in names:
            self.rule((x, x + 0.18), y - 0.07, color=color, linewidth=2.2)
            self.write(x + 0.24, y, name, va="bottom", color=lay.MUTED)
            x += 0.24 + lay.text_width(name, lay.SMALL) + 0.2

    def write_beside(self, place: tuple[float, float], row: int, text: str) -> None:
        """Write a text in a row, at the right of a panel."""
        left, width = place
        y = self._header + (row + 0.5) * self.row
        self.write(left + width + BETWEEN / 2, y, text, va="center_baseline")


def _widest(texts: Iterable[str]) -> float:
    return max((lay.text_width(text, lay.SMALL) for text in texts), default=0.0)


def extent(records: Sequence[Record]) -> list[float]:
    """All values and finite ends of intervals."""
    numbers = [n for r in records if r.value is not None for n in (r.value, r.low, r.high)]
    return [number for number in numbers if number is not None and isfinite(number)]


def draw_estimates(
    axes: Axes, rows: Sequence[Record | None], *, baseline: Sequence[Record | None] | None = None
) -> None:
    """Draw a dot and its interval in every row that has a figure; a hollow dot where it is small.

    Where there is a record without a figure, the row says "no rows" or "not estimable".

    Args:
        axes: A panel.
        rows: What is in each row; None where nothing is to be said.
        baseline: The same of a baseline, drawn above it in another colour.
    """
    if baseline is None:
        _draw_all(axes, rows, 0.0, lay.BLUE, words=True)
        return
    # Where neither has a figure, it is said once.
    none = [r is not None and r.value is None for r in rows]
    both = [b is None or b.value is None for b in baseline]
    _draw_all(axes, baseline, -APART, lay.VERMILLION, words=False)
    _draw_all(axes, rows, APART, lay.BLUE, words=False)
    said = [row if a and b else None for row, a, b in zip(rows, none, both, strict=True)]
    _draw_all(axes, said, 0.0, lay.BLUE, words=True)


def _draw_all(
    axes: Axes, rows: Sequence[Record | None], down: float, color: str, *, words: bool
) -> None:
    here = [(y + down, record) for y, record in enumerate(rows) if record is not None]
    for small in (False, True):
        some = [(y, r) for y, r in here if is_small(r.support) == small]
        _draw_some(axes, some, small, color)
    for y, record in here if words else ():
        if record.value is None:
            axes.text(
                sum(axes.get_xlim()) / 2,
                y,
                "not estimable" if record.support else "no rows",
                size=lay.SMALL,
                weight="normal",
                color=lay.MUTED,
                ha="center",
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )


def _draw_some(axes: Axes, rows: Sequence[tuple[float, Record]], small: bool, color: str) -> None:
    start, stop = axes.get_xlim()
    bars = [
        (y, start if r.low is None else r.low, stop if r.high is None else r.high)
        for y, r in rows
        if has_interval(r)
    ]
    if bars:
        y, low, high = zip(*bars, strict=True)
        width = 1.0 if small else 1.8
        drawn = axes.hlines(y, low, high, colors=color, linewidth=width, alpha=0.55)
        drawn.set_gid("intervals")
    # What reaches beyond the panel, or has no end, ends in an arrow.
    for edge, shape, out in (
        (start, "<", [y for y, low, _ in bars if low <= start]),
        (stop, ">", [y for y, _, high in bars if high >= stop]),
    ):
        style: dict[str, Any] = {
            "linestyle": "none",
            "color": color,
            "markersize": 4,
            "clip_on": False,
        }
        if out:
            axes.plot([edge] * len(out), out, marker=shape, gid="beyond", **style)
    dots = [(record.value, y) for y, record in rows if record.value is not None]
    if dots:
        axes.plot(
            *zip(*dots, strict=True),
            linestyle="none",
            marker="o",
            markersize=4.6,
            markeredgewidth=1.0,
            markeredgecolor=color,
            markerfacecolor="white" if small else color,
            gid="small" if small else "estimates",
            clip_on=False,
        )
