"""The target column of a table as labels, classes or amounts, and the task that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairlightning.data.splits import Ints
from fairlightning.data.table import shorten
from fairlightning.data.values import binary_target, check_complete, numbers, sorted_labels
from fairlightning.exceptions import DataError
from fairlightning.functional.tasks import Task
from fairlightning.groups import as_labels


class Target(NamedTuple):
    """A target column.

    Attributes:
        values: `(N,)` int64 labels, or float32 amounts of a regression.
        task: What is predicted; of a regression without its mean and deviation, which are learned
            from the training rows.
        positive: Label value that counts as 1; None but for a binary target.
        strata: `(N,)` labels by which splits are stratified: quarters of amounts.
    """

    values: npt.NDArray[Any]
    task: Task
    positive: str | None
    strata: Ints


def read_target(
    column: pd.Series, kind: str, positive: object | None, classes: Sequence[object] | None
) -> Target:
    """Read the target of a task.

    Args:
        column: `(N,)` target column.
        kind: Name of the task.
        positive: Of `binary`: the value that counts as 1; None accepts 0/1 and booleans.
        classes: Of `multiclass` and `ordinal`: the classes in the order of the labels; None takes
            all values of `multiclass` in sorted order.

    Raises:
        DataError: If a target is missing or cannot be used, or an argument is of another task.
    """
    stray = "positive" if kind != "binary" and positive is not None else None
    several = Task.of(kind).kind == "multiclass"
    stray = "classes" if not several and classes is not None else stray
    if stray:
        raise DataError.of(
            stray,
            found=repr(positive if stray == "positive" else list(classes or ())),
            expected=f"nothing, for task={kind!r}",
            mend=f"leave {stray} out, or name another task",
        )
    if kind == "binary":
        labels, wanted = binary_target(column, positive)
        return Target(labels, Task(), wanted, labels)
    check_complete(column)
    if several:
        if kind == "ordinal" and classes is None:
            raise DataError.of(
                "classes",
                found="nothing, for task='ordinal'",
                expected="the classes from low to high",
                mend="pass classes=[low, middle, high], or task='multiclass' if they have no order",
            )
        labels, names = _classes(column, classes)
        return Target(labels, Task("multiclass", names, ordered=kind == "ordinal"), None, labels)
    amounts = numbers(column.to_frame(), [str(column.name)])[:, 0]
    if amounts.min() == amounts.max():
        raise DataError.of(
            f"target {column.name!r}",
            found=f"the amount {amounts[0]:g} in every row",
            expected="amounts that differ",
            mend="name another column",
        )
    quarters = pd.qcut(amounts, 4, labels=False, duplicates="drop")
    single = _single_precision(str(column.name), amounts)
    return Target(single, Task("regression"), None, quarters.astype(np.int64))


def of_training(target: Target, rows: Ints) -> Task:
    """Return the task with what the training rows teach: mean and deviation of amounts.

    Raises:
        DataError: If a class does not occur among them, or their amounts do not differ.
    """
    train = target.values[rows]
    if target.task.kind == "regression":
        deviation = float(train.std(dtype=np.float64))
        if not deviation > 0:
            found = f"only the amount {train[0]:g} in the {len(train)} training rows"
            raise _unlearnable(found, "amounts that differ")
        return Task("regression", center=float(train.mean(dtype=np.float64)), scale=deviation)
    if target.task.kind == "binary":
        if train.min() == train.max():
            found = f"only label {train[0]} in the {len(train)} training rows"
            raise _unlearnable(found, "both labels")
        return target.task
    missing = np.setdiff1d(np.arange(len(target.task.classes)), train)
    if len(missing):
        names = [target.task.classes[label] for label in missing]
        raise _unlearnable(f"no training row of {shorten(names)}", "rows of every class")
    return target.task


def _single_precision(name: str, amounts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Amounts as float32, which must tell them apart to a thousandth of their deviation."""
    with np.errstate(over="ignore"):
        single = amounts.astype(np.float32)
        lost, deviation = np.abs(amounts - single).max(), amounts.std()
    if not lost < 1e-3 * deviation:
        raise DataError.of(
            f"target {name!r}",
            found=f"amounts from {amounts.min():g} to {amounts.max():g} of deviation "
            f"{deviation:g}, of which float32 would lose up to {lost:g}",
            expected="amounts whose differences remain in float32",
            mend="subtract an offset, or choose another unit",
        )
    return single


def _classes(column: pd.Series, wanted: Sequence[object] | None) -> tuple[Ints, tuple[str, ...]]:
    labels = as_labels(column)
    names = sorted_labels(column) if wanted is None else list(map(str, as_labels(list(wanted))))
    unknown = labels[~labels.isin(names)]
    if len(unknown) or len(names) < 3 or len(set(names)) < len(names):
        raise DataError.of(
            f"target {column.name!r}",
            found=f"{len(unknown)} rows with {shorten(unknown.unique().tolist())}"
            if len(unknown)
            else f"the classes {shorten(names)}",
            expected="three classes or more, each named once, and no other value",
            mend="list every class in classes, or leave it out"
            if len(unknown)
            else "two classes are task='binary'",
        )
    return pd.Categorical(labels, categories=names).codes.astype(np.int64), tuple(names)


def _unlearnable(found: str, expected: str) -> DataError:
    return DataError.of(
        "split",
        found=found,
        expected=expected,
        mend="use more rows, or another split",
    )
