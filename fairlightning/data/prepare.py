"""From raw rows to splits of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.bins import quantile_bins
from fairlightning.data.encoding import TableEncoder
from fairlightning.data.roles import Roles
from fairlightning.data.splits import Ints, check_fractions, column_splits, stratified_splits
from fairlightning.data.targets import of_training, read_target
from fairlightning.data.values import (
    check_not_all_missing,
    numbers,
    row_weights,
    sensitive_groups,
)
from fairlightning.exceptions import check_choice
from fairlightning.functional.tasks import TASK_NAMES, Task
from fairlightning.groups import GroupSpec


@dataclass(frozen=True)
class Labelling:
    """What the columns of target and sensitive attributes mean, and how rows are split.

    Attributes:
        task: What the target is, one of `TASK_NAMES`.
        positive: Of `binary`: label value that counts as 1. None accepts 0/1 and booleans.
        classes: Of `multiclass` and `ordinal`: the labels in the order of their numbers; None takes
            all of `multiclass`, sorted.
        categories: Categories of the sensitive attributes for which they are listed.
        continuous: Those of the attributes that are numbers, and their bins.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for the test.
        seed: Seed of the splits.

    Raises:
        ArgumentError: If there is no such task.
        DataError: If the fractions leave no rows.
    """

    task: str
    positive: object | None
    classes: Sequence[object] | None
    categories: Mapping[str, Sequence[object]]
    val_fraction: float
    test_fraction: float
    seed: int
    continuous: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fractions(self.val_fraction, self.test_fraction)
        check_choice("task", self.task, TASK_NAMES)


@dataclass(frozen=True)
class Labelled:
    """Labels and sensitive attributes of all rows, checked, and the rows of each split.

    Attributes:
        frame: Source rows: the whole table, or what comes beside images and sequences.
        groups: Sensitive attributes and their groups.
        task: What is predicted.
        positive: Label value that counts as 1; None but for a binary target.
        target: `(N,)` int64 labels; float32 amounts of a regression.
        sensitive: `(N, A)` int64 codes.
        weight: `(N,)` float32 row weights, or None.
        continuous: `(N, B)` float32 continuous attributes, NaN where missing; None without any.
        rows: Row numbers of each split.
    """

    frame: pd.DataFrame
    groups: GroupSpec
    task: Task
    positive: str | None
    target: Tensor
    sensitive: Tensor
    weight: Tensor | None
    continuous: Tensor | None
    rows: dict[str, Ints]

    def batches(self, inputs: Callable[[Ints], Any]) -> dict[str, Batch]:
        """Rows of each split, whose inputs are made from row numbers."""
        return {name: self._batch(inputs(rows), rows) for name, rows in self.rows.items()}

    def _batch(self, inputs: Any, rows: Ints) -> Batch:
        index = torch.from_numpy(rows)
        return Batch(
            inputs,
            self.target[index],
            self.sensitive[index],
            None if self.weight is None else self.weight[index],
            index,
            checked=True,
            continuous=None if self.continuous is None else self.continuous[index],
        )


def label_rows(frame: pd.DataFrame, roles: Roles, how: Labelling) -> Labelled:
    """Check labels, weights and sensitive attributes, and split the rows.

    Raises:
        DataError: If something in these columns stands in the way of training.
    """
    check_not_all_missing(frame, roles.sensitive)
    target = read_target(frame[roles.target], how.task, how.positive, how.classes)
    weight = None
    if roles.weight is not None:
        weight = torch.from_numpy(row_weights(frame[roles.weight])).float()
    continuous = list(how.continuous)
    binned, listed = _binned(frame, how.continuous, how.categories)
    groups = sensitive_groups(binned, roles.sensitive, listed, continuous)
    sensitive = groups.encode(binned)
    if roles.split is None:
        rows = stratified_splits(
            target.strata,
            groups.cell_ids(sensitive).numpy(),
            val_fraction=how.val_fraction,
            test_fraction=how.test_fraction,
            seed=how.seed,
        )
    else:
        rows = column_splits(frame[roles.split])
    return Labelled(
        frame,
        groups,
        of_training(target, rows["train"]),
        target.positive,
        torch.from_numpy(target.values),
        sensitive,
        weight,
        _standardised(frame, continuous, rows["train"]) if continuous else None,
        rows,
    )


@dataclass(frozen=True)
class Prepared:
    """Rows that were checked, split and turned into tensors.

    Attributes:
        labelled: Labels, sensitive attributes and source rows.
        batches: Encoded rows of each split.
        encoder: Of tables: fitted on the training rows.
    """

    labelled: Labelled
    batches: dict[str, Batch]
    encoder: TableEncoder | None = None


def prepare(frame: pd.DataFrame, roles: Roles, how: Labelling) -> Prepared:
    """Check, split and encode a table.

    Raises:
        DataError: If something in the table stands in the way of training.
    """
    features = roles.features(frame)
    check_not_all_missing(frame, [*features.numeric, *features.categorical])
    numbers(frame, features.numeric)  # bad values are named by their row in the whole table
    labelled = label_rows(frame, roles, how)
    encoder = TableEncoder(features, frame.iloc[labelled.rows["train"]])
    return Prepared(labelled, labelled.batches(lambda rows: encoder(frame.iloc[rows])), encoder)


def _binned(
    frame: pd.DataFrame, continuous: Mapping[str, int], categories: Mapping[str, Sequence[object]]
) -> tuple[pd.DataFrame, dict[str, Sequence[object]]]:
    """The table with bins in place of continuous attributes, and the categories of all."""
    listed, columns = dict(categories), {}
    for name, bins in continuous.items():
        listed[name], columns[name] = quantile_bins(frame[name], bins)
    return frame.assign(**columns) if columns else frame, listed


def _standardised(frame: pd.DataFrame, names: Sequence[str], train: Ints) -> Tensor:
    """Values `(N, B)` of mean 0 and deviation 1 over the training rows, NaN where missing."""
    values = numbers(frame, names)
    deviation = np.nanstd(values[train], axis=0)
    values = (values - np.nanmean(values[train], axis=0)) / np.where(deviation > 0, deviation, 1)
    return torch.from_numpy(values.astype(np.float32))
