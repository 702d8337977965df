"""The look that all figures share, and a sheet that is laid out in inches.

Nothing here changes matplotlib's global settings or knows `pyplot`: figures of a training run are
drawn beside those of the user, in whatever thread. Fonts, colours, sizes and markers are said each
time, so that a style sheet of the user does not reach them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

WIDTH = 6.4
DPI = 125
"""800 pixels wide: the text is still legible where TensorBoard shows the image 600 pixels wide."""

MARGIN = 0.12
BODY = WIDTH - 2 * MARGIN
TITLE, LABEL, SMALL = 10.0, 8.5, 7.5
LINE = 1.35
"""Distance of two lines of text, as a multiple of the font size."""

INK, MUTED, GRID = "#222222", "#666666", "#e2e2e2"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which the colour-blind tell apart, without yellow (light on white)."""

BLUE, VERMILLION = PALETTE[:2]
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
MARK_LINE: dict[str, Any] = {
    "color": INK,
    "linewidth": 0.9,
    "linestyle": (0, (4, 2)),
    "marker": "",
}
"""Look of a line that marks a value: of all rows, of a threshold, of a tolerance."""

FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine draws the same
_FONTS = (FONT, "sans-serif")  # the second one, a setting of the user, for letters it lacks
ELLIPSIS = "…"


class Sheet:
    """A figure of fixed width whose parts are placed in inches from the top left of its body.

    Args:
        title: What is seen, in words; wrapped.
        height: Height of the body, between title and notes, in inches.
        notes: Sentences below the body; wrapped.
    """

    def __init__(self, title: str, height: float, notes: Sequence[str] = ()) -> None:
        head = wrap(title, BODY, TITLE, lines=3, weight="bold")
        foot = [line for note in notes for line in wrap(note, BODY, SMALL, lines=4)]
        self._top = MARGIN + text_height(len(head), TITLE) + 0.1
        gap = 0.1 if foot else 0.0
        total = self._top + height + gap + text_height(len(foot), SMALL) + MARGIN
        self.figure = Figure(figsize=(WIDTH, total), dpi=DPI, facecolor="white", edgecolor="white")
        self.figure.set_layout_engine("none")
        FigureCanvasAgg(self.figure)
        self._height = total
        self._write_lines(MARGIN, head, TITLE, weight="bold")
        self._write_lines(self._top + height + gap, foot, SMALL, color=MUTED)

    def _write_lines(self, top: float, lines: Sequence[str], size: float, **style: Any) -> None:
        for number, line in enumerate(lines):
            y = top + text_height(number, size) - self._top
            self.write(0, y, line, size=size, va="top", **style)

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write a text; `va` and `ha` say which point of it lies at `x`, `y`."""
        style = {
            "size": SMALL,
            "color": INK,
            "va": "center",
            "ha": "left",
            "weight": "normal",
            **style,
        }
        fraction = (MARGIN + x) / WIDTH, 1 - (self._top + y) / self._height
        self.figure.text(*fraction, text, **style)

    def rule(self, x: tuple[float, float], y: float, **style: Any) -> None:
        """Draw a line from left to right, as the keys of curves need it."""
        height = 1 - (self._top + y) / self._height
        ends = [(MARGIN + end) / WIDTH for end in x]
        style = {"linewidth": 1.6, "marker": "", "transform": self.figure.transFigure, **style}
        self.figure.add_artist(Line2D(ends, [height, height], **style))

    def axes(
        self,
        box: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        xticks: Sequence[float] = (),
        yticks: Sequence[float] = (),
    ) -> Axes:
        """Add a plot with grid lines at its ticks and no frame but the lower one.

        Args:
            box: Left, top, width and height in inches.
            x: Limits of the horizontal axis.
            y: Limits of the vertical axis.
            xticks: Ticks of the horizontal axis; without any it is not drawn.
            yticks: Ticks of the vertical axis.
        """
        left, top, width, height = box
        bottom = self._height - self._top - top - height
        rectangle = (
            (MARGIN + left) / WIDTH,
            bottom / self._height,
            width / WIDTH,
            height / self._height,
        )
        axes = self.figure.add_axes(rectangle, facecolor="white")
        axes.set(xlim=x, ylim=y, xscale="linear", yscale="linear")
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set(visible=side == "bottom" and len(xticks) > 0, color=MUTED, linewidth=0.6)
        self.ticks(axes, "x", xticks)
        self.ticks(axes, "y", yticks)
        return axes

    def ticks(
        self, axes: Axes, which: str, ticks: Sequence[float], labels: Sequence[str] | None = None
    ) -> None:
        """Set the ticks of the `"x"` or `"y"` axis, with a grid line at each."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        labels = labels or [f"{tick:g}" for tick in ticks]
        axis.set_ticks(list(ticks), labels=labels, weight="normal")
        axis.set_ticks([], minor=True)
        axis.set_tick_params(
            which="both",
            direction="out",
            length=2.5 if which == "x" else 0,
            width=0.6,
            pad=2,
            color=MUTED,
            labelcolor=MUTED,
            labelsize=SMALL,
            top=False,
            right=False,
            bottom=True,
            left=True,
        )
        axis.grid(visible=True, color=GRID, linewidth=0.6, linestyle="-", alpha=1)

    def done(self) -> Figure:
        """Return the figure, with every text in the font that comes with matplotlib."""
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set(family=_FONTS, usetex=False)
            # A group may be called "$25k to $50k", which is no formula.
            text.set_parse_math(False)
        return self.figure


def text_height(lines: int, size: float) -> float:
    """Height of some lines of text in inches."""
    return lines * size * LINE / 72


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of one line of text in inches, rather a little too wide."""
    # Hinting widens small text, by less than this.
    return 1.03 * size / 72 * sum(_advance(letter, weight) for letter in text)


@lru_cache(maxsize=4096)
def _advance(letter: str, weight: str) -> float:
    # Measured between two letters, since a space alone has no ink. Asking matplotlib for every
    # text anew takes 0.2 ms each, and eliding asks often.
    font = FontProperties(family=FONT, size=100, weight=weight)
    measure = text_to_path.get_text_width_height_descent
    inside, outside = (measure(text, font, ismath=False)[0] for text in (f"n{letter}n", "nn"))
    return float(inside - outside) / 100


def first_fitting(texts: Sequence[str], width: float, size: float) -> str:
    """The first of several texts that fits a width in inches, else the last one.

    >>> first_fitting(["12,345 rows", "12k rows", "12k"], 0.4, 8)
    '12k'
    """
    return next((text for text in texts if text_width(text, size) <= width), texts[-1])


def elide(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Shorten a text to a width in inches, leaving out its middle, with an ellipsis for it.

    >>> elide("Female", 2.0, 8), elide("Asian-Pacific-Islander", 0.8, 8)
    ('Female', 'Asian-…ander')
    """
    text = " ".join(text.split())  # the name of a group may hold a line break
    if text_width(text, size, weight) <= width:
        return text
    # The start says a little more than the end, and both more than the middle.
    for keep in range(len(text) - 1, 1, -1):
        start, end = text[: (keep + 1) // 2].rstrip(), text[len(text) - keep // 2 :].lstrip()
        if text_width(start + ELLIPSIS + end, size, weight) <= width:
            return start + ELLIPSIS + end
    return ELLIPSIS


def wrap(text: str, width: float, size: float, *, lines: int, weight: str = "normal") -> list[str]:
    """Break a text at spaces into at most so many lines of a width in inches, eliding the rest.

    >>> wrap("Other, Asian or Pacific Islander", 1.2, 8, lines=2)
    ['Other, Asian or', 'Pacific Islander']
    """
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size, weight) < width:
            count += 1
        done.append(elide(" ".join(words[:count]), width, size, weight))
        words = words[count:]
    return [*done, elide(" ".join(words), width, size, weight)] if words else done


def nice_range(
    values: Sequence[float], *, ticks: int = 3, least: float = 0.1
) -> tuple[tuple[float, float], list[float]]:
    """Limits that hold all values with some air, at least so far apart, and round ticks in them.

    Limits do not leave [0, 1] as long as the values do not.
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    floor, ceiling = (0.0 if low >= 0 else low - abs(low)), (1.0 if high <= 1 else 2 * high)
    air = max(0.04 * (high - low), (least - (high - low)) / 2)
    limits = max(floor, low - air), min(ceiling, high + air)
    step = 1e-9
    # Room for half a mark at the very edge of [0, 1].
    edge = 0.05 * (limits[1] - limits[0])
    found = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
    inside = [round(float(t), 9) for t in found if limits[0] - step <= t <= limits[1] + step]
    return (limits[0] - edge, limits[1] + edge), inside
