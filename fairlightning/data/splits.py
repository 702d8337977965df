"""Rows of the train, validation and test split."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from fairlightning.data.table import shorten
from fairlightning.exceptions import DataError

SPLITS = ("train", "validation", "test")

Ints = npt.NDArray[np.int64]


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise `DataError` unless both fractions are above 0 and leave rows for training."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise DataError.of(
            "val_fraction, test_fraction",
            found=f"{val_fraction} and {test_fraction}",
            expected="two numbers above 0 whose sum is below 1",
            mend="pass for example val_fraction=0.2, test_fraction=0.2",
        )


def stratified_splits(
    target: Ints, cell: Ints, *, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, Ints]:
    """Split rows at random, with equal shares of label and intersection of groups in each part.

    Cells too small to reach every part are stratified together, by label; what is too small even
    so joins the largest stratum.

    Args:
        target: `(N,)` labels from 0 on.
        cell: `(N,)` intersection of the sensitive attributes, unknown values included.
        val_fraction: Share of all rows for validation.
        test_fraction: Share of all rows for the test.
        seed: The same seed gives the same rows.

    Returns:
        Row numbers of each split, ascending and disjoint; together they are all rows.

    Raises:
        DataError: If a split would be empty.
    """
    rows = len(target)
    num_val, num_test = round(rows * val_fraction), round(rows * test_fraction)
    check_not_empty({"train": rows - num_val - num_test, "validation": num_val, "test": num_test})
    levels = np.stack([max(2, target.max() + 1) * cell + target, target])
    rest, test = _split(np.arange(rows), levels, num_test, min(num_val, num_test), seed)
    train, validation = _split(rest, levels, num_val, num_val, seed)
    return {"train": train, "validation": validation, "test": test}


def column_splits(column: pd.Series) -> dict[str, Ints]:
    """Read the splits from a column with the values train, validation (or val) and test.

    Raises:
        DataError: If a value is missing or unknown, or a split is empty.
    """
    names = column.astype("string").replace("val", "validation").fillna("a missing value")
    unknown = names[~names.isin(SPLITS)]
    if len(unknown):
        raise DataError.of(
            f"split {column.name!r}",
            found=f"{len(unknown)} rows with {shorten(unknown.unique().tolist())}",
            expected="train, validation (or val) and test",
            mend="correct these values",
        )
    rows: dict[str, Ints] = {name: np.flatnonzero(names.eq(name).to_numpy(bool)) for name in SPLITS}
    check_not_empty({name: len(part) for name, part in rows.items()})
    return rows


def check_not_empty(sizes: Mapping[str, int]) -> None:
    """Raise `DataError` if one of the splits has no rows."""
    empty = [name for name, size in sizes.items() if size < 1]
    if empty:
        raise DataError.of(
            "split",
            found=f"no rows for {' and '.join(empty)} ({sum(sizes.values())} rows in all)",
            expected="rows in train, validation and test",
            mend="use more rows, larger fractions, or a split column with all three values",
        )


def _split(rows: Ints, levels: Ints, size: int, part: int, seed: int) -> tuple[Ints, Ints]:
    """Split `size` rows off; `part` rows is the smallest that a stratum has to reach."""
    least = ceil(len(rows) / min(part, len(rows) - size))
    strata = _merge_rare(levels[:, rows], least)
    first, second = train_test_split(rows, test_size=size, stratify=strata, random_state=seed)
    return np.sort(first), np.sort(second)


def _merge_rare(levels: Ints, least: int) -> Ints:
    """Stratum of each row at the finest level at which it shares it with `least` rows."""
    strata = np.full(levels.shape[1], -1)
    for level in levels:
        left = strata < 0
        _, code, count = np.unique(level[left], return_inverse=True, return_counts=True)
        strata[left] = np.where(count[code] >= least, code + strata.max() + 1, -1)
    names, count = np.unique(strata[strata >= 0], return_counts=True)
    largest = names[count.argmax()] if len(names) else 0
    return np.where(strata < 0, largest, strata)
