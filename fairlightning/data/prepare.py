"""From a raw table to encoded splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.bins import quantile_bins
from fairlightning.data.encoding import TableEncoder
from fairlightning.data.roles import Roles
from fairlightning.data.splits import Ints, column_splits, stratified_splits
from fairlightning.data.targets import of_training, read_target
from fairlightning.data.values import (
    check_not_all_missing,
    numbers,
    row_weights,
    sensitive_groups,
)
from fairlightning.functional.tasks import Task, TaskKind
from fairlightning.groups import GroupSpec


@dataclass(frozen=True)
class Prepared:
    """A table that was checked, split and encoded.

    Attributes:
        frame: Source rows.
        groups: Sensitive attributes and their groups.
        task: What is predicted.
        positive: Label value that counts as 1; None but for a binary target.
        encoder: Fitted on the training rows.
        batches: Encoded rows of each split.
    """

    frame: pd.DataFrame
    groups: GroupSpec
    task: Task
    positive: str | None
    encoder: TableEncoder
    batches: dict[str, Batch]


def prepare(
    frame: pd.DataFrame,
    roles: Roles,
    *,
    task: TaskKind = "binary",
    positive: object | None,
    classes: Sequence[object] | None = None,
    continuous: Mapping[str, int] | None = None,
    categories: Mapping[str, Sequence[object]],
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Prepared:
    """Check, split and encode a table; the arguments are those of `TabularDataModule`.

    Raises:
        DataError: If something in the table stands in the way of training.
    """
    features = roles.features(frame)
    check_not_all_missing(frame, [*features.numeric, *features.categorical, *roles.sensitive])
    numbers(frame, features.numeric)  # bad values are named by their row in the whole table
    target = read_target(frame[roles.target], task, positive, classes)
    weight = None
    if roles.weight is not None:
        weight = torch.from_numpy(row_weights(frame[roles.weight])).float()
    continuous = continuous or {}
    binned, listed = _binned(frame, continuous, categories)
    groups = sensitive_groups(binned, roles.sensitive, listed, list(continuous))
    sensitive = groups.encode(binned)
    if roles.split is None:
        rows = stratified_splits(
            target.strata,
            groups.cell_ids(sensitive).numpy(),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
    else:
        rows = column_splits(frame[roles.split])
    learned = of_training(target, rows["train"])
    encoder = TableEncoder(features, frame.iloc[rows["train"]])
    values = _standardised(frame, list(continuous), rows["train"]) if continuous else None
    columns = torch.from_numpy(target.values), sensitive, weight, values
    batches = {name: _batch(frame, encoder, part, *columns) for name, part in rows.items()}
    return Prepared(frame, groups, learned, target.positive, encoder, batches)


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


def _batch(
    frame: pd.DataFrame,
    encoder: TableEncoder,
    rows: Ints,
    target: Tensor,
    sensitive: Tensor,
    weight: Tensor | None,
    continuous: Tensor | None,
) -> Batch:
    index = torch.from_numpy(rows)
    return Batch(
        encoder(frame.iloc[rows]),
        target[index],
        sensitive[index],
        None if weight is None else weight[index],
        index,
        checked=True,
        continuous=None if continuous is None else continuous[index],
    )
