"""The front of a training run at one moment: what is kept, and the models of the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words

_PLOT, _SCALE, _TOP, _BOTTOM = 3.0, 0.45, 0.24, 0.5  # inches: height, left scale, above, below
_KEPT, _EPOCH = "kept", "epoch"


def epoch_front_figure(
    kept: ArrayLike,
    models: ArrayLike,
    names: Sequence[str],
    better: Sequence[str] = ("max", "min"),
    *,
    epoch: int,
    stage: str = "val",
    line: bool = True,
) -> Figure:
    """Show two criteria of the models of an epoch, and of those that are kept so far.

    Args:
        kept: `(P, 2)` criteria of the models that are kept; may be empty.
        models: `(M, 2)` criteria of the models of the epoch; may be empty.
        names: Names of the two criteria: that of the vertical axis, then that of the horizontal.
        better: The better end of each, `max` or `min`.
        epoch: Number of the epoch, for the title.
        stage: The stage, for the title.
        line: Join the kept models by the line of what they attain. It misleads if they are kept for
            a third criterion.

    Returns:
        The figure.

    Raises:
        ArgumentError: If there are no models at all, or not two finite criteria.
    """
    for end in better:
        check_choice("better", end, ("max", "min"))
    held, new = _checked("kept", kept), _checked("models", models)
    shown = np.concatenate([held, new])
    if not len(shown):
        raise ArgumentError.of(
            "kept, models", found="none", expected="at least one model", mend="draw no figure"
        )
    sheet = lay.Sheet(
        words.title(f"Front at epoch {epoch}", stage),
        _TOP + _PLOT + _BOTTOM,
        [f"● kept so far: {len(held)}. ○ models of this epoch: {len(new)}."],
    )
    (y, yticks), (x, xticks) = (
        lay.nice_range(shown[:, j].tolist(), ticks=6, least=0.02) for j in (0, 1)
    )
    width = lay.BODY - _SCALE
    axes = sheet.axes((_SCALE, _TOP, width, _PLOT), x, y, xticks=xticks, yticks=yticks)
    for column, (name, end) in enumerate(zip(names, better, strict=True)):
        text = f"{name} ({'higher' if end == 'max' else 'lower'} is better)"
        text = lay.elide(text[0].upper() + text[1:], lay.BODY, lay.SMALL)
        if column == 0:
            sheet.write(0, 0.04, text, color=lay.MUTED)
        else:
            sheet.write(lay.BODY, _TOP + _PLOT + 0.36, text, ha="right", color=lay.MUTED)
    if line:
        _attained(axes, held, better)
    _dots(axes, new, _EPOCH, markerfacecolor="white", markeredgecolor=lay.MUTED, markersize=5.5)
    _dots(axes, held, _KEPT, markerfacecolor=lay.BLUE, markeredgecolor=lay.BLUE, markersize=5)
    return sheet.done()


def _checked(argument: str, points: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(points, dtype=np.float64)
    if not found.size:
        return np.empty((0, 2))
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise ArgumentError.of(
            argument,
            found=f"shape {found.shape}, or numbers that are not finite",
            expected="two finite criteria of each model",
            mend="pass values[:, [0, 1]]",
        )
    return found


def _dots(axes: Axes, points: NDArray[np.float64], gid: str, **style: object) -> None:
    axes.plot(
        points[:, 1],
        points[:, 0],
        linestyle="",
        marker="o",
        markeredgewidth=1.0,
        clip_on=False,
        gid=gid,
        **style,  # type: ignore[arg-type]
    )


def _attained(axes: Axes, kept: NDArray[np.float64], better: Sequence[str]) -> None:
    """Draw the best vertical value within each bound on the horizontal one."""
    order = np.argsort(kept[:, 1])
    # Where small is better one walks up from the left, else down from the right; and a value holds
    # until the next one is reached.
    if better[1] == "max":
        order = order[::-1]
    axes.plot(
        kept[order, 1],
        kept[order, 0],
        drawstyle="steps-post",
        color=lay.BLUE,
        linewidth=1.0,
        linestyle="-",
        marker="",
        gid="attained",
    )
