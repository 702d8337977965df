"""From raw rows to splits of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
class Labelled:
    """Labels and sensitive attributes of all rows, checked, and the rows of each split.

    Attributes:
        frame: Source rows: the whole table, or what comes beside images and sequences.
        groups: Sensitive attributes and their groups.
        positive: Label value that counts as 1.
        target: `(N,)` int64 labels.
        sensitive: `(N, A)` int64 codes.
        weight: `(N,)` float32 row weights, or None.
        rows: Row numbers of each split.
    """

    frame: pd.DataFrame
    groups: GroupSpec
    positive: str
    target: Tensor
    sensitive: Tensor
    weight: Tensor | None
    rows: dict[str, Ints]

    def batches(self, inputs: Callable[[Ints], Any]) -> dict[str, Batch]:
        """Rows of each split, whose inputs are made from row numbers."""
        return {name: self._batch(inputs(rows), rows) for name, rows in self.rows.items()}

    def _batch(self, inputs: Any, rows: Ints) -> Batch:
        index = torch.from_numpy(rows)
        weight = None if self.weight is None else self.weight[index]
        part = self.target[index], self.sensitive[index], weight, index
        return Batch(inputs, *part, checked=True)


def label_rows(
    frame: pd.DataFrame,
    roles: Roles,
    *,
    positive: object | None,
    categories: Mapping[str, Sequence[object]],
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Labelled:
    """Check labels, weights and sensitive attributes, and split the rows.

    Raises:
        DataError: If something in these columns stands in the way of training.
    """
    check_not_all_missing(frame, roles.sensitive)
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
    return Labelled(
        frame, groups, positive_label, torch.from_numpy(target), sensitive, weight, rows
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


def prepare(frame: pd.DataFrame, roles: Roles, **options: Any) -> Prepared:
    """Check, split and encode a table; the options are those of `label_rows`.

    Raises:
        DataError: If something in the table stands in the way of training.
    """
    features = roles.features(frame)
    check_not_all_missing(frame, [*features.numeric, *features.categorical])
    numbers(frame, features.numeric)  # bad values are named by their row in the whole table
    labelled = label_rows(frame, roles, **options)
    encoder = TableEncoder(features, frame.iloc[labelled.rows["train"]])
    return Prepared(labelled, labelled.batches(lambda rows: encoder(frame.iloc[rows])), encoder)


def _check_both_classes(target: Ints) -> None:
    if target.min() == target.max():
        raise DataError.of(
            "split",
            found=f"only label {target[0]} in the {len(target)} training rows",
            expected="both labels",
            mend="use more rows, or another split",
        )
