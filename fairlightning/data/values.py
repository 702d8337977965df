"""Columns become arrays: labels, weights, numbers, sensitive categories. Bad values are named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairlightning.data.table import shorten
from fairlightning.exceptions import DataError
from fairlightning.groups import GroupSpec, as_labels

# Two label values of which the second needs no explaining.
OBVIOUS = (("0", "1"), ("False", "True"))


def binary_target(column: pd.Series, positive: object | None) -> tuple[npt.NDArray[np.int64], str]:
    """Labels as 0 and 1, and the value that counts as 1.

    Args:
        column: `(N,)` label column.
        positive: The value that counts as 1; None accepts 0/1 and booleans.

    Raises:
        DataError: If a label is missing, there are not exactly two values, or `positive` is none
            of them.
    """
    check_complete(column)
    labels = as_labels(column)
    values = tuple(sorted(labels.unique()))
    if len(values) != 2:
        raise DataError.of(
            f"target {column.name!r}",
            found=f"{len(values)} value{'s' * (len(values) > 1)}: {shorten(values)}",
            expected="two classes, for task='binary'",
            mend="say task=multiclass, or regression for amounts; or merge them into two"
            if len(values) > 2
            else "use a table with both",
        )
    wanted = _positive_value(values, positive)
    return np.asarray(labels == wanted).astype(np.int64), wanted


def check_complete(column: pd.Series) -> None:
    """Raise `DataError` if a target is missing."""
    if column.isna().any():
        raise DataError.of(
            f"target {column.name!r}",
            found=f"{column.isna().sum()} rows without a label, {_rows(column.isna())}",
            expected="a label in every row",
            mend=f"drop them: table.dropna(subset=[{column.name!r}])",
        )


def _positive_value(values: tuple[str, ...], positive: object | None) -> str:
    if positive is None and values in OBVIOUS:
        return values[1]
    wanted = None if positive is None else str(as_labels([positive]).iloc[0])
    if wanted in values:
        return wanted
    close = get_close_matches(str(wanted), values, n=1) or values[1:]
    raise DataError.of(
        "positive",
        found=repr(positive),
        expected=f"the label that counts as 1, one of {shorten(values)}",
        mend=f"pass positive={close[0]!r}",
    )


def row_weights(column: pd.Series) -> npt.NDArray[np.float64]:
    """`(N,)` row weights ≥ 0.

    Raises:
        DataError: If a weight is missing, not a number, infinite or negative, or all are 0.
    """
    weight = numbers(column.to_frame(), [str(column.name)])[:, 0]
    bad = np.isnan(weight) | (weight < 0)
    if bad.any() or not weight.any():
        raise DataError.of(
            f"weight {column.name!r}",
            found=f"{bad.sum()} missing or negative weights, {_rows(bad)}"
            if bad.any()
            else "only weights of 0",
            expected="a weight of at least 0 in every row, and some above 0",
            mend="mend the column or leave weight out",
        )
    return weight


def numbers(frame: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Numeric columns as `(N, len(names))` float64, missing values as NaN.

    Raises:
        DataError: If a value is not a number, or is infinite.
    """
    table = np.empty((len(frame), len(names)))
    for position, name in enumerate(names):
        column = frame[name]
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        text = (np.isnan(values) & column.notna().to_numpy()).astype(bool)
        if text.any():
            raise DataError.of(
                f"numeric column {name!r}",
                found=f"{text.sum()} values that are no numbers, such as "
                f"{shorten(column[text].unique().tolist(), 3)}, {_rows(text)}",
                expected="numbers or missing values",
                mend=f"name {name!r} in categorical, or mend its values",
            )
        infinite = np.isinf(values)
        if infinite.any():
            raise DataError.of(
                f"numeric column {name!r}",
                found=f"{infinite.sum()} infinite values, {_rows(infinite)}",
                expected="finite numbers or missing values",
                mend="replace them with a number or a missing value",
            )
        table[:, position] = values
    return table


def check_not_all_missing(frame: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise `DataError` if one of the columns has no value at all."""
    for name in names:
        if frame[name].isna().all():
            raise DataError.of(
                f"column {name!r}",
                found="no value in any row",
                expected="at least one value",
                mend="fill the column, or do not name it (ignore it, if it was inferred)",
            )


def sensitive_groups(
    frame: pd.DataFrame,
    names: Sequence[str],
    listed: Mapping[str, Sequence[object]],
    continuous: Sequence[str] = (),
) -> GroupSpec:
    """Categories of the sensitive attributes: those listed, else all values in sorted order.

    Raises:
        DataError: If fewer than two categories of an attribute occur in the table.
        ArgumentError: If listed categories repeat or are fewer than two.
    """
    found = {name: sorted_labels(frame[name]) for name in names}
    for name, values in found.items():
        wanted = list(map(str, as_labels(list(listed.get(name, values)))))
        present = [value for value in wanted if value in values]
        if len(present) < 2:
            raise DataError.of(
                f"sensitive attribute {name!r}",
                found=f"{len(present)} of the categories {shorten(wanted)}; "
                f"the column holds {shorten(values)}",
                expected="at least two groups in the table",
                mend="list the categories as the table spells them, or leave the attribute out",
            )
    return GroupSpec({n: listed.get(n, values) for n, values in found.items()}, continuous)


def sorted_labels(column: pd.Series) -> list[str]:
    """Different values as labels, in the order of the values: 9 before 10."""
    labels = dict(zip(column.astype(object), as_labels(column), strict=True))
    values = [value for value in labels if not pd.isna(value)]
    try:
        values.sort()
    except TypeError:  # different types in one column
        values.sort(key=str)
    return list(dict.fromkeys(labels[value] for value in values))


def _rows(mask: pd.Series | npt.NDArray[np.bool_]) -> str:
    return f"first in row {int(np.flatnonzero(mask)[0])} counted from 0"
