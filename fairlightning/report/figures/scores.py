"""Scores of every group: how they are distributed, and whether they are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import SMALL_SUPPORT
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words
from fairlightning.report.figures.rows import Line, RowSheet

MAX_HISTOGRAMS = 40
"""Most groups whose score histograms are shown."""

BINS = 25
"""Bins that histograms are drawn with."""

Array = np.ndarray[Any, np.dtype[np.float64]]
_BASE, _HIGH = 0.44, 0.86  # where a histogram stands in its row, and its height
_LABELS = ((lay.VERMILLION, "label 0"), (lay.BLUE, "label 1"))


@dataclass(frozen=True)
class _Scores(words.Ranked):
    """A group with its counts by label and bin; `distance` is between mean scores."""

    counts: Array


def score_histogram_figure(
    edges: ArrayLike,
    counts: ArrayLike,
    group_names: Sequence[str],
    *,
    stage: str,
    attribute: str,
    threshold: float | None = 0.5,
) -> Figure:
    """Show how the scores of every group are distributed, one row per group.

    Each histogram has the same area, whatever the size of the group: with labels, each label of a
    group by itself. Bins are pooled to `BINS` of equal width; what lies in a bin that reaches over
    an edge is shared in proportion. The groups whose mean score lies farthest from that of all
    rows come first, then groups of fewer than `SMALL_SUPPORT` rows, then those without rows. A
    histogram over fewer than `SMALL_SUPPORT` rows is dotted, and not filled.

    Args:
        edges: `(B + 1,)` increasing ends of the bins, scores in [0, 1].
        counts: `(G, B)` rows in each bin, or `(G, 2, B)` by label.
        group_names: `G` names, such as those of `GroupSpec.group_names`.
        stage: The stage, for the title.
        attribute: The attribute whose groups they are.
        threshold: Score from which a row is selected, drawn as a line; None for no line.

    Returns:
        The figure.

    Raises:
        ArgumentError: If shapes do not fit, edges do not increase within [0, 1], or counts are
            negative or not finite.
    """
    ends, table = np.asarray(edges, float), np.asarray(counts, float)
    if table.ndim == 2:
        table = table[:, None]
    _check_histogram(ends, table, group_names)
    rows, left_out = words.rank(
        _score_rows(ends, table, group_names), MAX_HISTOGRAMS, near="nearer to all rows"
    )
    grid = np.linspace(0, 1, BINS + 1)
    labelled = table.shape[1] == 2
    subject = f"Scores by {attribute}" + (" and label" if labelled else "")
    sheet = RowSheet(
        words.title(subject, stage),
        [Line(words.short_name(row.group, attribute), row.support) for row in rows],
        [*left_out, _histogram_note(rows, threshold)],
        row=0.62 if len(rows) <= 6 else 0.42,
    )
    [place] = sheet.panels(1)
    axes = sheet.panel(place, [0.0, 1.0], guide=_BASE)
    shapes = [[_shape(ends, label, grid) for label in row.counts] for row in rows]
    if labelled:
        sheet.key(place, [(color, name) for color, name in _LABELS])
    if threshold is not None:
        axes.axvline(threshold, **lay.MARK_LINE)
    for y, (row, of) in enumerate(zip(rows, shapes, strict=True)):
        # Each row has a scale of its own: a group whose scores are spread would else be flat.
        peak = max((float(shape.max()) for shape in of if shape is not None), default=1.0)
        styles = _LABELS if labelled else ((lay.BLUE, "all"),)
        for shape, mass, (color, name) in zip(of, row.counts.sum(-1), styles, strict=True):
            if shape is not None:
                _histogram(axes, y, grid, shape / peak, color, words.is_small(round(mass)), name)
    return sheet.done()


def _check_histogram(edges: Array, counts: Array, names: Sequence[str]) -> None:
    if (
        counts.ndim != 3
        or counts.shape[1] not in (1, 2)
        or edges.shape != (counts.shape[2] + 1,)
        or len(names) != len(counts)
        or not len(names)
    ):
        raise ArgumentError.of(
            "counts",
            found=f"shape {counts.shape} with {edges.size} edges and {len(names)} names",
            expected="(G, B) or (G, 2, B) with B + 1 edges and G names, G ≥ 1",
            mend="pass one row of counts for every name, and both ends of every bin",
        )
    if not (np.diff(edges) > 0).all() or edges[0] < 0 or edges[-1] > 1:
        raise ArgumentError.of(
            "edges",
            found=f"{edges[0]:g} to {edges[-1]:g}",
            expected="increasing scores in [0, 1]",
            mend="pass probabilities, sigmoid(logit) where bins are of logits",
        )
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ArgumentError.of(
            "counts",
            found="a count that is negative or not finite",
            expected="counts of 0 or more",
            mend="count the rows anew; subtracting histograms is not supported",
        )


def _score_rows(edges: Array, counts: Array, names: Sequence[str]) -> list[_Scores]:
    middle = (edges[1:] + edges[:-1]) / 2
    per_group = counts.sum((1, 2))
    everyone = float((counts.sum((0, 1)) * middle).sum() / max(per_group.sum(), 1e-300))
    means = (counts.sum(1) * middle).sum(-1) / np.maximum(per_group, 1e-300)
    return [
        _Scores(name, int(np.ceil(mass)), abs(float(mean) - everyone) if mass else None, of)
        for name, mass, mean, of in zip(names, per_group, means, counts, strict=True)
    ]


def _shape(edges: Array, counts: Array, grid: Array) -> Array | None:
    total = counts.sum()
    if not total:
        return None
    below = np.concatenate([[0.0], counts.cumsum()])
    shape: Array = np.diff(np.interp(grid, edges, below)) / total
    return shape


def _histogram(
    axes: Axes, row: int, grid: Array, heights: Array, color: str, small: bool, name: str
) -> None:
    base = row + _BASE
    axes.stairs(
        base - _HIGH * heights,
        grid,
        baseline=base,
        color=color,
        fill=False,
        linewidth=1.1,
        linestyle=(0, (1, 1.2)) if small else "-",
        gid="small" if small else "histogram",
        label=name,
    )
    if not small:
        axes.stairs(base - _HIGH * heights, grid, baseline=base, fill=True, color=color, alpha=0.18)


def _histogram_note(rows: Sequence[_Scores], threshold: float | None) -> str:
    labelled = rows[0].counts.shape[0] == 2
    notes = ["Share of the rows of each group" + (" and label" if labelled else "") + " by score."]
    if threshold is not None:
        notes.append(f"Dashed line: selected from {threshold:g} on.")
    if any(words.is_small(round(mass)) for row in rows for mass in row.counts.sum(-1)):
        notes.append(f"Dotted: fewer than {SMALL_SUPPORT} rows.")
    return " ".join(notes)
