"""What a prepared table holds: as a plain dict for programs, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from fairlightning.groups import GroupSpec, as_labels

if TYPE_CHECKING:
    from fairlightning.data.prepare import Prepared


def describe(table: Prepared) -> dict[str, Any]:
    """Facts about the table, in plain Python values; see `TabularDataModule.describe`."""
    frame, batches, encoder = table.frame, table.batches, table.encoder
    target = torch.cat([batch.target for batch in batches.values()])
    sensitive = torch.cat([batch.sensitive for batch in batches.values()])
    train = frame.iloc[batches["train"].index.numpy()]
    used = [*encoder.features.numeric, *encoder.features.categorical, *table.groups.names]
    missing = {name: int(frame[name].isna().sum()) for name in dict.fromkeys(used)}
    unseen = {
        split: encoder.unseen(frame.iloc[batches[split].index.numpy()])
        for split in ("validation", "test")
    }
    return {
        "rows": len(frame),
        "positive": table.positive,
        "base_rate": _rate(target),
        "splits": {
            split: {"rows": len(batch.target), "base_rate": _rate(batch.target)}
            for split, batch in batches.items()
        },
        "numeric": list(encoder.features.numeric),
        "categorical": dict(zip(encoder.categories, encoder.cardinalities, strict=True)),
        "unused": list(encoder.features.unused),
        "groups": _group_facts(table.groups, sensitive, target),
        "unknown_sensitive": {
            name: int((sensitive[:, axis] < 0).sum())
            for axis, name in enumerate(table.groups.names)
        },
        "unlisted_sensitive": _unlisted(table.groups, frame),
        "missing": {name: count for name, count in missing.items() if count},
        "unseen": {split: columns for split, columns in unseen.items() if columns},
        "constant": [
            name for name in dict.fromkeys(used) if train[name].nunique(dropna=False) == 1
        ],
    }


def _rate(target: Tensor) -> float:
    return float(target.double().mean())


def _group_facts(
    groups: GroupSpec, sensitive: Tensor, target: Tensor
) -> dict[str, dict[str, dict[str, Any]]]:
    facts = {}
    for partition in groups.partitions:
        # Slot 0 collects the rows of unknown group.
        slot, size = groups.group_ids(sensitive, partition) + 1, groups.num_groups(partition) + 1
        rows = slot.bincount(minlength=size)[1:].tolist()
        positive = slot[target == 1].bincount(minlength=size)[1:].tolist()
        facts[" & ".join(partition)] = {
            name: {"rows": n, "base_rate": p / n if n else None}
            for name, n, p in zip(groups.group_names(partition), rows, positive, strict=True)
        }
    return facts


def _unlisted(groups: GroupSpec, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Values that are none of the categories, with their number of rows."""
    found = {}
    for name, categories in zip(groups.names, groups.categories, strict=True):
        labels = as_labels(frame[name]).dropna()
        others = labels[~labels.isin(categories)].value_counts()
        if len(others):
            found[name] = {str(value): int(count) for value, count in others.items()}
    return found


def report(facts: dict[str, Any]) -> str:
    """The facts of `describe` as text."""
    lines = [f"{facts['rows']:,} rows, {facts['base_rate']:.1%} positive ({facts['positive']})"]
    for name, part in facts["splits"].items():
        lines.append(f"  {name}: {part['rows']:,} rows, {part['base_rate']:.1%} positive")
    categorical = [f"{name} ({size - 1})" for name, size in facts["categorical"].items()]
    lines += [
        f"numeric features: {_join(facts['numeric'])}",
        f"categorical features (categories): {_join(categorical)}",
        f"columns without a role: {_join(facts['unused'])}",
    ]
    for partition, groups in facts["groups"].items():
        lines.append(f"groups of {partition}:")
        for name, group in groups.items():
            rate = "" if group["base_rate"] is None else f", {group['base_rate']:.1%} positive"
            lines.append(f"  {name}: {group['rows']:,} rows{rate}")
    unknown = [f"{name} {count:,} rows" for name, count in facts["unknown_sensitive"].items()]
    lines.append(f"unknown sensitive value: {_join(unknown)}")
    for name, values in facts["unlisted_sensitive"].items():
        named = [f"{value} ({count:,} rows)" for value, count in values.items()]
        lines.append(f"values of {name} that are no category: {_join(named)}")
    missing = [f"{name} {count:,}" for name, count in facts["missing"].items()]
    lines.append(f"missing values: {_join(missing)}")
    for split, columns in facts["unseen"].items():
        named = [f"{name} {', '.join(values)}" for name, values in columns.items()]
        lines.append(f"in {split} but not in train: {'; '.join(named)}")
    lines.append(f"constant in train: {_join(facts['constant'])}")
    return "\n".join(lines)


def _join(names: list[str]) -> str:
    return ", ".join(names) or "none"
