"""Maps of cells, one per panel, with a figure and its support written in every cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fairlightning.metrics import Record
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words

_NAMES, _WIDEST, _LINE = 1.4, 1.25, 0.155  # inches: row names, widest cell, a line in a cell
_KEY = 0.42  # inches: the key of the colours
_TURNED = 1.1  # inches: the longest name of a column that stands upright
_COLORS = colormaps["PuOr"]  # which the colour-blind see, too

RGB = tuple[float, float, float]
Cell = tuple[str, ...]


class Axis(NamedTuple):
    """One attribute of a map.

    Attributes:
        name: Name of the attribute; empty where there is none.
        categories: Those that are shown.
        left_out: How many are not.
    """

    name: str
    categories: tuple[str, ...]
    left_out: int


class Scale(NamedTuple):
    """Colours of figures from `low` to `high`, white at `center`, which is the value of `words`."""

    center: float
    low: float
    high: float
    words: str

    def color(self, value: float) -> RGB:
        """Colour of a value."""
        reach = max(self.high - self.center, self.center - self.low, 0.01)
        # The very ends of the map are too dark to be told apart.
        return to_rgb(_COLORS(0.5 + 0.4 * (value - self.center) / reach))


class _Grid(NamedTuple):
    """Sizes of the maps in inches, and the lines of the names of their columns and rows."""

    left: float
    width: float
    height: float
    caption: float
    head: float
    columns: list[list[str]]
    rows: list[list[str]]
    upright: bool
    ends: bool
    prefix: str

    @property
    def tall(self) -> float:
        return self.caption + self.head + self.height * len(self.rows) + 0.14


def heat_map(
    subject: str,
    stage: str,
    level: float | None,
    notes: Sequence[str],
    axes: tuple[Axis, Axis, Axis],
    cells: Mapping[Cell, Record],
    scale: Scale,
) -> Figure:
    """Draw a map for every panel.

    Args:
        subject: What is seen, in words.
        stage: The stage, for the title.
        level: Level of the intervals; None without intervals.
        notes: Sentences below the maps.
        axes: Panels, columns and rows; a panel without a name has no heading.
        cells: Records by the categories of panel, column and row.
        scale: Colours of the figures.
    """
    panels, columns, rows = axes
    grid = _grid(panels, columns, rows, cells.values(), level is not None)
    title = words.title(subject, stage, level if grid.ends else None)
    sheet = lay.Sheet(title, _KEY + grid.tall * len(panels.categories), notes)
    _key(sheet, scale)
    for number, panel in enumerate(panels.categories):
        top = _KEY + number * grid.tall
        if panels.name:
            name = lay.elide(f"{panels.name}: {panel}", lay.BODY, lay.LABEL, "bold")
            sheet.write(0, top, name, size=lay.LABEL, weight="bold", va="top")
        top += grid.caption + grid.head
        _names(sheet, top, grid, columns.name, rows.name)
        box = grid.left, top, grid.width * len(grid.columns), grid.height * len(grid.rows)
        plot = sheet.axes(box, (0, len(grid.columns)), (len(grid.rows), 0))
        for y, row in enumerate(rows.categories):
            for x, column in enumerate(columns.categories):
                _cell(plot, (x, y), cells.get((panel, column, row)), scale, grid)
    return sheet.done()


def _grid(
    panels: Axis, columns: Axis, rows: Axis, cells: Collection[Record], intervals: bool
) -> _Grid:
    names = [lay.wrap(name, _NAMES, lay.SMALL, lines=2) for name in rows.categories]
    texts = [*(line for name in names for line in name), lay.elide(rows.name, _NAMES, lay.SMALL)]
    left = max(lay.text_width(text, lay.SMALL) for text in texts) + 0.12
    width = min(_WIDEST, (lay.BODY - left) / len(columns.categories))
    ends = intervals and width > lay.text_width("0.000, 0.000", lay.SMALL) + 0.08
    heads = [lay.wrap(name, width - 0.06, lay.SMALL, lines=3) for name in columns.categories]
    upright = any(lay.ELLIPSIS in line for head in heads for line in head)
    if upright:
        heads = [[lay.elide(name, _TURNED, lay.SMALL)] for name in columns.categories]
        tallest = max(lay.text_width(name[0], lay.SMALL) for name in heads)
    else:
        tallest = lay.text_height(max(map(len, heads)), lay.SMALL)
    head = tallest + 0.08 + lay.text_height(1, lay.SMALL)
    caption = lay.text_height(1, lay.LABEL) + 0.06 if panels.name else 0.0
    height = _LINE * (3 if ends else 2) + 0.12
    most = max((record.support for record in cells), default=0)
    fits = lay.text_width(f"n {words.number_of(most)}", lay.SMALL) < width - 0.05
    prefix = "n " if fits else ""
    return _Grid(left, width, height, caption, head, heads, names, upright, ends, prefix)


def _names(sheet: lay.Sheet, top: float, grid: _Grid, columns: str, rows: str) -> None:
    width = grid.width * len(grid.columns)
    name = lay.elide(columns, width, lay.SMALL)
    above = {"color": lay.MUTED, "style": "italic"}
    sheet.write(grid.left + width / 2, top - grid.head, name, ha="center", va="top", **above)
    sheet.write(0, top - 0.04, lay.elide(rows, _NAMES, lay.SMALL), va="bottom", **above)
    for column, lines in enumerate(grid.columns):
        sheet.write(
            grid.left + (column + 0.5) * grid.width,
            top - 0.04,
            "\n".join(lines),
            ha="center",
            va="bottom",
            rotation=90 if grid.upright else 0,
            linespacing=1.15,
        )
    for row, lines in enumerate(grid.rows):
        sheet.write(0, top + (row + 0.5) * grid.height, "\n".join(lines), linespacing=1.15)


def _cell(
    axes: Axes, corner: tuple[int, int], record: Record | None, scale: Scale, grid: _Grid
) -> None:
    value = None if record is None else record.value
    small = record is not None and value is not None and words.is_small(record.support)
    fill = (1.0, 1.0, 1.0) if value is None or small else scale.color(value)
    x, y = corner
    axes.add_patch(
        Rectangle(
            (x + 0.02, y + 0.03),
            0.96,
            0.94,
            facecolor=fill,
            edgecolor=lay.GRID if value is None else lay.MUTED if small else fill,
            linewidth=0.8,
            linestyle=(0, (3, 2)) if small else "-",
            hatch="////" if value is None else None,
            gid="absent" if value is None else "small" if small else "cell",
        )
    )
    lines = _lines(record, grid)
    color = lay.MUTED if value is None else lay.INK if _bright(fill) else "white"
    for number, line in enumerate(lines):
        first = number == 0 and value is not None
        # Lines are spread around the middle; a baseline sits a little below it.
        down = 0.5 + (number - (len(lines) - 1) / 2) * _LINE / grid.height
        axes.text(
            x + 0.5,
            y + down,
            line,
            size=lay.LABEL if first else lay.SMALL,
            weight="bold" if first else "normal",
            color=color,
            ha="center",
            va="center_baseline",
        )


def _lines(record: Record | None, grid: _Grid) -> list[str]:
    room = grid.width - 0.05
    if record is None or record.value is None:
        texts = ["not estimable", "n. e."] if record is not None and record.support else ["no rows"]
        return [lay.first_fitting([*texts, ""], room, lay.SMALL)]
    mark = "†" if words.is_small(record.support) else ""
    values = [f"{record.value:.3f}{mark}", f"{record.value:.3g}{mark}"]
    lines = [lay.first_fitting(values, room, lay.LABEL)]
    if grid.ends and words.has_interval(record):
        lines.append(lay.elide(words.interval(record), room, lay.SMALL))
    rows = record.support
    numbers = [grid.prefix + words.number_of(rows), f"{rows / 1e3:,.0f}k"]
    return [*lines, lay.first_fitting(numbers, room, lay.SMALL)]


def _bright(color: RGB) -> bool:
    # Relative luminance of WCAG 2, at which black and white text have the same contrast.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    weights = (0.2126, 0.7152, 0.0722)
    return sum(w * c for w, c in zip(weights, linear, strict=True)) > 0.21


def _key(sheet: lay.Sheet, scale: Scale) -> None:
    steps, width = 61, 2.0
    axes = sheet.axes((0, 0.02, width, 0.13), (0, steps), (0, 1))
    for step in range(steps):
        value = scale.low + (scale.high - scale.low) * (step + 0.5) / steps
        axes.axvspan(step, step + 1, color=scale.color(value), linewidth=0)
    sheet.write(0, 0.18, f"{scale.low:.3f}", va="top", color=lay.MUTED)
    sheet.write(width, 0.18, f"{scale.high:.3f}", ha="right", va="top", color=lay.MUTED)
    white = f"white: {scale.words}, {scale.center:.3f}"
    sheet.write(width + 0.15, 0.085, white, color=lay.MUTED)
