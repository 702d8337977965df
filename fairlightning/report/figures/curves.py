"""Figures over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, nan

from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import readable
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words

MAX_CURVES = len(lay.PALETTE) * len(lay.DASHES)
"""Most curves of one plot that can be told apart."""

_NAMES, _PLOT, _SPACE, _SCALE = 2.1, 1.6, 0.66, 0.4  # inches: names, height, between, left scale

Curves = Mapping[str, Sequence[float]]


def curves_figure(
    history: Mapping[str, Sequence[float | None]], *, first_epoch: int = 0, stage: str = "val"
) -> Figure:
    """Show figures over the epochs: differences between groups above, the others below.

    Args:
        history: For every metric its values, one for each epoch; None or NaN where there is none,
            which leaves a gap in the curve.
        first_epoch: Number of the first epoch.
        stage: The stage, for the title.

    Returns:
        The figure.

    Raises:
        ArgumentError: If there is no curve, none has a value, the lengths differ, or there are
            more than `MAX_CURVES`.
    """
    curves = {
        name: [nan if value is None else float(value) for value in values]
        for name, values in history.items()
    }
    _check(curves)
    gaps = {name: values for name, values in curves.items() if name.endswith("_difference")}
    rest = {name: values for name, values in curves.items() if name not in gaps}
    parts = {"Differences between groups": gaps, "Performance and rates": rest}
    parts = {heading: part for heading, part in parts.items() if part}
    sheet = lay.Sheet(
        words.title("Fairness and performance by epoch", stage),
        len(parts) * (_PLOT + _SPACE) - 0.05,
    )
    for number, (heading, part) in enumerate(parts.items()):
        top = number * (_PLOT + _SPACE)
        sheet.write(0, top, heading, size=lay.LABEL, weight="bold", va="top")
        _draw(sheet, top + 0.26, part, first_epoch)
    right, bottom = lay.BODY - _NAMES, len(parts) * (_PLOT + _SPACE) - 0.12
    sheet.write(right, bottom, "epoch", ha="right", color=lay.MUTED)
    return sheet.done()


def _check(curves: Curves) -> None:
    lengths = sorted({len(values) for values in curves.values()})
    if len(lengths) != 1 or not any(isfinite(v) for values in curves.values() for v in values):
        raise ArgumentError.of(
            "history",
            found=f"{len(curves)} curves of lengths {lengths}, or no value in them",
            expected="at least one curve with a value, all of the same length",
            mend="give one value for each epoch, None where there is none",
        )
    if len(curves) > MAX_CURVES:
        raise ArgumentError.of(
            "history",
            found=f"{len(curves)} curves",
            expected=f"at most {MAX_CURVES}, which can still be told apart",
            mend="leave some out",
        )


def _draw(sheet: lay.Sheet, top: float, curves: Curves, first: int) -> None:
    values = [value for of in curves.values() for value in of if isfinite(value)]
    epochs = len(next(iter(curves.values())))
    y, yticks = lay.nice_range(values, ticks=7, least=0.02)
    last = first + epochs - 1
    _, xticks = lay.nice_range([first, last], ticks=6, least=0)
    width = lay.BODY - _SCALE - _NAMES
    air = max(0.02 * (epochs - 1), 0.5 if epochs == 1 else 0.0)
    axes = sheet.axes(
        (_SCALE, top, width, _PLOT),
        (first - air, last + air),
        y,
        xticks=[tick for tick in xticks if tick == round(tick) and first <= tick <= last]
        or [first],
        yticks=yticks,
    )
    ends = {}
    for number, (name, of) in enumerate(curves.items()):
        color = lay.PALETTE[number % len(lay.PALETTE)]
        axes.plot(
            range(first, last + 1),
            of,
            color=color,
            linestyle=lay.DASHES[number // len(lay.PALETTE)],
            linewidth=1.6,
            marker="o",
            markersize=3 if epochs <= 30 else 0,
            markeredgewidth=0,
            clip_on=False,
            gid=name,
        )
        known = [value for value in of if isfinite(value)]
        if known:
            ends[name] = top + _PLOT * (y[1] - known[-1]) / (y[1] - y[0])
    step = lay.text_height(1, lay.SMALL)
    for name, height in _spread(ends, step, top, top + _PLOT).items():
        number = list(curves).index(name)
        color = lay.PALETTE[number % len(lay.PALETTE)]
        dash = lay.DASHES[number // len(lay.PALETTE)]
        left = _SCALE + width + 0.08
        sheet.rule((left, left + 0.22), height, color=color, linestyle=dash)
        text = readable(name)
        text = lay.elide(text[0].upper() + text[1:], _NAMES - 0.36, lay.SMALL)
        sheet.write(left + 0.28, height, text)


def _spread(ends: Mapping[str, float], step: float, top: float, bottom: float) -> dict[str, float]:
    # From the highest down, each at least one line below the one before; then up from the lowest.
    placed = dict(sorted(ends.items(), key=lambda item: item[1]))
    names = list(placed)
    for one, two in pairwise(names):
        placed[two] = max(placed[two], placed[one] + step)
    over = bottom + step
    for name in reversed(names):
        placed[name] = over = min(placed[name], over - step)
    lift = max(0.0, top - min(placed.values(), default=top))
    return {name: height + lift for name, height in placed.items()}
