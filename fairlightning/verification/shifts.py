"""Data that differ from those of training: shifted, noisy, incomplete, corrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairlightning.exceptions import ArgumentError
from fairlightning.groups import as_labels
from fairlightning.verification.paired import Array, Ints

MOST_VALUES = 12
"""Values of the shifted column beyond which numbers are cut into `BINS` quantiles."""

BINS = 5


@dataclass(frozen=True)
class ShiftSettings:
    """How strongly the data are changed.

    Attributes:
        column: Column of the table, such as a region or a year, whose values are looked at one at
            a time; None to leave that curve out.
        tilt: Strengths `t` of the weights `exp(t · z)`, z being the first principal component of
            the numeric features.
        balance: Shares of the way to equally large intersections.
        label_noise: Shares of labels that are flipped.
        missing: Shares of feature values that go missing.
        noise: Standard deviations of noise, in those of each numeric feature.
        corruption: Shares of feature values that are taken from another row.

    Raises:
        ArgumentError: If a share lies outside of [0, 1] or a number is not finite.
    """

    column: str | None = None
    tilt: tuple[float, ...] = (-1.0, -0.5, 0.5, 1.0)
    balance: tuple[float, ...] = (0.25, 0.5, 1.0)
    label_noise: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    missing: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    noise: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    corruption: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)

    def __post_init__(self) -> None:
        for name in ("tilt", "balance", "label_noise", "missing", "noise", "corruption"):
            values = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, values)
            least, most = {"tilt": (-9, 9), "noise": (0, 9)}.get(name, (0, 1))
            if not all(least <= value <= most for value in values):
                raise ArgumentError.of(
                    f"shift.{name}",
                    found=values,
                    expected=f"numbers from {least} to {most}",
                    mend="see conf/verify.yaml for the defaults",
                )


@dataclass(frozen=True)
class Rows:
    """Test rows of one seed, from which shifted ones are made.

    Attributes:
        frame: `N` source rows.
        target: `(N,)` bool labels.
        cells: `(N,)` intersection of all sensitive attributes, `-1` where one is unknown.
        weight: `(N,)` row weights.
        numeric: Numeric feature columns.
        categorical: Categorical feature columns.
        seed: Seed of the noise.
        table: All rows of the data set, the same for every seed: the values, or quantiles, of the
            shifted column are those that it has in them. None: `frame`.
    """

    frame: pd.DataFrame
    target: NDArray[np.bool_]
    cells: Ints
    weight: Array
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    seed: int
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Condition:
    """Rows under one condition; what is None is as it was.

    Attributes:
        strength: Position on the curve's axis.
        label: The condition in words.
        frame: Changed features.
        target: Changed labels.
        weight: Changed weights; 0 leaves a row out.
    """

    strength: float
    label: str
    frame: pd.DataFrame | None = None
    target: NDArray[np.bool_] | None = None
    weight: Array | None = None


@dataclass(frozen=True)
class Shift:
    """A curve of conditions.

    Attributes:
        name: Such as `"feature_noise"`.
        title: What is done to the rows, in words.
        axis: What a strength measures.
        conditions: From weak to strong.
        omitted: Why there is none; None otherwise.
    """

    name: str
    title: str
    axis: str
    conditions: tuple[Condition, ...] = field(repr=False)
    omitted: str | None = None


def shifts(rows: Rows, settings: ShiftSettings) -> Iterator[Shift]:
    """Make all curves, each beginning with the rows as they are.

    Args:
        rows: Rows as they are.
        settings: How strongly they are changed.

    Raises:
        ArgumentError: If the table has no such column.
    """
    yield _covariate(rows, settings)
    yield _column(rows, settings.column)
    yield _balance(rows, settings)
    yield _labels(rows, settings)
    yield _missing(rows, settings)
    yield _noise(rows, settings)
    yield _corruption(rows, settings)


def _curve(name: str, title: str, axis: str, found: list[Condition], omitted: str = "") -> Shift:
    if omitted:
        return Shift(name, title, axis, (), omitted)
    if not any(condition.strength == 0 for condition in found):
        found.append(Condition(0.0, "as observed"))
    return Shift(name, title, axis, tuple(sorted(found, key=lambda each: each.strength)))


def _covariate(rows: Rows, settings: ShiftSettings) -> Shift:
    name, axis = "covariate_shift", "t"
    title = "Rows reweighted by exp(t · z), z the first principal component of numeric features"
    if not rows.numeric:
        return _curve(name, title, axis, [], "the data have no numeric feature")
    table = rows.frame[list(rows.numeric)].apply(pd.to_numeric, errors="coerce")
    spread = table.std().replace(0, 1).fillna(1)
    values = ((table - table.mean()) / spread).fillna(0).to_numpy(float)
    loading = np.linalg.svd(values, full_matrices=False)[2][0]
    z = values @ loading * np.sign(loading[np.abs(loading).argmax()])
    z = np.clip((z - z.mean()) / max(z.std(), 1e-12), -3, 3)
    found = [
        Condition(t, f"weights exp({t:g} z)", weight=rows.weight * np.exp(t * z))
        for t in settings.tilt
    ]
    return _curve(name, title, axis, found)


def _column(rows: Rows, column: str | None) -> Shift:
    name, title = "column_shift", f"Rows of one value of {column} at a time"
    if column is None:
        omitted = "no column of regions or times is named: shift.column=NAME"
        return _curve(name, "Rows of one value of a column", "value", [], omitted)
    if column not in rows.frame:
        raise ArgumentError.of(
            "shift.column",
            found=repr(column),
            expected="a column of the table, such as a region or a year",
            mend=f"name one of {', '.join(map(str, rows.frame.columns[:30]))}",
        )
    table = rows.frame if rows.table is None else rows.table
    labels, names = _named(rows.frame[column], table[column])
    found = []
    for k, value in enumerate(names):
        chosen = (labels == value).fillna(False).to_numpy(bool)
        # A value that no row has keeps its number, so that seeds agree on those of the others.
        if chosen.any():
            found.append(Condition(k + 1.0, f"{column}={value}", weight=rows.weight * chosen))
    return _curve(name, title, "value, numbered", found)


def _named(values: pd.Series[Any], every: pd.Series[Any]) -> tuple[pd.Series[Any], list[str]]:
    """Name of each value, and the names of all that there are, in their order."""
    if pd.api.types.is_numeric_dtype(every) and every.nunique() > MOST_VALUES:
        edges = pd.qcut(every, BINS, duplicates="drop", retbins=True)[1]
        bins = pd.cut(values, edges.tolist(), include_lowest=True)
        return bins.astype("string"), list(map(str, bins.cat.categories))
    names = as_labels(every).dropna().unique().tolist()
    try:
        names.sort(key=float)
    except ValueError:
        names.sort()
    return as_labels(values), names


def _balance(rows: Rows, settings: ShiftSettings) -> Shift:
    name, title = "group_shift", "Intersections reweighted towards equal shares"
    known = rows.cells >= 0
    if not rows.weight[known].any():
        omitted = "no row has all sensitive attributes known"
        return _curve(name, title, "share of the way", [], omitted)
    share = np.bincount(rows.cells[known], rows.weight[known])
    share = share / share.sum()
    equal = (share > 0) / (share > 0).sum()
    found = []
    for t in settings.balance:
        factor = ((1 - t) * share + t * equal) / np.where(share > 0, share, 1)
        weight = np.where(known, rows.weight * factor[rows.cells.clip(0)], 0.0)
        found.append(Condition(t, f"{100 * t:g} % of the way", weight=weight))
    return _curve(name, title, "share of the way", found)


def _labels(rows: Rows, settings: ShiftSettings) -> Shift:
    found = []
    for share in settings.label_noise:
        flipped = _random(rows, "label_noise", share).random(len(rows.target)) < share
        found.append(Condition(share, f"{100 * share:g} % flipped", target=rows.target ^ flipped))
    return _curve("label_noise", "Labels flipped at random", "share of labels", found)


def _missing(rows: Rows, settings: ShiftSettings) -> Shift:
    found = []
    for share in settings.missing:
        random, frame = _random(rows, "missing_values", share), rows.frame.copy()
        for column in (*rows.numeric, *rows.categorical):
            frame[column] = frame[column].mask(random.random(len(frame)) < share)
        found.append(Condition(share, f"{100 * share:g} % missing", frame=frame))
    return _curve("missing_values", "Feature values missing at random", "share of values", found)


def _noise(rows: Rows, settings: ShiftSettings) -> Shift:
    name, title = "feature_noise", "Normal noise on numeric features"
    axis = "standard deviations of each feature"
    if not rows.numeric:
        return _curve(name, title, axis, [], "the data have no numeric feature")
    found = []
    for strength in settings.noise:
        random, frame = _random(rows, name, strength), rows.frame.copy()
        for column in rows.numeric:
            values = pd.to_numeric(frame[column], errors="coerce").astype(float)
            reach = strength * values.std() if values.notna().sum() > 1 else 0.0
            frame[column] = values + reach * random.normal(size=len(frame))
        found.append(Condition(strength, f"noise of {strength:g} deviations", frame=frame))
    return _curve(name, title, axis, found)


def _corruption(rows: Rows, settings: ShiftSettings) -> Shift:
    name, title = "feature_corruption", "Feature values taken from other rows"
    found = []
    for share in settings.corruption:
        random, frame = _random(rows, name, share), rows.frame.copy()
        for column in (*rows.numeric, *rows.categorical):
            other = frame[column].iloc[random.permutation(len(frame))].set_axis(frame.index)
            frame[column] = frame[column].mask(random.random(len(frame)) < share, other)
        found.append(Condition(share, f"{100 * share:g} % of other rows", frame=frame))
    return _curve(name, title, "share of values", found)


def _random(rows: Rows, name: str, strength: float) -> np.random.Generator:
    return np.random.default_rng([rows.seed, crc32(f"{name} {strength}".encode())])
