"""What can be counted: base rates of groups and intersections, and missing values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fairlightning.functional.intervals import rate_interval
from fairlightning.groups import GroupSpec

SPLITS = ("train", "validation", "test")


def base_rates(
    groups: GroupSpec, sensitive: Tensor, target: Tensor, weight: Tensor | None = None
) -> list[dict[str, Any]]:
    """Share of label 1 in every group and every intersection, with 95 % intervals.

    Args:
        groups: Sensitive attributes.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        target: `(N,)` labels in {0, 1}.
        weight: `(N,)` row weights ≥ 0; intervals then rest on Kish's effective number of rows.

    Returns:
        Entries `{attribute, group, rate, low, high, support}`, attributes alone first. A group
        without rows has rate None, and limits 0 and 1.

    >>> spec = GroupSpec({"sex": ["f", "m"]})
    >>> base_rates(spec, torch.tensor([[0], [0], [-1]]), torch.tensor([1, 0, 1]))[0]["rate"]
    0.5
    """
    mass = torch.ones(len(target)) if weight is None else weight
    mass = mass.double()
    entries = []
    for partition in groups.partitions:
        slot, size = groups.group_ids(sensitive, partition) + 1, groups.num_groups(partition) + 1
        total, square = _sums(mass, slot, size), _sums(mass**2, slot, size)
        rate = _sums(mass * target, slot, size) / total
        rows = slot.bincount(minlength=size)[1:]
        trials = torch.where(total > 0, total**2 / square, 0.0)
        low, high = rate_interval(torch.where(total > 0, rate * trials, 0.0), trials)
        columns = zip(rate.tolist(), low.tolist(), high.tolist(), rows.tolist(), strict=True)
        for name, (value, lower, upper, support) in zip(
            groups.group_names(partition), columns, strict=True
        ):
            known = None if value != value else value
            ends = {"low": lower, "high": upper, "support": support}
            entries.append({**_about(partition, name), "rate": known, **ends})
    return entries


def missingness(
    frame: pd.DataFrame, columns: Iterable[str], groups: GroupSpec, sensitive: Tensor
) -> list[dict[str, Any]]:
    """Share of missing values, over all rows and in each group, of the columns that have any.

    Args:
        frame: `(N, …)` source rows.
        columns: Columns to look at.
        groups: Sensitive attributes.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.

    Returns:
        Entries `{column, attribute, group, missing, rate, low, high, support}`; attribute and group
        are None for all rows.
    """
    entries = []
    for column in columns:
        absent = torch.from_numpy(frame[column].isna().to_numpy(bool, copy=True))
        if not absent.any():
            continue
        for attribute, group, rows in [(None, None, absent >= 0), *_members(groups, sensitive)]:
            missing, support = int(absent[rows].sum()), int(rows.sum())
            low, high = rate_interval(torch.tensor(missing), torch.tensor(support))
            entries.append(
                {
                    "column": column,
                    "attribute": attribute,
                    "group": group,
                    "missing": missing,
                    "rate": missing / support if support else None,
                    "low": low.item(),
                    "high": high.item(),
                    "support": support,
                }
            )
    return entries


def _sums(mass: Tensor, slot: Tensor, size: int) -> Tensor:
    # Slot 0 collects the rows of unknown group.
    return mass.new_zeros(size).index_add(0, slot, mass)[1:]


def _members(groups: GroupSpec, sensitive: Tensor) -> Iterator[tuple[str, str, Tensor]]:
    for attribute in groups.names:
        ids = groups.group_ids(sensitive, (attribute,))
        for position, name in enumerate(groups.group_names((attribute,))):
            yield attribute, name, ids == position


def _about(partition: tuple[str, ...], group: str) -> dict[str, Any]:
    return {"attribute": " & ".join(partition), "group": group}
