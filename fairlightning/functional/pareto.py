"""Pareto tools: which of several models are worth keeping, and how good they are together.

Costs are `(M, J)` arrays: M models, J criteria, every one to be *minimised* (error and gap, not
accuracy). A row dominates another if it is nowhere larger and somewhere smaller; equal rows do not
dominate each other. All functions are pure NumPy and work on float64.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlightning.exceptions import ArgumentError

Array: TypeAlias = NDArray[np.float64]


def checked_costs(costs: ArrayLike) -> Array:
    """Bring costs into the form `(M, J)` float64.

    Raises:
        ArgumentError: If they have another shape, are none, or hold NaN.
    """
    found = np.asarray(costs, dtype=np.float64)
    if found.ndim != 2 or found.size == 0:
        raise ArgumentError.of(
            "costs",
            found=f"shape {found.shape}",
            expected="(M, J): at least one model and one criterion",
            mend="pass one row per model, np.column_stack([error, gap])",
        )
    if np.isnan(found).any():
        raise ArgumentError.of(
            "costs",
            found=f"NaN in rows {np.flatnonzero(np.isnan(found).any(1)).tolist()}",
            expected="numbers",
            mend="leave models out whose criteria could not be estimated",
        )
    return found


def nondominated(costs: ArrayLike) -> NDArray[np.bool_]:
    """Tell which rows no other row dominates.

    Args:
        costs: `(M, J)`.

    Returns:
        `(M,)` bool. Of equal rows all are marked.

    Raises:
        ArgumentError: On costs of another shape or with NaN.

    >>> nondominated([[0.1, 0.3], [0.2, 0.2], [0.2, 0.3]]).tolist()
    [True, True, False]
    """
    costs = checked_costs(costs)
    # Sorted by their sums, a row can be dominated by earlier ones only, and then also by one that
    # is kept.
    order = np.lexsort((*costs.T, costs.sum(1)))
    mask = np.zeros(len(costs), dtype=bool)
    kept = costs[:0]
    for row in order:
        point = costs[row]
        beaten = (kept <= point).all(1) & (kept < point).any(1)
        if not beaten.any():
            mask[row] = True
            kept = np.vstack([kept, point])
    return mask


def nondominated_sort(costs: ArrayLike) -> NDArray[np.int64]:
    """Rank rows by layers: 0 for the front, 1 for the front of what is left, and so on.

    Args:
        costs: `(M, J)`.

    Returns:
        `(M,)` ranks (the non-dominated sort of Deb et al. 2002, NSGA-II).

    Raises:
        ArgumentError: On costs of another shape or with NaN.

    >>> nondominated_sort([[0.1, 0.3], [0.2, 0.3], [0.3, 0.4]]).tolist()
    [0, 1, 2]
    """
    costs = checked_costs(costs)
    ranks = np.full(len(costs), -1, dtype=np.int64)
    rank = 0
    while (left := np.flatnonzero(ranks < 0)).size:
        ranks[left[nondominated(costs[left])]] = rank
        rank += 1
    return ranks


def hypervolume(costs: ArrayLike, reference: ArrayLike) -> float:
    """Volume between the front and a reference point: what is dominated, and still better than it.

    Exact, by sweeping over the last criterion. Rows that are not better than the reference in every
    criterion add nothing.

    Args:
        costs: `(M, J)` with J = 1, 2 or 3.
        reference: `(J,)`, the worst that counts in each criterion.

    Raises:
        ArgumentError: On more than 3 criteria, or a reference of another length or with NaN.

    >>> round(hypervolume([[0.1, 0.3], [0.2, 0.2]], [0.4, 0.4]), 4)
    0.05
    """
    costs = checked_costs(costs)
    corner = _checked_point("reference", reference, costs.shape[1])
    if costs.shape[1] > 3:
        raise ArgumentError.of(
            "costs",
            found=f"{costs.shape[1]} criteria",
            expected="at most 3, for which the volume is computed exactly",
            mend="leave criteria out, or use a library such as moocore",
        )
    inside = costs[(costs < corner).all(1)]
    return _volume(inside, corner)


def _volume(points: Array, corner: Array) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    if points.shape[1] == 2:
        best = np.minimum.accumulate(points[:, 0])
        heights = np.diff(np.append(points[:, 1], corner[1]))
        return float(((corner[0] - best) * heights).sum())
    heights = np.diff(np.append(points[:, -1], corner[-1]))
    slices = (_volume(points[: i + 1, :-1], corner[:-1]) for i in range(len(points)))
    return float(sum(h * area for h, area in zip(heights, slices, strict=True) if h > 0))


def _checked_point(name: str, point: ArrayLike, length: int) -> Array:
    found = np.asarray(point, dtype=np.float64)
    if found.shape != (length,) or np.isnan(found).any():
        raise ArgumentError.of(
            name,
            found=found.tolist(),
            expected=f"one number for each of the {length} criteria",
            mend=f"pass {length} numbers in the order of the columns",
        )
    return found
