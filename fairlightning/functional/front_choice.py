"""Choosing one model of a front, mixing two, and what several seeds attain together.

Costs are `(M, J)`, all to be minimised, as in `fairlightning.functional.pareto`. Choose on
validation and report on test: the chosen model's validation figures are too good by selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.pareto import Array, checked_costs, nondominated


def best_within(costs: ArrayLike, bound: float, *, minimise: int = 0, bounded: int = 1) -> int:
    """Row with the smallest cost of those whose other cost is within a bound.

    With (error, gap) this is the best accuracy under a gap; with `minimise=1, bounded=0` and
    `bound = baseline error + allowed loss`, the best gap under an accuracy loss.

    Args:
        costs: `(M, J)`.
        bound: Largest allowed cost in column `bounded`.
        minimise: Column to be minimised; ties go to the smaller bounded cost.
        bounded: Column that is bounded.

    Raises:
        ArgumentError: If no row is within the bound, or a column does not exist.

    >>> best_within([[0.15, 0.2], [0.16, 0.05], [0.2, 0.01]], 0.1)
    1
    """
    costs = checked_costs(costs)
    for name, column in (("minimise", minimise), ("bounded", bounded)):
        if not 0 <= column < costs.shape[1]:
            raise ArgumentError.of(
                name,
                found=column,
                expected=f"a column from 0 to {costs.shape[1] - 1}",
                mend="count the columns of costs",
            )
    within = np.flatnonzero(costs[:, bounded] <= bound)
    if not within.size:
        raise ArgumentError.of(
            "bound",
            found=bound,
            expected=f"at least {costs[:, bounded].min():g}, the smallest cost of any model",
            mend="loosen the bound, or train further models",
        )
    order = np.lexsort((costs[within, bounded], costs[within, minimise]))
    return int(within[order[0]])


def best_weighted(costs: ArrayLike, weights: Sequence[float]) -> int:
    """Row with the smallest weighted sum of costs, in their own units.

    Only rows on the convex hull of the front can win.

    Args:
        costs: `(M, J)`.
        weights: `(J,)`, at least 0.

    Raises:
        ArgumentError: If weights are negative, or not one for each column.
    """
    costs = checked_costs(costs)
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != costs.shape[1:] or not (found >= 0).all():
        raise ArgumentError.of(
            "weights",
            found=found.tolist(),
            expected=f"{costs.shape[1]} numbers of at least 0",
            mend="pass one weight for each column",
        )
    rows = np.flatnonzero(nondominated(costs))
    return int(rows[np.argmin(costs[rows] @ found)])


def lexicographic(
    costs: ArrayLike, order: Sequence[int], tolerance: float | Sequence[float] = 0.0
) -> int:
    """Row that is best in the first criterion and, of those nearly as good, in the next, and so on.

    At each criterion the rows stay whose cost is within its tolerance of the best that is left
    (lexicographic method with relaxation, Waltz 1967). The answer is never dominated.

    Args:
        costs: `(M, J)`.
        order: Columns, the most important first; those not named have no say.
        tolerance: Allowed loss, in the units of the criterion and at least 0: one number for each
            of `order` but the last, or one for all of these.

    Raises:
        ArgumentError: If `order` names no column, one that does not exist or one twice; or if
            tolerances are negative or of another number.

    >>> lexicographic([[0.15, 0.2], [0.16, 0.05], [0.2, 0.01]], [0, 1], 0.02)
    1
    """
    costs = checked_costs(costs)
    columns = list(order)
    if not columns or len({*columns} & {*range(costs.shape[1])}) != len(columns):
        raise ArgumentError.of(
            "order",
            found=columns,
            expected=f"different columns from 0 to {costs.shape[1] - 1}, at least one",
            mend="name the columns of costs, the most important first",
        )
    stages = len(columns) - 1
    given = np.asarray(tolerance, dtype=np.float64)
    if given.shape not in ((), (stages,)) or not (given >= 0).all():
        raise ArgumentError.of(
            "tolerance",
            found=given.tolist(),
            expected=f"a number of at least 0, or {stages} of them",
            mend="pass one for each of order but the last",
        )
    rows = np.flatnonzero(nondominated(costs))
    for column, allowed in zip(columns[:-1], np.broadcast_to(given, stages), strict=True):
        left = costs[rows, column]
        rows = rows[left <= left.min() + allowed]
    # Ties in the last criterion go back to the first, which a tolerance may have left open.
    keys = [costs[rows, column] for column in (columns[-1], *columns[:-1])]
    return int(rows[np.lexsort(keys[::-1])[0]])


def closest_to_ideal(costs: ArrayLike) -> int:
    """Row nearest to the ideal point, the best of each criterion over the front.

    Distances are Euclidean, with each criterion scaled to [0, 1] over the front (compromise
    programming, Zeleny 1973): the answer depends on which models the front holds.

    Raises:
        ArgumentError: If a cost of the front is not finite.

    >>> closest_to_ideal([[0.0, 1.0], [0.2, 0.3], [1.0, 0.0]])
    1
    """
    costs = checked_costs(costs)
    rows, scaled = _scaled_front(costs)
    return int(rows[np.argmin(np.square(scaled).sum(1))])


def knee(costs: ArrayLike) -> int:
    """Row of the front that lies furthest below the line between its two ends.

    There a small gain in one criterion begins to cost much of the other (Das 1999). For two
    criteria, scaled to [0, 1] over the front. On a front that bulges upwards it is one of the ends,
    the one with the smaller first cost.

    Raises:
        ArgumentError: If there are not two criteria, or a cost of the front is not finite.

    >>> knee([[0.0, 1.0], [0.1, 0.2], [0.6, 0.1], [1.0, 0.0]])
    1
    """
    costs = checked_costs(costs)
    _check_two(costs)
    rows, scaled = _scaled_front(costs)
    # The ends are (0, 1) and (1, 0), so the distance below their line grows with 1 − x − y.
    # Rounding keeps the ends, and whatever lies on the line, from being told apart.
    depth = np.round(1.0 - scaled.sum(1), 12)
    order = np.lexsort((scaled[:, 0], -depth))
    return int(rows[order[0]])


def _scaled_front(costs: Array) -> tuple[np.ndarray, Array]:
    """Rows of the front, and their costs scaled to [0, 1]; 0 where they do not differ."""
    rows = np.flatnonzero(nondominated(costs))
    front = costs[rows]
    if not np.isfinite(front).all():
        raise ArgumentError.of(
            "costs",
            found=f"no finite number in rows {rows[~np.isfinite(front).all(1)].tolist()}",
            expected="finite costs, by whose range they are scaled",
            mend="leave these models out",
        )
    low, width = front.min(0), np.ptp(front, axis=0)
    return rows, (front - low) / np.where(width > 0, width, 1.0)


class Mixture(NamedTuple):
    """Two models of which one is drawn at random for every row that is decided.

    Attributes:
        first: Row of the one model.
        second: Row of the other.
        share: Probability of `first`, in [0, 1].
        costs: `(J,)` the expected costs, share · first + (1 − share) · second.
    """

    first: int
    second: int
    share: float
    costs: Array


def best_mixture(costs: ArrayLike, bound: float) -> Mixture:
    """Randomised mixture of two models with the smallest first cost, its second within a bound.

    Each row is decided by the one model or the other, drawn at random. Rates over rows that do not
    depend on the decision mix linearly: error, selection rate, true and false positive rate,
    accuracy of a group. Their differences between groups *with sign* are the average of the two
    models', and the convex hull of the front can be had. The absolute gap of the mixture is at most
    the average of the absolute gaps, so the second cost is a bound, met in expectation, for
    demographic parity, equal opportunity, equalized odds and accuracy parity. It is *none* for
    predictive parity, treatment equality, calibration or AUROC: the gap of a mixture may exceed
    those of both models. The price of a mixture is that of chance: two people with equal features
    may be decided differently, and the same person differently when asked twice, unless the draw is
    fixed per person. Where a decision must be explained, or equals treated alike, take one model.

    Args:
        costs: `(M, 2)`.
        bound: Largest allowed expected second cost.

    Returns:
        The mixture; one model alone is `share = 1`.

    Raises:
        ArgumentError: If there are not two criteria, or no model is within the bound.

    >>> best_mixture([[0.25, 0.5], [0.5, 0.0]], 0.25).share
    0.5
    """
    costs = checked_costs(costs)
    _check_two(costs)
    best = best_within(costs, bound)
    found = Mixture(best, best, 1.0, costs[best])
    for inside in np.flatnonzero(costs[:, 1] <= bound):
        for outside in np.flatnonzero(costs[:, 1] > bound):
            share = (bound - costs[inside, 1]) / (costs[outside, 1] - costs[inside, 1])
            mixed = share * costs[outside] + (1 - share) * costs[inside]
            if mixed[0] < found.costs[0]:
                found = Mixture(int(outside), int(inside), float(share), mixed)
    return found


def attainment(fronts: Sequence[ArrayLike], *, share: float = 0.5) -> Array:
    """Points that at least a share of the runs attains: one front for several seeds.

    A run attains a point if one of its models is nowhere worse. The surface of share 0.5 is the
    median front (Fonseca and Fleming 1996); averages of fronts would mix models that never were.

    Args:
        fronts: Costs of each run, each `(M_r, 2)`.
        share: In (0, 1]; rounded up to whole runs.

    Returns:
        `(P, 2)` corners of the surface, by increasing first cost; none dominates another. Empty
        if no point with finite costs is attained by so many, which cannot happen with finite costs.

    Raises:
        ArgumentError: Without fronts, with other than two criteria, or a share out of range.

    >>> attainment([[[0.1, 0.3]], [[0.2, 0.2]], [[0.3, 0.1]]]).tolist()
    [[0.2, 0.3], [0.3, 0.2]]
    """
    runs = [checked_costs(front) for front in fronts]
    if not runs or not 0 < share <= 1:
        raise ArgumentError.of(
            "fronts, share",
            found=f"{len(runs)} fronts, {share}",
            expected="at least one front, and a share in (0, 1]",
            mend="pass the costs of every seed, and share=0.5 for the median",
        )
    for run in runs:
        _check_two(run)
    needed = int(np.ceil(share * len(runs) - 1e-9))
    first = np.unique(np.concatenate([run[:, 0] for run in runs]))
    # Best second cost that each run has at a first cost of at most x.
    best = [[run[run[:, 0] <= x, 1].min(initial=np.inf) for x in first] for run in runs]
    second = np.sort(np.asarray(best), axis=0)[needed - 1]
    surface: Array = np.column_stack([first, second])[np.isfinite(second)]
    if len(surface):
        surface = surface[nondominated(surface)]
    return surface


def _check_two(costs: Array) -> None:
    if costs.shape[1] != 2:
        raise ArgumentError.of(
            "costs",
            found=f"{costs.shape[1]} criteria",
            expected="2",
            mend="pass costs[:, [0, 1]], say",
        )
