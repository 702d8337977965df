"""How well features tell a sensitive attribute, cross-validated and against chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from fairlightning.functional.bootstrap import bootstrap_interval, half_row
from fairlightning.functional.score_figures import binned_auroc
from fairlightning.groups import UNKNOWN, GroupSpec, as_labels

TOGETHER = "all features together"
"""Name of the joint predictor among the features."""

STRENGTHS = ((0.6, "weak"), (0.7, "moderate"), (1.0, "strong"))
"""Upper ends of the area under the ROC curve, and what a proxy up to there is called."""

WIDER = 2**0.5
"""How much wider intervals are than those of scores that were given.

Folds are told by scores that were learned on each other: what two of them share by chance counts
twice, which doubles the variance of the area of a feature that tells little or nothing.
"""

FOLDS = 5
BINS = 32
"""Bins of equally many rows into which a number is cut."""

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


def proxy_strengths(
    frame: pd.DataFrame,
    numeric: Sequence[str],
    categorical: Sequence[str],
    groups: GroupSpec,
    sensitive: Tensor,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Area under the ROC curve with which each feature, and all together, tell each attribute.

    A feature's categories, or the 32 bins of a number, predict by the shares of the groups among
    the rows of the other folds, which is the best that a single feature can do; all together by
    boosted trees. An attribute of several groups is told one group against the rest, and the mean
    over groups counts. A missing value is a category.

    Args:
        frame: `(N, …)` rows.
        numeric: Numeric features.
        categorical: Categorical features.
        groups: Sensitive attributes.
        sensitive: `(N, A)` int64 codes, `-1` for unknown: such a row takes no part.
        seed: Seed of folds and intervals.

    Returns:
        Entries `{feature, attribute, auroc, low, high, strength, support, groups}`, the strongest
        first for each attribute; `groups` has the area of each group against the rest. Groups with
        fewer than 5 rows, one for each fold, are left out. `strength` is `none` where the interval
        reaches down to chance, 0.5. Without features there are no entries.
    """
    coded = {name: _bins(frame[name]) for name in numeric}
    coded |= {
        name: pd.factorize(as_labels(frame[name]), use_na_sentinel=False)[0] for name in categorical
    }
    entries: list[dict[str, Any]] = []
    if not coded:
        return entries
    for axis, attribute in enumerate(groups.names):
        code = sensitive[:, axis].numpy()
        common = np.flatnonzero(np.bincount(code[code >= 0]) >= FOLDS)
        rows = np.flatnonzero(np.isin(code, common))
        if len(common) < 2:
            continue
        group = np.searchsorted(common, code[rows])
        names = [groups.categories[axis][position] for position in common]
        folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, group))
        scores = {name: _shares(values[rows], group, folds) for name, values in coded.items()}
        scores[TOGETHER] = _jointly(np.stack([v[rows] for v in coded.values()], 1), group, folds)
        found = [
            {"feature": name, "attribute": attribute, **_area(score, group, names, seed)}
            for name, score in scores.items()
        ]
        entries += sorted(found, key=lambda entry: -entry["auroc"])
    return entries


def _bins(column: pd.Series) -> Ints:
    values = pd.to_numeric(column).astype(float)
    ranks = pd.qcut(values, BINS, labels=False, duplicates="drop")
    return ranks.fillna(UNKNOWN).to_numpy(np.int64) + 1


def _shares(values: Ints, group: Ints, folds: list[tuple[Ints, Ints]]) -> Array:
    """`(N, G)` shares of the groups among rows of other folds with the same value."""
    num_groups, score = group.max() + 1, np.empty((len(group), group.max() + 1))
    for train, held in folds:
        table = np.zeros((values.max() + 1, num_groups))
        np.add.at(table, (values[train], group[train]), 1)
        # One row's worth of the overall shares, so that a value that is new says nothing.
        table += table.sum(0) / table.sum()
        score[held] = (table / table.sum(1, keepdims=True))[values[held]]
    return score


def _jointly(values: Ints, group: Ints, folds: list[tuple[Ints, Ints]]) -> Array:
    trees = HistGradientBoostingClassifier(
        max_iter=30, learning_rate=0.2, early_stopping=False, random_state=0
    )
    score = cross_val_predict(trees, values, group, cv=folds, method="predict_proba")
    return np.asarray(score, dtype=np.float64)


def _area(score: Array, group: Ints, names: list[str], seed: int) -> dict[str, Any]:
    """Mean over groups of the area of one against the rest, with its interval."""
    # Of two groups each is the rest of the other.
    members = range(score.shape[1]) if score.shape[1] > 2 else [1]
    ranks = [np.unique(_coarse(score[:, member]), return_inverse=True)[1] for member in members]
    table = torch.zeros(len(ranks), 2, max(rank.max() for rank in ranks) + 1)
    for row, (member, rank) in enumerate(zip(members, ranks, strict=True)):
        label = torch.from_numpy((group == member).astype(np.int64))
        ones = torch.ones(len(rank))
        table[row].index_put_((label, torch.from_numpy(rank)), ones, accumulate=True)
    low, high = bootstrap_interval(
        _mean_area, table, within=1, num_resamples=500, seed=seed, prior=half_row(table)
    )
    areas = _areas(table.double()).expand(len(names)).tolist()
    area = sum(areas) / len(areas)
    strength = next(name for end, name in STRENGTHS if area <= end)
    low, high = (area + WIDER * (end.item() - area) for end in (low, high))
    ends = {"low": max(low, 0.0), "high": min(high, 1.0)}
    return {
        "auroc": area,
        **ends,
        "strength": strength if ends["low"] > 0.5 else "none",
        "support": len(group),
        "groups": dict(zip(names, areas, strict=True)),
    }


def _coarse(score: Array) -> Array:
    """Scores of at most 256 different values, by rank where there are more."""
    if len(np.unique(score)) <= 256:
        return score
    return np.floor(256 * score.argsort().argsort() / len(score))


def _areas(table: Tensor) -> Tensor:
    return binned_auroc(table, table.sum(-1)).within.rates.rate


def _mean_area(table: Tensor) -> Tensor:
    return _areas(table).mean(-1)
