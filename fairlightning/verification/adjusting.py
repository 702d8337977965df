"""Predictions after thresholds were adjusted: chosen on validation rows, laid over all rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fairlightning.convex.thresholds import Thresholds, adjusted_thresholds
from fairlightning.exceptions import DataError, check_choice
from fairlightning.groups import GroupSpec, as_labels
from fairlightning.verification.evaluation import numeric_column

Array = npt.NDArray[np.float64]


def adjust_scores(
    frame: pd.DataFrame,
    sensitive: Sequence[str],
    *,
    epsilon: float,
    shared: bool = False,
    score: str = "score",
    target: str = "target",
    weight: str | None = None,
    threshold: float = 0.5,
) -> tuple[pd.DataFrame, Thresholds, list[str]]:
    """Move scores so that the adjusted threshold of each group becomes `threshold`.

    Within a group the order of the rows stays; scores are no probabilities afterwards.

    Args:
        frame: Predictions with a column `split`, in which `val` (or `validation`) marks the rows
            that thresholds are chosen on.
        sensitive: Columns of the attributes whose intersections get thresholds.
        epsilon: Largest difference ≥ 0 between true positive rates on validation rows.
        shared: One threshold for all groups, where decisions may not know the group.
        score: Column of the probabilities.
        target: Column of the labels, 0 or 1.
        weight: Column of row weights.
        threshold: Where the adjusted thresholds come to lie, in (0, 1).

    Returns:
        The table with its scores moved, the thresholds, and the names of the groups.

    Raises:
        ArgumentError: If a column does not exist, or epsilon is negative.
        DataError: If there are no validation rows, or a score, label or weight is out of range.
    """
    for name in (score, target, "split", *sensitive, *([weight] if weight else [])):
        check_choice("column", name, map(str, frame.columns))
    chosen_on = frame["split"].isin(["val", "validation"]).to_numpy()
    if not chosen_on.any():
        raise DataError.of(
            "split",
            found=f"no validation rows, but {', '.join(map(str, frame['split'].unique()))}",
            expected="rows with split val, which thresholds are chosen on",
            mend="predict validation rows too; those chosen on test rows say nothing of others",
        )
    spec = GroupSpec({name: sorted(as_labels(frame[name]).dropna().unique()) for name in sensitive})
    codes = spec.encode(frame)
    scores = numeric_column(frame, "score", score, lambda x: (x >= 0) & (x <= 1), "0 to 1")
    labels = numeric_column(frame, "target", target, lambda x: (x == 0) | (x == 1), "0 or 1")
    weights = None
    if weight:
        known = lambda x: (x >= 0) & (x < np.inf)  # noqa: E731
        weights = numeric_column(frame, "weight", weight, known, "0 or more")
    rows = torch.from_numpy(np.flatnonzero(chosen_on))
    found = adjusted_thresholds(
        scores[rows],
        labels[rows].long(),
        codes[rows],
        spec,
        epsilon=epsilon,
        shared=shared,
        weight=None if weights is None else weights[rows],
    )
    table = torch.cat([found.threshold, found.threshold.new_tensor([found.default])])
    cuts = table[spec.group_ids(codes, spec.names)].numpy()
    moved = _moved(scores.numpy(), cuts, threshold)
    return frame.assign(**{score: moved}), found, spec.group_names(spec.names)


def _moved(scores: Array, cuts: Array, threshold: float) -> Array:
    """Stretch [0, cut) to [0, threshold) and [cut, 1] to [threshold, 1], for each row its cut."""
    selected = scores >= cuts
    # Cuts beyond the ends select nobody or all, so that one of the two parts is empty.
    low = threshold * scores / np.maximum(cuts, np.finfo(float).tiny)
    high = threshold + (1 - threshold) * (scores - cuts) / np.maximum(1 - cuts, 1e-300)
    below = np.minimum(np.nextafter(threshold, 0), low)
    return np.where(selected, np.clip(high, threshold, 1.0), np.clip(below, 0.0, None))
