"""A finished front: performance against each gap, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import Record, higher_is_better
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words
from fairlightning.report.fronts import FrontRow

_PLOT, _SCALE, _TOP, _BOTTOM = 3.2, 0.45, 0.44, 0.55  # inches: height, left scale, above, below


def front_figure(
    rows: Sequence[FrontRow],
    title: str,
    *,
    attained: ArrayLike | None = None,
    limit: ArrayLike | None = None,
    height: float = _PLOT,
) -> Figure:
    """Show the models of a front on one stage: performance against every gap.

    With one gap, a line joins what the chosen models attain.

    Args:
        rows: The models, with figures that can be estimated; those that are chosen were so on
            another stage.
        title: What is seen.
        attained: `(P, 2)` performance and gap that half of several seeds attain, drawn as a line in
            place of what single models attain.
        limit: `(L, 2)` performance and gap that no group thresholds can surpass, drawn dotted.
        height: Height of each plot in inches.

    Returns:
        The figure, with a panel for each gap.

    Raises:
        ArgumentError: If there are no models, fewer than two criteria, or a figure is missing.
    """
    if (
        not rows
        or len(rows[0].figures) < 2
        or any(r.value is None for m in rows for r in m.figures)
    ):
        raise ArgumentError.of(
            "rows",
            found=f"{len(rows)} models, or figures that are missing",
            expected="models with performance and at least one gap",
            mend="leave out models whose criteria are not estimable",
        )
    panels = len(rows[0].figures) - 1
    each = _TOP + height + _BOTTOM
    sheet = lay.Sheet(title, panels * each, _notes(rows, panels, attained, limit))
    colours = _colours(rows)
    _key(sheet, colours)
    for gap in range(1, panels + 1):
        lines = {
            "attained": None if panels > 1 else _attained(rows) if attained is None else attained,
            "limit": limit if gap == 1 else None,
        }
        axes = _panel(sheet, rows, gap, ((gap - 1) * each, height), lines)
        for row in rows:
            _draw(axes, row, gap, colours[row.series])
    return sheet.done()


def _panel(
    sheet: lay.Sheet,
    rows: Sequence[FrontRow],
    gap: int,
    place: tuple[float, float],
    lines: dict[str, ArrayLike | None],
) -> Axes:
    top, height = place
    given = {name: np.asarray(line, float) for name, line in lines.items() if line is not None}
    found = [line for line in given.values() if line.size]
    ranges = []
    for axis, column in ((1, gap), (0, 0)):
        values = [end for row in rows for end in _extent(row.figures[column])]
        values += [float(value) for line in found for value in line[:, axis]]
        ranges.append(lay.nice_range(values, ticks=6, least=0.02))
    (x, xticks), (y, yticks) = ranges
    box = (_SCALE, top + _TOP, lay.BODY - _SCALE, height)
    axes = sheet.axes(box, x, y, xticks=xticks, yticks=yticks)
    performance, other = rows[0].figures[0], rows[0].figures[gap]
    sheet.write(0, top + _TOP - 0.16, _label(performance), color=lay.MUTED)
    below = top + _TOP + height + 0.36
    sheet.write(lay.BODY, below, _label(other), ha="right", color=lay.MUTED)
    style: dict[str, Any] = {"color": lay.INK, "linewidth": 1.0, "marker": "", "linestyle": "-"}
    if "attained" in given and given["attained"].size:
        line = given["attained"]
        axes.plot(line[:, 1], line[:, 0], drawstyle="steps-post", gid="attained", **style)
    if "limit" in given:
        line = given["limit"]
        axes.plot(line[:, 1], line[:, 0], gid="limit", **{**style, "linestyle": lay.DASHES[2]})
    return axes


def _draw(axes: Axes, row: FrontRow, gap: int, colour: str) -> None:
    x, y = row.figures[gap].value, row.figures[0].value
    assert x is not None and y is not None
    faint: dict[str, Any] = {
        "color": colour,
        "linewidth": 0.7,
        "alpha": 0.6 if row.chosen or row.baseline else 0.2,
    }
    low, high = _extent(row.figures[gap])[1:]
    axes.hlines(y, low, high, gid="interval", **faint)
    low, high = _extent(row.figures[0])[1:]
    axes.vlines(x, low, high, gid="interval", **faint)
    filled = row.chosen and not row.baseline
    axes.plot(
        [x],
        [y],
        marker="s" if row.baseline else "o",
        markersize=6.5 if row.baseline else 5,
        markerfacecolor=colour if filled else "white",
        markeredgecolor=lay.VERMILLION if row.baseline else colour,
        markeredgewidth=1.4 if row.baseline else 1.0,
        linestyle="",
        gid="baseline" if row.baseline else "chosen" if row.chosen else "other",
        zorder=3,
    )


def _attained(rows: Sequence[FrontRow]) -> np.ndarray:
    """Best performance of the chosen models within each bound on the gap, `(P, 2)`."""
    pairs = [
        [row.figures[0].value or 0.0, row.figures[1].value or 0.0] for row in rows if row.chosen
    ]
    points = np.array(pairs, dtype=float).reshape(-1, 2)
    better = higher_is_better(rows[0].figures[0].metric) is True
    points = points[np.lexsort((points[:, 0], points[:, 1]))]
    best = (np.maximum if better else np.minimum).accumulate(points[:, 0])
    return np.column_stack([best, points[:, 1]])


def _extent(record: Record) -> tuple[float, float, float]:
    """The value, and the ends of its interval, which is the value where one is not known."""
    assert record.value is not None
    ends = (record.value if end is None else end for end in (record.low, record.high))
    low, high = ends
    return record.value, low, high


def _label(record: Record) -> str:
    about = f" ({record.attribute})" if record.attribute else ""
    end = "higher" if higher_is_better(record.metric) else "lower"
    text = f"{words.metric_words(record.metric)}{about}, {end} is better"
    return lay.elide(text, lay.BODY, lay.SMALL)


def _colours(rows: Sequence[FrontRow]) -> dict[str, str]:
    series = list(dict.fromkeys(row.series for row in rows))
    colours = [colour for colour in lay.PALETTE if colour != lay.VERMILLION]
    # More series than colours cannot be told apart; then none is.
    return {
        name: colours[number] if len(series) <= len(colours) else lay.BLUE
        for number, name in enumerate(series)
    }


def _key(sheet: lay.Sheet, colours: dict[str, str]) -> None:
    if len(colours) < 2 or len(set(colours.values())) < len(colours):
        return
    x = 0.0
    for name, colour in colours.items():
        sheet.write(x, 0.08, f"● {name}", color=colour)
        x += lay.text_width(f"● {name}", lay.SMALL) + 0.15


def _notes(
    rows: Sequence[FrontRow], panels: int, attained: ArrayLike | None, limit: ArrayLike | None
) -> list[str]:
    chosen = sum(row.chosen for row in rows)
    notes = [f"● {chosen} models that none dominates on validation. ○ {len(rows) - chosen} others."]
    if any(row.baseline for row in rows):
        notes.append("□ the plain model.")
    if any(words.has_interval(record) for row in rows for record in row.figures):
        notes.append("Thin lines: intervals.")
    if attained is not None:
        notes.append("Line: what at least half of the seeds attain.")
    elif panels == 1:
        notes.append("Line: what the ● attain.")
    if limit is not None:
        notes.append("Dotted: what the plain model's scores could reach with the group known.")
    return [" ".join(notes)]
