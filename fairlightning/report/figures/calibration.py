"""Reliability curves: how often rows of a score turn out positive, in every group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import SMALL_SUPPORT
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words

MAX_OVERLAID = len(lay.PALETTE)
"""Most groups whose curves share one plot."""

MAX_CURVES = 24
"""Most groups whose curves are shown, each in a plot of its own."""

_COLUMNS = 4
_CELL = lay.BODY / _COLUMNS
_SIDE = _CELL - 0.3  # inches: a plot of one group
_PLOT, _BELOW, _SCALE = 3.1, 0.95, 0.5  # inches: side of the plot, height of supports, left scale
_TICKS = (0, 0.25, 0.5, 0.75, 1)
_GRID = (
    [0, 0, np.nan, 0.5, 0.5, np.nan, 1, 1, np.nan, 0, 1, np.nan, 0, 1, np.nan, 0, 1],
    [0, 1, np.nan, 0, 1, np.nan, 0, 1, np.nan, 0, 0, np.nan, 0.5, 0.5, np.nan, 1, 1],
)
_THIN: dict[str, Any] = {"color": lay.GRID, "linewidth": 0.6, "linestyle": "-", "marker": ""}

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class _Curve(words.Ranked):
    """A group with its bins that are not empty; `distance` is its calibration error."""

    score: Array
    rate: Array
    rows: Array


def calibration_figure(
    mean_score: ArrayLike,
    positive_rate: ArrayLike,
    support: ArrayLike,
    group_names: Sequence[str],
    *,
    stage: str,
    attribute: str,
) -> Figure:
    """Show the share of positives against the mean score, by bin of scores, for every group.

    Up to `MAX_OVERLAID` groups share one plot, with the rows of each bin below it; more have one
    plot each, in which bars at the bottom show how the rows are distributed. The group with the
    largest mean distance from the diagonal, weighted by rows, comes first (it is the expected
    calibration error over these bins), then groups of fewer than `SMALL_SUPPORT` rows, then those
    without rows. Empty bins are left out; a bin of fewer than `SMALL_SUPPORT` rows is hollow.

    Args:
        mean_score: `(G, B)` mean score of the rows in each bin, in [0, 1]; ignored in empty bins.
        positive_rate: `(G, B)` share of positives in each bin, in [0, 1]; ignored in empty bins.
        support: `(G, B)` rows in each bin.
        group_names: `G` names, such as those of `GroupSpec.group_names`.
        stage: The stage, for the title.
        attribute: The attribute whose groups they are.

    Returns:
        The figure.

    Raises:
        ArgumentError: If shapes do not fit, or a number is out of its range.
    """
    arrays = [np.asarray(array, float) for array in (mean_score, positive_rate, support)]
    _check(arrays, group_names)
    curves, left_out = words.rank(
        [_curve(name, *of) for name, *of in zip(group_names, *arrays, strict=True)],
        MAX_CURVES,
        near="better calibrated",
    )
    title = words.title(f"Share of positives against score by {attribute}", stage)
    notes = [*left_out, _note(curves)]
    if len(group_names) > MAX_OVERLAID:
        return _apart(title, notes, curves, attribute)
    return _overlaid(title, notes, curves, attribute)


def _check(arrays: Sequence[Array], names: Sequence[str]) -> None:
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or not 0 < len(names) == shapes[0][0]:
        raise ArgumentError.of(
            "support",
            found=f"shapes {shapes} with {len(names)} names",
            expected="(G, B) three times with G names, G ≥ 1",
            mend="pass one row of bins for every name",
        )
    score, rate, support = arrays
    if not (np.isfinite(support) & (support >= 0)).all():
        raise ArgumentError.of(
            "support",
            found="a number of rows that is negative or not finite",
            expected="0 or more rows in every bin",
            mend="pass 0 for an empty bin",
        )
    for name, array in (("mean_score", score), ("positive_rate", rate)):
        known = array[support > 0]
        if not ((known >= 0) & (known <= 1)).all():
            raise ArgumentError.of(
                name,
                found="a value outside [0, 1], or NaN, in a bin that has rows",
                expected="0 to 1",
                mend="pass probabilities, not logits",
            )


def _curve(name: str, score: Array, rate: Array, support: Array) -> _Curve:
    kept = support > 0
    score, rate, support = score[kept], rate[kept], support[kept]
    total = float(support.sum())
    error = float((np.abs(score - rate) * support).sum() / total) if total else None
    return _Curve(name, int(np.ceil(total)), error, score, rate, support)


def _note(curves: Sequence[_Curve]) -> str:
    note = (
        "On the dashed diagonal a score of 0.7 means that 7 of 10 are positive. "
        "Off by: mean distance from it, in share of positives."
    )
    if any((curve.rows < SMALL_SUPPORT).any() for curve in curves):
        note += f" {words.SMALL_NOTE}"
    return note


def _draw(axes: Axes, curve: _Curve, values: Array, color: str, dash: Any, **style: Any) -> None:
    small = curve.rows < SMALL_SUPPORT
    faint = words.is_small(curve.support)
    axes.plot(
        curve.score,
        values,
        color=color,
        linestyle=dash,
        linewidth=0.8 if faint else 1.4,
        alpha=0.6 if faint else 1,
        marker="",
        **style,
    )
    for kind, name in ((small, "small"), (~small, "bins")):
        axes.plot(
            curve.score[kind],
            values[kind],
            linestyle="none",
            marker="o",
            markersize=4.2,
            markeredgewidth=1.0,
            markeredgecolor=color,
            markerfacecolor="white" if name == "small" else color,
            clip_on=False,
            gid=name,
            **style,
        )


def _diagonal(axes: Axes, **style: Any) -> None:
    axes.plot([0, 1], [0, 1], **{**lay.MARK_LINE, "color": lay.MUTED}, **style)


def _overlaid(title: str, notes: Sequence[str], curves: Sequence[_Curve], attribute: str) -> Figure:
    plot = (_SCALE, 0.22, _PLOT, _PLOT)
    below = (_SCALE, 0.22 + _PLOT + 0.5, _PLOT, _BELOW)
    sheet = lay.Sheet(title, below[1] + _BELOW + 0.42, notes)
    sheet.write(0, 0, "share of positives", va="top", color=lay.MUTED)
    sheet.write(0, below[1] - 0.22, "rows in each bin", va="top", color=lay.MUTED)
    sheet.write(_SCALE + _PLOT, below[1] + _BELOW + 0.32, "mean score", ha="right", color=lay.MUTED)
    limits = (-0.03, 1.03)
    axes = sheet.axes(plot, limits, limits, xticks=_TICKS, yticks=_TICKS)
    _diagonal(axes)
    most = max((float(curve.rows.max()) for curve in curves if curve.support), default=10.0)
    top = max(2, int(np.ceil(np.log10(most))))
    decades = [10.0**power for power in range(0, top + 1, 1 + top // 4)]
    supports = sheet.axes(below, limits, (0.7, 1.5 * 10.0**top), xticks=_TICKS)
    supports.set_yscale("log")
    sheet.ticks(supports, "y", decades, [words.number_of(decade) for decade in decades])
    supports.axhline(
        SMALL_SUPPORT, **{**lay.MARK_LINE, "color": lay.MUTED, "linestyle": (0, (1, 1.5))}
    )
    left = _SCALE + _PLOT + 0.25
    for number, curve in enumerate(curves):
        color, dash = lay.PALETTE[number], lay.DASHES[number % len(lay.DASHES)]
        _draw(axes, curve, curve.rate, color, dash)
        _draw(supports, curve, curve.rows, color, dash)
        _name(sheet, (left, plot[1] + 0.1 + 0.5 * number), curve, attribute, color, dash)
    return sheet.done()


def _name(
    sheet: lay.Sheet,
    place: tuple[float, float],
    curve: _Curve,
    attribute: str,
    color: str,
    dash: Any,
) -> None:
    x, y = place
    room = lay.BODY - x - 0.4
    if curve.support:
        sheet.rule((x, x + 0.28), y, color=color, linestyle=dash)
    name = lay.elide(words.short_name(curve.group, attribute), room, lay.LABEL)
    sheet.write(x + 0.36, y, name, size=lay.LABEL, color=lay.INK if curve.support else lay.MUTED)
    sheet.write(x + 0.36, y + 0.18, _size(curve), color=lay.MUTED)


def _size(curve: _Curve) -> str:
    if curve.distance is None:
        return "no rows"
    return f"{words.number_of(curve.support)} rows, off by {curve.distance:.3f}"


def _apart(title: str, notes: Sequence[str], curves: Sequence[_Curve], attribute: str) -> Figure:
    names = [
        lay.wrap(words.short_name(curve.group, attribute), _CELL - 0.14, lay.SMALL, lines=2)
        for curve in curves
    ]
    head = lay.text_height(max(map(len, names)) + 1, lay.SMALL) + 0.1
    tall = head + _SIDE + 0.34
    height = tall * -(-len(curves) // _COLUMNS)
    sheet = lay.Sheet(title, height, notes)
    # One plot in inches: a plot for every group would take ten times as long.
    axes = sheet.axes((0, 0, lay.BODY, height), (0, lay.BODY), (height, 0))
    for number, (curve, lines) in enumerate(zip(curves, names, strict=True)):
        row, column = divmod(number, _COLUMNS)
        x, y = column * _CELL, row * tall
        color = lay.INK if curve.support else lay.MUTED
        size_at = y + head - 0.1 - lay.text_height(1, lay.SMALL)
        sheet.write(x, size_at, "\n".join(lines), color=color, va="bottom", linespacing=1.15)
        sheet.write(x, size_at + 0.02, _size(curve), color=lay.MUTED, va="top")
        if curve.support:
            _panel(sheet, axes, (x + 0.16, y + head + _SIDE), curve)
    return sheet.done()


def _panel(sheet: lay.Sheet, axes: Axes, corner: tuple[float, float], curve: _Curve) -> None:
    left, bottom = corner
    moved = Affine2D().scale(_SIDE, -_SIDE).translate(left, bottom) + axes.transData
    style = {"color": lay.MUTED, "size": lay.SMALL - 0.5}
    axes.plot(*_GRID, **_THIN, transform=moved)
    for tick in (0, 0.5, 1):
        sheet.write(left + _SIDE * tick, bottom + 0.04, f"{tick:g}", ha="center", va="top", **style)
        sheet.write(left - 0.04, bottom - _SIDE * tick, f"{tick:g}", ha="right", **style)
    bars = 0.25 * curve.rows / curve.rows.max()
    at, none = curve.score, np.full(len(bars), np.nan)
    axes.plot(
        np.stack([at, at, none], 1).ravel(),
        np.stack([0 * bars, bars, none], 1).ravel(),
        color=lay.MUTED,
        linewidth=2.2,
        alpha=0.45,
        marker="",
        solid_capstyle="butt",
        transform=moved,
    )
    _diagonal(axes, transform=moved)
    _draw(axes, curve, curve.rate, lay.BLUE, "-", transform=moved)
