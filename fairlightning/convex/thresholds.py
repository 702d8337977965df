"""Thresholds after training: the best ones under which true positive rates are close.

Equal opportunity by thresholds of each group (Hardt, Price and Srebro 2016, arXiv:1610.02413), or
by one threshold for all, where the group may not be used in decisions. Both are exact over all
thresholds that give different decisions on the rows at hand, and deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairlightning.convex.roc import Array, cuts_between, finite_scores
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.rows import check_column, check_target, check_weight
from fairlightning.groups import GroupSpec

Aim = Literal["accuracy", "balanced_accuracy"]
_AIMS = ("accuracy", "balanced_accuracy")
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of groups, and what they did on the rows that they were chosen on.

    Attributes:
        threshold: `(G,)` float64: a row is selected whose score is at least that of its group.
        default: Threshold of rows whose group is unknown, or had no rows of a weight above 0; the
            best for all rows together, or the shared one.
        true_positive_rate: `(G,)` float64; NaN where a group has no positives.
        gap: Largest difference between two true positive rates.
        value: Accuracy, or balanced accuracy, over all rows.
        unconstrained: Groups without positives (their true positive rate says nothing, so their
            threshold is simply the best for them) and groups without rows.
    """

    threshold: Tensor
    default: float
    true_positive_rate: Tensor
    gap: float
    value: float
    unconstrained: tuple[str, ...]

    def select(self, scores: Tensor, group: Tensor | None = None) -> Tensor:
        """Decide `(N,)` scores, with `(N,)` group ids, or without where one threshold is shared.

        Raises:
            ArgumentError: If scores are not finite or missing, ids are not of these groups or `-1`
                for unknown, or groups have thresholds of their own and `group` is missing.
        """
        finite_scores(scores, len(scores))
        if group is None:
            if not bool((self.threshold == self.default).all()):
                raise ArgumentError.of(
                    "group",
                    found="None with a threshold for each group",
                    expected="(N,) group ids",
                    mend="pass group=..., or choose the thresholds with shared=True",
                )
            return scores.double() >= self.default
        group = check_column("group", group, len(scores))
        count = len(self.threshold)
        if group.is_floating_point() or not bool(((group >= -1) & (group < count)).all()):
            raise ArgumentError.of(
                "group",
                found=f"{group.dtype} from {group.min().item()} to {group.max().item()}",
                expected=f"int64 ids from 0 to {count - 1}, -1 for unknown",
                mend="pass groups.group_ids(sensitive)",
            )
        table = torch.cat([self.threshold, self.threshold.new_tensor([self.default])])
        return scores.double() >= table.to(scores.device)[group.long()]


def adjusted_thresholds(
    scores: Tensor,
    target: Tensor,
    sensitive: Tensor,
    groups: GroupSpec,
    *,
    partition: Sequence[str] | None = None,
    epsilon: float = 0.05,
    aim: Aim = "accuracy",
    shared: bool = False,
    weight: Tensor | None = None,
) -> Thresholds:
    """Choose thresholds on validation rows.

    Args:
        scores: `(N,)` finite scores; those of validation rows, not of training rows.
        target: `(N,)` labels in {0, 1}.
        sensitive: `(N, A)` int64 codes, `-1` for unknown. Such rows count towards the aim of a
            shared threshold and of the default, but have no part in the gap.
        groups: The sensitive attributes.
        partition: Attributes whose groups, or intersections, are meant; all if None.
        epsilon: Largest difference ≥ 0 between the true positive rates of two groups.
        aim: What is maximised: `accuracy` or `balanced_accuracy`, over all rows that count.
        shared: One threshold for all groups.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        The thresholds, midway between the scores that they part. There always are some, as
        selecting nobody has no gap.

    Raises:
        ArgumentError: On wrong shapes, labels, codes or numbers, and if there are no rows, or a
            label is missing where the aim is balanced accuracy.

    >>> spec = GroupSpec({"sex": ["f", "m"]})
    >>> scores = torch.tensor([0.2, 0.4, 0.6, 0.7, 0.8, 0.9])
    >>> y, sex = torch.tensor([0, 1, 1, 0, 1, 1]), torch.tensor([[0], [0], [0], [1], [1], [1]])
    >>> found = adjusted_thresholds(scores, y, sex, spec, epsilon=0.0)
    >>> found.threshold, found.gap, found.value
    (tensor([0.3000, 0.7500], dtype=torch.float64), 0.0, 1.0)
    """
    check_choice("aim", aim, _AIMS)
    if not epsilon >= 0:
        raise ArgumentError.of(
            "epsilon", found=epsilon, expected="a number of at least 0", mend="pass 0.05"
        )
    names = tuple(partition or groups.names)
    group = groups.group_ids(groups.check(sensitive, len(target)), names).cpu().numpy()
    rows = _Rows.of(scores, target, weight, aim)
    whole = rows.curve(np.ones(len(group), dtype=bool))
    present = [rows.curve(group == g) for g in range(groups.num_groups(names))]
    with_positives = [g for g, curve in enumerate(present) if curve.positive > 0]
    best = whole.best(np.ones(len(whole.aim), dtype=bool))
    if shared:
        rates = np.stack([present[g].rate_at(whole.cut) for g in with_positives] or [whole.rate])
        best = whole.best(rates.max(0) - rates.min(0) <= epsilon + _ROUNDING)
        threshold = np.full(len(present), whole.cut[best])
    else:
        threshold = np.full(len(present), whole.cut[best])
        for g, curve in enumerate(present):
            if curve.rows and curve.positive == 0:
                threshold[g] = curve.cut[curve.best(np.ones(len(curve.aim), dtype=bool))]
        chosen = _best_window([present[g] for g in with_positives], epsilon)
        for g, index in zip(with_positives, chosen, strict=True):
            threshold[g] = present[g].cut[index]
    default = float(whole.cut[best])
    tpr = np.array([c.rate_at(threshold[g : g + 1])[0] for g, c in enumerate(present)])
    seen = tpr[with_positives]
    table = np.append(threshold, default)[group]
    return Thresholds(
        threshold=torch.from_numpy(threshold),
        default=default,
        true_positive_rate=torch.from_numpy(tpr),
        gap=float(seen.max() - seen.min()) if len(seen) else 0.0,
        value=rows.value(table),
        unconstrained=tuple(
            name
            for name, c in zip(groups.group_names(names), present, strict=True)
            if c.positive == 0
        ),
    )


@dataclass(frozen=True)
class _Curve:
    """What every threshold does to the rows of a group; thresholds fall along the axis.

    Attributes:
        score: `(K − 1,)` different scores, falling.
        cut: `(K,)` thresholds, from one that selects nobody to one that selects all.
        aim: `(K,)` part in the aim.
        rate: `(K,)` true positive rate, rising.
        positive: Weight of the positives.
        rows: Number of rows.
    """

    score: Array
    cut: Array
    aim: Array
    rate: Array
    positive: float
    rows: int

    def best(self, allowed: NDArray[np.bool_]) -> int:
        return int(np.where(allowed, self.aim, -np.inf).argmax())

    def rate_at(self, cut: Array) -> Array:
        """True positive rates at other thresholds."""
        if self.positive == 0:
            return np.full(len(cut), np.nan)
        return self.rate[np.searchsorted(-self.score, -cut, side="right")]


@dataclass(frozen=True)
class _Rows:
    score: Array
    positive: NDArray[np.bool_]
    weight: Array
    gain: Array  # of a right decision
    scale: float  # what the gains of all rows add up to

    @classmethod
    def of(cls, scores: Tensor, target: Tensor, weight: Tensor | None, aim: str) -> _Rows:
        rows = len(target)
        score = finite_scores(scores, rows)
        positive = check_target(target, rows).cpu().numpy()
        mass = np.ones(rows)
        if weight is not None:
            mass = check_weight(weight, rows).double().cpu().numpy()
        total = np.array([mass[~positive].sum(), mass[positive].sum()])
        if mass.sum() == 0 or (aim == "balanced_accuracy" and total.min() == 0):
            raise ArgumentError.of(
                "target, weight",
                found=f"weights {total.tolist()} of label 0 and 1",
                expected="both labels" if mass.sum() else "a total weight above 0",
                mend="pass aim='accuracy', or more rows",
            )
        if aim == "accuracy":
            return cls(score, positive, mass, mass, mass.sum())
        return cls(score, positive, mass, mass / total[positive.astype(int)], 2.0)

    def curve(self, inside: NDArray[np.bool_]) -> _Curve:
        inside = inside & (self.weight > 0)
        order = np.argsort(-self.score[inside], kind="stable")
        score, positive = self.score[inside][order], self.positive[inside][order]
        mass, gain = self.weight[inside][order], self.gain[inside][order]
        # After the last row of each score all rows down to it are selected.
        index = np.flatnonzero(np.append(np.diff(score) != 0, True)[: len(score)])
        selected = np.cumsum(np.where(positive, gain, -gain))[index]
        aim = np.append(0.0, selected) + gain[~positive].sum()
        hits = np.append(0.0, np.cumsum(np.where(positive, mass, 0.0))[index])
        total = float(hits[-1])
        rate = hits / max(total, 1e-300)
        return _Curve(score[index], cuts_between(score[index]), aim, rate, total, len(score))

    def value(self, threshold: Array) -> float:
        return float(self.gain[(self.score >= threshold) == self.positive].sum() / self.scale)


def _best_window(curves: Sequence[_Curve], epsilon: float) -> list[int]:
    """For every group the index of its threshold, best in sum while rates lie within ε.

    The lowest rate of the best choice is the rate of some threshold: with it given, each group
    takes its best threshold whose rate lies at most ε above.
    """
    if not curves:
        return []
    lows = np.unique(np.concatenate([curve.rate for curve in curves]))
    total: Any = 0.0
    picks = []
    for curve in curves:
        first = np.searchsorted(curve.rate, lows - _ROUNDING, side="left")
        last = np.searchsorted(curve.rate, lows + epsilon + _ROUNDING, side="right")
        pick = _range_argmax(curve.aim, first, last)
        total = total + np.where(last > first, curve.aim[pick], -np.inf)
        picks.append(pick)
    chosen = int(np.argmax(total))
    return [int(pick[chosen]) for pick in picks]


def _range_argmax(values: Array, first: NDArray[Any], last: NDArray[Any]) -> NDArray[Any]:
    """Index of the largest of `values[first:last]` for many ranges, by a sparse table."""
    levels = [np.arange(len(values))]
    while len(levels[-1]) > (1 << (len(levels) - 1)):
        half = 1 << (len(levels) - 1)
        left, right = levels[-1][:-half], levels[-1][half:]
        levels.append(np.where(values[left] >= values[right], left, right))
    found = np.zeros(len(first), dtype=int)
    length = last - first
    for level, table in enumerate(levels):
        here = (length >> level) == 1
        if here.any():
            left = table[first[here]]
            right = table[last[here] - (1 << level)]
            found[here] = np.where(values[left] >= values[right], left, right)
    return found
