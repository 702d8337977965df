"""What every threshold does to rows: points in the plane of false and true positive rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rows import check_column, check_weight

Array: TypeAlias = NDArray[np.float64]


def finite_scores(scores: Tensor, rows: int) -> Array:
    """Return `(N,)` scores in float64.

    Raises:
        ArgumentError: On another shape, no rows, or scores that are not finite.
    """
    score: Array = check_column("scores", scores.detach(), rows).double().cpu().numpy()
    if not rows or not np.isfinite(score).all():
        raise ArgumentError.of(
            "scores",
            found="no rows, or scores that are not finite",
            expected="a finite score for each of some rows",
            mend="pass the scores of the validation rows",
        )
    return score


def checked_masses(weight: Tensor | None, rows: int) -> Array:
    """Return `(N,)` row weights in float64, 1 where there are none.

    Raises:
        ArgumentError: On another shape, a weight below 0, or a total of 0.
    """
    if weight is None:
        return np.ones(rows)
    mass: Array = check_weight(weight, rows).double().cpu().numpy()
    if not mass.sum() > 0:
        raise ArgumentError.of(
            "weight", found="a total of 0", expected="more", mend="leave rows of weight 0 out"
        )
    return mass


def cuts_between(score: Array) -> Array:
    """Thresholds that part falling scores: above the first, between two, and at the last."""
    if not len(score):
        return np.array([np.inf])
    middle = score[1:] + (score[:-1] - score[1:]) / 2
    # Between neighbouring floats there is nothing: the upper one parts them.
    middle = np.where(middle > score[1:], middle, score[:-1])
    return np.concatenate([[np.nextafter(score[0], np.inf)], middle, score[-1:]])


@dataclass(frozen=True)
class Corners:
    """Corners of the convex hull of what thresholds do to a group; thresholds rise.

    Attributes:
        cut: `(V,)` thresholds, from one that selects all to one that selects nobody.
        hit: `(V,)` share of the positives that are selected.
        false: `(V,)` share of the negatives that are selected.
        positive: Weight of the positives.
        negative: Weight of the negatives.
        present: Whether these rows are the group's, or stand in for a group without rows.
    """

    cut: Array
    hit: Array
    false: Array
    positive: float
    negative: float
    present: bool

    @classmethod
    def of(cls, score: Array, positive: NDArray[np.bool_], mass: Array, present: bool) -> Corners:
        """Find them for `(N,)` rows, at least one, of positive `mass`."""
        order = np.argsort(-score, kind="stable")
        score, positive, mass = score[order], positive[order], mass[order]
        last = np.flatnonzero(np.append(np.diff(score) != 0, True))
        sums = [
            np.append(0.0, np.cumsum(np.where(part, mass, 0.0))[last])
            for part in (positive, ~positive)
        ]
        totals = [float(each[-1]) for each in sums]
        hit, false = (each / max(total, 1e-300) for each, total in zip(sums, totals, strict=True))
        cut = cuts_between(score[last])
        cut[0], cut[-1] = np.inf, -np.inf
        kept = _hull(false, hit)[::-1]
        return cls(cut[kept], hit[kept], false[kept], totals[0], totals[1], present)

    @property
    def error(self) -> Array:
        """`(V,)` weight of the rows that are decided wrongly."""
        wrong: Array = self.positive * (1 - self.hit) + self.negative * self.false
        return wrong

    def rate(self, name: str) -> Array | None:
        """`(V,)` a rate of the group; None if it has no rows for it."""
        if not self.present:
            return None
        if name == "true_positive_rate":
            return self.hit if self.positive > 0 else None
        if name == "false_positive_rate":
            return self.false if self.negative > 0 else None
        total = self.positive + self.negative
        if name == "accuracy":
            return 1 - self.error / total
        rate: Array = (self.positive * self.hit + self.negative * self.false) / total
        return rate


def _hull(x: Array, y: Array) -> list[int]:
    """Indices, rising, of the corners of the convex hull of points that rise in both coordinates.

    Both chains of Andrew's algorithm, from the first point to the last.
    """
    found: set[int] = set()
    for sign in (1.0, -1.0):
        chain: list[int] = []
        for i in range(len(x)):
            while len(chain) > 1:
                a, b = chain[-2], chain[-1]
                turn = (x[b] - x[a]) * (y[i] - y[a]) - (y[b] - y[a]) * (x[i] - x[a])
                if sign * turn > 0:
                    break
                chain.pop()
            chain.append(i)
        found.update(chain)
    return sorted(found)
