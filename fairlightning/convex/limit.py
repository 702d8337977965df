"""The limit line: what scores could reach if the group were known when decisions are made.

For each bound on the gap, thresholds of every group, drawn at random where that helps, with the
best expected accuracy (Hardt, Price and Srebro 2016, arXiv:1610.02413, for a gap of 0). What a
threshold does to a group is a point in the plane of false and true positive rates; drawing reaches
their convex hull, accuracy and the rates of a criterion are linear there, and so the best choice is
a linear program over the corners of the hulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from fairlightning.convex.roc import Array, Corners, checked_masses, finite_scores
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.criteria import CRITERIA, rates_difference
from fairlightning.functional.rates import group_rates
from fairlightning.functional.rows import check_target

LIMIT_CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds", "accuracy_parity")
"""Criteria whose rates are linear in what a threshold does to a group."""

STEPS = 40
"""Steps between the bounds that are taken if none are given."""


@dataclass(frozen=True)
class LimitLine:
    """Randomised thresholds of groups for every bound on a gap.

    Attributes:
        criterion: Criterion of the gap.
        bounds: `(B,)` largest gaps that were asked for, in [0, 1].
        points: `(B, 2)` expected accuracy, and gap of the expected rates, on the rows that the
            thresholds were chosen on.
        cuts: For every group, and last for rows of an unknown or new one, `(V,)` rising thresholds.
        shares: To each of these `(B, V)` probabilities of the thresholds, summing to 1.
    """

    criterion: str
    bounds: Array
    points: Array
    cuts: tuple[Array, ...]
    shares: tuple[Array, ...]

    def selection(self, scores: Tensor, group: Tensor) -> Tensor:
        """Probability with which each row is selected, `(B, N)` float64.

        Args:
            scores: `(N,)` scores.
            group: `(N,)` int64 ids; `-1` and groups that had no rows take the thresholds of rows
                whose group is unknown.
        """
        score = finite_scores(scores, len(group))
        slot = _slots(group, len(self.cuts) - 1)
        found = np.empty((len(self.bounds), len(score)))
        for g, (cuts, shares) in enumerate(zip(self.cuts, self.shares, strict=True)):
            below = np.searchsorted(cuts, score[slot == g], side="right")
            reached = np.column_stack([np.zeros(len(shares)), np.cumsum(shares, axis=1)])
            found[:, slot == g] = reached[:, below]
        return torch.from_numpy(np.clip(found, 0.0, 1.0))

    def apply(
        self, scores: Tensor, target: Tensor, group: Tensor, weight: Tensor | None = None
    ) -> Array:
        """Expected accuracy and gap of the expected rates on other rows, `(B, 2)`.

        Choose on validation, apply to test. There the gap may exceed its bound, as that of any
        model that was chosen on other rows.

        Args:
            scores: `(N,)` scores of the same model.
            target: `(N,)` labels in {0, 1}.
            group: `(N,)` int64 ids; `-1` counts towards accuracy alone.
            weight: `(N,)` row weights ≥ 0.

        Raises:
            ArgumentError: On wrong shapes or values, or if fewer than two groups have rows whose
                rates could be compared.
        """
        positive = check_target(target, len(group)).cpu()
        selected = self.selection(scores, group)
        right = torch.where(positive, selected, 1 - selected)
        mass = torch.from_numpy(checked_masses(weight, len(group)))
        accuracy = (right * mass).sum(-1) / mass.sum()
        conditions = {"true_positive_rate": positive, "false_positive_rate": ~positive}
        gaps = []
        for name in CRITERIA[self.criterion].rates:
            rates = group_rates(
                right if name == "accuracy" else selected,
                group.cpu(),
                max(int(group.max()) + 1, 1),
                condition=conditions.get(name),
                weight=None if weight is None else mass,
            )
            found = rates_difference(rates)
            if not bool((found.support > 0).all()):
                raise ArgumentError.of(
                    "group",
                    found=f"fewer than two groups with a {name.replace('_', ' ')}",
                    expected="at least two, to have a gap",
                    mend="pass more rows, or another criterion",
                )
            gaps.append(found.value)
        return torch.stack([accuracy, torch.stack(gaps).amax(0)], -1).numpy()


def limit_line(
    scores: Tensor,
    target: Tensor,
    group: Tensor,
    criterion: str = "demographic_parity",
    bounds: Sequence[float] | None = None,
    *,
    weight: Tensor | None = None,
) -> LimitLine:
    """Find, for each bound on the gap, the randomised group thresholds of the best accuracy.

    No model that thresholds these scores does better on these rows, whether it knows the group or
    not. A model with other scores may.

    Args:
        scores: `(N,)` finite scores; those of validation rows, not of training rows.
        target: `(N,)` labels in {0, 1}.
        group: `(N,)` int64 group ids; `-1` for unknown: such rows have the best threshold for
            themselves, count towards accuracy, and have no part in the gap.
        criterion: One of `LIMIT_CRITERIA`.
        bounds: Largest gaps in [0, 1]; if None, 41 from 0 to the gap of the best accuracy.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        The line. There is always one, as selecting nobody, or half of everybody, has no gap.

    Raises:
        ArgumentError: On wrong shapes, labels, numbers, an unknown criterion, or fewer than two
            groups that could be compared.

    >>> scores = torch.tensor([0.2, 0.6, 0.4, 0.8, 0.9, 0.7])
    >>> y, group = torch.tensor([0, 1, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> limit_line(scores, y, group, bounds=[0.0, 1 / 3, 2 / 3]).points.round(3).tolist()
    [[0.667, 0.0], [0.833, 0.333], [1.0, 0.667]]
    """
    check_choice("criterion", criterion, LIMIT_CRITERIA)
    score = finite_scores(scores, len(group))
    positive = check_target(target, len(score)).cpu().numpy()
    mass = checked_masses(weight, len(score))
    slot = _slots(group, int(group.max()) + 1)
    corners = []
    for g in range(int(group.max()) + 2):
        inside = (slot == g) & (mass > 0)
        # Nobody is in the slot: on other rows somebody may be, for whom the best of all will do.
        rows = inside if inside.any() else mass > 0
        corners.append(Corners.of(score[rows], positive[rows], mass[rows], bool(inside.any())))
    if bounds is None:
        free = _solve(corners, criterion, [1.0])
        line = LimitLine(criterion, np.ones(1), np.empty((1, 2)), _cuts(corners), free)
        bounds = np.linspace(0, line.apply(scores, target, group, weight)[0, 1], STEPS + 1).tolist()
    checked = _checked_bounds(bounds)
    shares = _solve(corners, criterion, checked.tolist())
    line = LimitLine(criterion, checked, np.empty((len(checked), 2)), _cuts(corners), shares)
    points = line.apply(scores, target, group, weight)
    return LimitLine(criterion, checked, points, line.cuts, line.shares)


def _solve(
    corners: Sequence[Corners], criterion: str, bounds: Sequence[float]
) -> tuple[Array, ...]:
    """Best probabilities of the corners of each group, `(B, V)`, for every bound.

    Variables are these probabilities and, for each rate of the criterion, its lowest value.
    """
    names = CRITERIA[criterion].rates
    ends = np.cumsum([0, *(len(c.cut) for c in corners)])
    size = int(ends[-1]) + len(names)
    total = sum(c.positive + c.negative for c in corners)
    cost = np.concatenate([*(c.error / total for c in corners), np.zeros(len(names))])
    sums = np.zeros((len(corners), size))
    rows, wide = [], []
    for g, corner in enumerate(corners):
        sums[g, ends[g] : ends[g + 1]] = 1.0
        if g == len(corners) - 1:
            continue  # rows of an unknown group have no part in the gap
        for j, name in enumerate(names):
            rate = corner.rate(name)
            if rate is not None:
                row = np.zeros(size)
                row[ends[g] : ends[g + 1]] = rate
                row[int(ends[-1]) + j] = -1.0
                rows += [row, -row]  # at most the bound above the lowest, and not below it
                wide += [1.0, 0.0]
    found = []
    for bound in bounds:
        limits = {"A_ub": np.array(rows), "b_ub": bound * np.array(wide)} if rows else {}
        solution = linprog(
            cost, A_eq=sums, b_eq=np.ones(len(corners)), bounds=(0, 1), method="highs", **limits
        )
        if solution.x is None:
            raise RuntimeError(f"HiGHS: {solution.message}")  # there is a solution, see limit_line
        found.append(solution.x)
    shares = np.clip(np.array(found), 0.0, None)
    parts = [shares[:, ends[g] : ends[g + 1]] for g in range(len(corners))]
    return tuple(part / part.sum(1, keepdims=True) for part in parts)


def _cuts(corners: Sequence[Corners]) -> tuple[Array, ...]:
    return tuple(corner.cut for corner in corners)


def _slots(group: Tensor, groups: int) -> NDArray[np.int64]:
    """Ids, with `groups` for rows whose group is unknown or new."""
    ids: NDArray[np.int64] = group.cpu().numpy()
    if ids.ndim != 1 or ids.dtype.kind != "i" or (ids < -1).any():
        raise ArgumentError.of(
            "group",
            found=f"{group.dtype} of shape {tuple(group.shape)}, or ids below -1",
            expected="(N,) int64 ids, -1 for unknown",
            mend="pass groups.group_ids(sensitive)",
        )
    return np.where((ids < 0) | (ids >= groups), groups, ids)


def _checked_bounds(bounds: Sequence[float]) -> Array:
    found = np.asarray(bounds, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not ((found >= 0) & (found <= 1)).all():
        raise ArgumentError.of(
            "bounds",
            found=found.tolist(),
            expected="at least one gap in [0, 1]",
            mend="pass [0.0, 0.05, 0.1]",
        )
    return found
