"""From a raw table to encoded splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.encoding import TableEncoder
from fairlightning.data.roles import Roles
from fairlightning.data.splits import Ints, column_splits, stratified_splits
from fairlightning.data.values import (
    binary_target,
    check_not_all_missing,
    numbers,
    row_weights,
    sensitive_groups,
)
from fairlightning.exceptions import DataError
from fairlightning.groups import GroupSpec


@dataclass(frozen=True)
class Prepared:
    """A table that was checked, split and encoded.

    Attributes:
        frame: Source rows.
        groups: Sensitive attributes and their groups.
        positive: Label value that counts as 1.
        encoder: Fitted on the training rows.
        batches: Encoded rows of each split.
    """

    frame: pd.DataFrame
    groups: GroupSpec
    positive: str
    encoder: TableEncoder
    batches: dict[str, Batch]


def prepare(
    frame: pd.DataFrame,
    roles: Roles,
    *,
    positive: object | None,
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
    target, positive_label = binary_target(frame[roles.target], positive)
    weight = None
    if roles.weight is not None:
        weight = torch.from_numpy(row_weights(frame[roles.weight])).float()
    groups = sensitive_groups(frame, roles.sensitive, categories)
    sensitive = groups.encode(frame)
    if roles.split is None:
        rows = stratified_splits(
            target,
            groups.cell_ids(sensitive).numpy(),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
    else:
        rows = column_splits(frame[roles.split])
    _check_both_classes(target[rows["train"]])
    encoder = TableEncoder(features, frame.iloc[rows["train"]])
    columns = torch.from_numpy(target), sensitive, weight
    batches = {name: _batch(frame, encoder, part, *columns) for name, part in rows.items()}
    return Prepared(frame, groups, positive_label, encoder, batches)


def _batch(
    frame: pd.DataFrame,
    encoder: TableEncoder,
    rows: Ints,
    target: Tensor,
    sensitive: Tensor,
    weight: Tensor | None,
) -> Batch:
    index = torch.from_numpy(rows)
    return Batch(
        encoder(frame.iloc[rows]),
        target[index],
        sensitive[index],
        None if weight is None else weight[index],
        index,
        checked=True,
    )


def _check_both_classes(target: Ints) -> None:
    if target.min() == target.max():
        raise DataError.of(
            "split",
            found=f"only label {target[0]} in the {len(target)} training rows",
            expected="both labels",
            mend="use more rows, or another split",
        )
