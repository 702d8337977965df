"""Pareto tools: which of several models are worth keeping, and how good they are together.

Costs are `(M, J)` arrays: M models, J criteria, every one to be *minimised* (error and gap, not
accuracy). A row dominates another if it is nowhere larger and somewhere smaller; equal rows do not
dominate each other. All functions are pure NumPy and work on float64.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlightning.exceptions import ArgumentError, SetupError

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

    Exact: up to 3 criteria by sweeping over the last one, beyond by the library moocore. Rows that
    are not better than the reference in every criterion add nothing.

    Args:
        costs: `(M, J)`.
        reference: `(J,)`, the worst that counts in each criterion.

    Raises:
        ArgumentError: On a reference of another length or with NaN.
        SetupError: With more than 3 criteria, if moocore (extra `pareto`) is not installed.

    >>> round(hypervolume([[0.1, 0.3], [0.2, 0.2]], [0.4, 0.4]), 4)
    0.05
    """
    costs = checked_costs(costs)
    corner = _checked_point("reference", reference, costs.shape[1])
    inside = costs[(costs < corner).all(1)]
    return _volume(inside, corner) if costs.shape[1] <= 3 else _library_volume(inside, corner)


def bounded_front(costs: ArrayLike, keep: int, reference: ArrayLike) -> NDArray[np.int64]:
    """Say which of the rows, met one after another, an archive of bounded size holds in the end.

    A row that an earlier one dominates or equals does not enter; one that enters drives out those
    that it dominates. Once there are too many, the row without which the archive's hypervolume
    shrinks least has to go, the newest of several; so the volume never falls (the archiver AA_S of
    Knowles and Corne 2003). It does not depend on the units of the criteria.

    Args:
        costs: `(M, J)`, the oldest first.
        keep: Largest number of rows ≥ 1.
        reference: `(J,)`, the worst that counts in each criterion. Rows that are not better in all
            are the first to go.

    Returns:
        `(P,)` int64 row numbers, rising, P ≤ `keep`. Given these rows again, it returns them all.

    Raises:
        ArgumentError: On wrong costs or reference, or `keep` below 1.
        SetupError: With more than 3 criteria, if moocore (extra `pareto`) is not installed.

    >>> bounded_front([[0.1, 0.3], [0.2, 0.2], [0.3, 0.19], [0.2, 0.1]], 2, [1.0, 1.0]).tolist()
    [0, 3]
    """
    costs = checked_costs(costs)
    if keep < 1:
        raise ArgumentError.of("keep", found=keep, expected="1 or more", mend="pass keep=20")
    held: list[int] = []
    for row, point in enumerate(costs):
        if (costs[held] <= point).all(1).any():
            continue
        held = [old for old in held if not (point <= costs[old]).all()]
        held.append(row)
        if len(held) > keep:
            without = [[other for other in held if other != row] for row in held]
            volumes = [hypervolume(costs[rest], reference) for rest in without]
            newest = len(held) - 1 - int(np.argmax(volumes[::-1]))
            del held[newest]
    return np.array(held, dtype=np.int64)


def _library_volume(points: Array, corner: Array) -> float:
    try:
        import moocore
    except ImportError as error:
        raise SetupError.of(
            "hypervolume",
            found=f"{len(corner)} criteria, and moocore is not installed",
            expected="moocore, for more than 3 criteria",
            mend='pip install "fairlightning[pareto]"',
        ) from error
    return float(moocore.hypervolume(points, ref=corner)) if len(points) else 0.0


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
