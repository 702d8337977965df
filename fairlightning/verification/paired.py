"""Rates of two models over the same rows, for several seeds, with what chance does to all of them.

Both models of a seed predict the same rows, and a row may be in the test split of several seeds:
figures of a pair, and of pairs, are far from independent. What a row adds to a figure is its
influence; summed over the figures that it is part of, and squared, it gives their covariance
(Deville 1999, Survey Methodology 25:193), whichever rows they share. See `docs/verification.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

from fairlightning.exceptions import DataError
from fairlightning.functional.proportions import PROPORTIONS
from fairlightning.groups import GroupSpec

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINE, INTERVENTION = 0, 1
"""Positions of the two models."""

_PSEUDO = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


class Pair(NamedTuple):
    """What both models of one seed predict of the same rows.

    Attributes:
        row: `(N,)` row numbers in the data set, by which rows are known again in other seeds.
        target: `(N,)` bool labels.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        weight: `(N,)` row weights ≥ 0; ones where rows are not weighted.
        scores: `(2, N)` probabilities of baseline and intervention.
    """

    row: Ints
    target: NDArray[np.bool_]
    sensitive: torch.Tensor
    weight: Array
    scores: Array

    @classmethod
    def of(
        cls, baseline: pd.DataFrame, intervention: pd.DataFrame, groups: GroupSpec, stage: str
    ) -> Pair:
        """Line up the predictions of two runs.

        Args:
            baseline: Predictions as in `predictions.parquet`.
            intervention: Those of the other run.
            groups: Sensitive attributes.
            stage: Split whose rows are taken.

        Raises:
            DataError: If the runs did not predict the same rows with the same labels, or a score
                is not a number.
        """
        first, second = (
            frame[frame["split"] == stage].sort_values("row", ignore_index=True)
            for frame in (baseline, intervention)
        )
        if not first[["row", "target"]].equals(second[["row", "target"]]) or first.empty:
            raise DataError.of(
                "intervention",
                found=f"other rows of {stage!r} than in the baseline, or none",
                expected="both models to have predicted the same rows",
                mend="train both with the same data, splits and seed",
            )
        weight = first["weight"].to_numpy(float) if "weight" in first else np.ones(len(first))
        scores = np.stack([frame["score"].to_numpy(float) for frame in (first, second)])
        if lost := int((~np.isfinite(scores)).sum()):
            raise DataError.of(
                "score",
                found=f"{lost:,} that are NaN or infinite in {stage!r}",
                expected="a probability in every row: one without is neither selected nor not",
                mend="look for the step at which the loss became NaN, or lower the learning rate",
            )
        target = first["target"].to_numpy() == 1
        return cls(first["row"].to_numpy(), target, groups.encode(first), weight, scores)

    def codes(self, groups: GroupSpec, partition: Sequence[str]) -> Ints:
        """`(N,)` group of each row, `-1` where unknown."""
        ids: Ints = groups.group_ids(self.sensitive, partition).numpy()
        return ids


class Estimates(NamedTuple):
    """Figures of both models in every seed, with the covariance of all of them.

    Attributes:
        values: `(R, 2, Q)`; NaN where a figure is not estimable.
        covariance: `(R, 2, Q, R, 2, Q)` over draws of rows, models given.
        supports: `(R, Q)` rows that each figure is over; the smaller one where models differ.
        distinct: `(Q,)` different rows over all seeds.
    """

    values: Array
    covariance: Array
    supports: Ints
    distinct: Ints

    @property
    def seeds(self) -> int:
        """Number `R` of seeds."""
        return len(self.values)


class _Share(NamedTuple):
    """A figure as a ratio of sums: rows that are counted, and among which; both `(N,)`."""

    counted: Array
    among: Array


def group_estimates(
    pairs: Sequence[Pair],
    groups: GroupSpec,
    partition: Sequence[str],
    rates: Sequence[str],
    threshold: float,
    *,
    covariance: bool = True,
) -> Estimates:
    """Estimate rates of every group of a partition, and of all rows.

    Args:
        pairs: Predictions of the `R` seeds.
        groups: Sensitive attributes.
        partition: Attributes whose groups or intersections are meant.
        rates: `C` keys of `PROPORTIONS`.
        threshold: Score from which a row is selected.
        covariance: Whether it is needed; without it the field is empty.

    Returns:
        `Q = C · (G + 1)` figures: for each rate those of the groups, then that of all rows.
    """
    size = groups.num_groups(partition)
    positions, total = _positions(pairs)
    builder = _Builder(total, 4 * len(rates) * size)
    for number, pair in enumerate(pairs):
        codes = pair.codes(groups, partition)
        for model in (BASELINE, INTERVENTION):
            for index, name in enumerate(rates):
                share = _share(name, pair, model, threshold)
                first = index * (size + 1)
                place = positions[number]
                builder.groups(number, model, first, share, codes, size, place, pair.weight)
                builder.all(number, model, first + size, share, place, pair.weight)
    return builder.done(len(pairs), len(rates) * (size + 1), covariance)


def overall_estimates(pairs: Sequence[Pair], metrics: Sequence[str], threshold: float) -> Estimates:
    """Estimate figures over all rows; `Q` of `OVERALL`."""
    positions, total = _positions(pairs)
    builder = _Builder(total, 0)
    for number, pair in enumerate(pairs):
        for model in (BASELINE, INTERVENTION):
            for index, name in enumerate(metrics):
                if name == "auroc":
                    builder.auroc(number, model, index, pair, positions[number])
                else:
                    share = _share(name, pair, model, threshold)
                    builder.all(number, model, index, share, positions[number], pair.weight)
    return builder.done(len(pairs), len(metrics), True)


OVERALL = (*PROPORTIONS, "f1", "brier", "auroc")
"""Figures over all rows that a paired interval is known for."""


def _share(name: str, pair: Pair, model: int, threshold: float) -> _Share:
    score, label = pair.scores[model], pair.target
    decision = score >= threshold
    if name == "f1":
        return _Share(2.0 * (label & decision), label.astype(float) + decision)
    if name == "brier":
        return _Share((score - label) ** 2, np.ones(len(label)))
    counted, among, _ = PROPORTIONS[name]
    cell = 2 * label.astype(int) + decision
    return _Share(np.array(counted, float)[cell], np.array(among, float)[cell])


def _positions(pairs: Sequence[Pair]) -> tuple[list[Ints], int]:
    rows, place = np.unique(np.concatenate([pair.row for pair in pairs]), return_inverse=True)
    ends = np.cumsum([len(pair.row) for pair in pairs])[:-1]
    return np.split(place, ends), len(rows)


class _Builder:
    """Collects values and influences, one column for each figure of a model and seed."""

    def __init__(self, rows: int, pseudo: int) -> None:
        self.rows, self.pseudo = rows, pseudo
        self.columns: dict[tuple[int, int, int], tuple[float, int, Ints, Array]] = {}

    def groups(
        self,
        seed: int,
        model: int,
        first: int,
        share: _Share,
        codes: Ints,
        size: int,
        place: Ints,
        weight: Array,
    ) -> None:
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(size + 1))
        for group in range(size):
            rows = order[starts[group] : starts[group + 1]]
            part = _Share(share.counted[rows], share.among[rows])
            column = first + group
            self.all(seed, model, column, part, place[rows], weight[rows])
            self._add_pseudo(seed, model, column, first // (size + 1) * size + group)

    def all(
        self, seed: int, model: int, column: int, share: _Share, place: Ints, weight: Array
    ) -> None:
        rows = np.flatnonzero(share.among > 0)
        mass = float((weight * share.among).sum())
        if mass <= 0:
            self.columns[seed, model, column] = np.nan, 0, place[:0], weight[:0]
            return
        value = float((weight * share.counted).sum()) / mass
        influence = weight[rows] * (share.counted[rows] - value * share.among[rows]) / mass
        self.columns[seed, model, column] = value, len(rows), place[rows], influence

    def auroc(self, seed: int, model: int, column: int, pair: Pair, place: Ints) -> None:
        """Placements of positives among negatives and the reverse (DeLong et al. 1988)."""
        score, label = pair.scores[model], pair.target
        ranks = rankdata(score)
        above = np.where(label, _above(score, label, ranks), 0.0)
        below = np.where(label, 0.0, _above(score, ~label, ranks))
        positives, negatives = int(label.sum()), int((~label).sum())
        value = float(above.sum() / max(positives * negatives, 1))
        influence = np.where(
            label,
            (above / max(negatives, 1) - value) / max(positives, 1),
            (1 - below / max(positives, 1) - value) / max(negatives, 1),
        )
        fine = positives and negatives and bool((pair.weight == pair.weight[0]).all())
        self.columns[seed, model, column] = (
            value if fine else np.nan,
            len(label),
            place,
            influence,
        )

    def _add_pseudo(self, seed: int, model: int, column: int, slot: int) -> None:
        # Two successes and two failures (Agresti and Coull 1998) in every combination of the two
        # models: a rate of 0 or 1 is not certain. They are the same rows in all seeds.
        value, support, place, influence = self.columns[seed, model, column]
        if support:
            extra = (_PSEUDO[:, model] - value) / support
            at = self.rows + 4 * slot + np.arange(4)
            joined = np.concatenate([place, at]), np.concatenate([influence, extra])
            self.columns[seed, model, column] = value, support, *joined

    def done(self, seeds: int, figures: int, covariance: bool) -> Estimates:
        shape = (seeds, 2, figures)
        values, supports = np.empty(shape), np.empty(shape, np.int64)
        data, rows, columns = [], [], []
        met = [np.zeros(self.rows, bool) for _ in range(figures)]
        for key, (value, support, place, influence) in self.columns.items():
            values[key], supports[key] = value, support
            data.append(influence)
            rows.append(place)
            columns.append(np.full(len(place), np.ravel_multi_index(key, shape)))
            met[key[2]][place[place < self.rows]] = True
        distinct = np.array([int(rows.sum()) for rows in met])
        if not covariance:
            return Estimates(values, np.empty(0), supports.min(1), distinct)
        entries = np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))
        size = (self.rows + self.pseudo, int(np.prod(shape)))
        influences = sparse.csr_array(entries, shape=size)
        products = (influences.T @ influences).toarray().reshape(*shape, *shape)
        return Estimates(values, products, supports.min(1), distinct)


def _above(score: Array, among: NDArray[np.bool_], ranks: Array) -> Array:
    """Rows of the other class that each row of `among` lies above, ties counting half.

    >>> score = np.array([0.1, 0.4, 0.4, 0.9])
    >>> among = np.array([False, True, False, True])
    >>> _above(score, among, rankdata(score))[among].tolist()
    [1.5, 2.0]
    """
    above = ranks.copy()
    above[among] -= rankdata(score[among])
    return above
