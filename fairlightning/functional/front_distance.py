"""How far a front stays behind another, such as the limit line of its scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.pareto import Array, checked_costs, hypervolume


class FrontDistance(NamedTuple):
    """How far a front stays behind a limit.

    Attributes:
        share: Hypervolume of the front as a share of the window; above 1 if it leaves the window on
            its better side.
        limit: That of the limit.
        bounds: `(P,)` second cost of the limit's rows within the window, rising.
        excess: `(P,)` by how much the front's smallest first cost under this bound exceeds the
            limit's; negative where the front is ahead, ∞ where no model keeps the bound.
    """

    share: float
    limit: float
    bounds: Array
    excess: Array

    @property
    def difference(self) -> float:
        """Hypervolume that the front lacks, as a share of the window."""
        return self.limit - self.share


def front_distance(
    costs: ArrayLike, limit: ArrayLike, worst: ArrayLike, best: ArrayLike
) -> FrontDistance:
    """Compare a front with a limit within a window.

    Both are judged by the models, or points, that they have: neither is joined by lines. So give
    the limit at many bounds.

    Args:
        costs: `(M, 2)` costs of the front, (error, gap).
        limit: `(L, 2)` those of the limit.
        worst: `(2,)` the worst corner of the window, the reference of the hypervolume.
        best: `(2,)` the opposite corner; the window's area is the product of the distances.

    Raises:
        ArgumentError: On costs or corners of another shape, or a window without area.

    >>> found = front_distance([[0.2, 0.05]], [[0.25, 0.0], [0.15, 0.05]], [0.3, 0.1], [0.1, 0.0])
    >>> round(found.share, 3), round(found.limit, 3), found.excess.round(3).tolist()
    (0.25, 0.5, [inf, 0.05])
    """
    front, line = checked_costs(costs), checked_costs(limit)
    corner, ideal = (np.asarray(point, dtype=np.float64) for point in (worst, best))
    for name, shape in (("costs", front.shape[1:]), ("limit", line.shape[1:])):
        if shape != (2,):
            raise ArgumentError.of(
                name, found=f"{shape[0]} criteria", expected="2", mend="pass error and gap"
            )
    if corner.shape != (2,) or ideal.shape != (2,) or not (ideal < corner).all():
        raise ArgumentError.of(
            "worst, best",
            found=f"{corner.tolist()}, {ideal.tolist()}",
            expected="two corners, `best` below `worst` in both costs",
            mend="pass worst=(baseline error + 0.05, baseline gap), best=(baseline error, 0.0)",
        )
    area = float((corner - ideal).prod())
    inside = line[(line <= corner).all(1)]
    inside = inside[np.argsort(inside[:, 1], kind="stable")]
    # What keeps a bound in exact numbers may miss it by rounding.
    kept = front[None, :, 1] <= inside[:, None, 1] + 1e-12
    smallest = np.where(kept, front[None, :, 0], np.inf).min(1)
    return FrontDistance(
        hypervolume(front, corner) / area,
        hypervolume(line, corner) / area,
        inside[:, 1],
        smallest - inside[:, 0],
    )
