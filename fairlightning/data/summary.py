"""What a prepared table holds: as a plain dict for programs, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec, as_labels

if TYPE_CHECKING:
    from fairlightning.data.encoding import TableEncoder
    from fairlightning.data.prepare import Prepared


def describe(prepared: Prepared) -> dict[str, Any]:
    """Facts about the rows, in plain Python values; see `MemoryDataModule.describe`."""
    labelled, batches = prepared.labelled, prepared.batches
    target = torch.cat([batch.target for batch in batches.values()])
    sensitive = torch.cat([batch.sensitive for batch in batches.values()])
    task = labelled.task
    facts = {
        "rows": len(labelled.frame),
        "task": task.name,
        **({"positive": labelled.positive} if task.kind == "binary" else {}),
        **_target_facts(task, target),
        "splits": {
            split: {"rows": len(batch.target), **_target_facts(task, batch.target)}
            for split, batch in batches.items()
        },
        "groups": _group_facts(labelled.groups, sensitive, target, task),
        "continuous": list(labelled.groups.continuous),
        "unknown_sensitive": {
            name: int((sensitive[:, axis] < 0).sum())
            for axis, name in enumerate(labelled.groups.names)
        },
        "unlisted_sensitive": _unlisted(labelled.groups, labelled.frame),
    }
    encoder = prepared.encoder
    return facts if encoder is None else {**facts, **_columns(prepared, encoder)}


def _columns(prepared: Prepared, encoder: TableEncoder) -> dict[str, Any]:
    """Facts about the columns of a table."""
    frame, batches = prepared.labelled.frame, prepared.batches
    train = frame.iloc[batches["train"].index.numpy()]
    groups = prepared.labelled.groups
    used = [*encoder.features.numeric, *encoder.features.categorical, *groups.names]
    missing = {name: int(frame[name].isna().sum()) for name in dict.fromkeys(used)}
    unseen = {
        split: encoder.unseen(frame.iloc[batches[split].index.numpy()])
        for split in ("validation", "test")
    }
    return {
        "numeric": list(encoder.features.numeric),
        "categorical": dict(zip(encoder.categories, encoder.cardinalities, strict=True)),
        "unused": list(encoder.features.unused),
        "missing": {name: count for name, count in missing.items() if count},
        "unseen": {split: columns for split, columns in unseen.items() if columns},
        "constant": [
            name for name in dict.fromkeys(used) if train[name].nunique(dropna=False) == 1
        ],
    }


def _target_facts(task: Task, target: Tensor) -> dict[str, Any]:
    """Base rate of labels, share of each class, or mean amount; None without rows."""
    if task.kind == "multiclass":
        rows = target.bincount(minlength=len(task.classes)).tolist()
        shares = [n / len(target) if len(target) else None for n in rows]
        return {"shares": dict(zip(task.classes, shares, strict=True))}
    mean = float(target.double().mean()) if len(target) else None
    return {"base_rate" if task.kind == "binary" else "mean": mean}


def _group_facts(
    groups: GroupSpec, sensitive: Tensor, target: Tensor, task: Task
) -> dict[str, dict[str, dict[str, Any]]]:
    facts = {}
    for partition in groups.partitions:
        group = groups.group_ids(sensitive, partition)
        order = group.argsort(stable=True)
        # The first part collects the rows of unknown group.
        sizes = (group + 1).bincount(minlength=groups.num_groups(partition) + 1).tolist()
        parts = target[order].split(sizes)[1:]
        facts[" & ".join(partition)] = {
            name: {"rows": len(part), **_target_facts(task, part)}
            for name, part in zip(groups.group_names(partition), parts, strict=True)
        }
    return facts


def _unlisted(groups: GroupSpec, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Values that are none of the categories, with their number of rows."""
    found = {}
    for name, categories in zip(groups.names, groups.categories, strict=True):
        if name in groups.continuous:
            continue  # every value lies in a bin
        labels = as_labels(frame[name]).dropna()
        others = labels[~labels.isin(categories)].value_counts()
        if len(others):
            found[name] = {str(value): int(count) for value, count in others.items()}
    return found


def report(facts: dict[str, Any]) -> str:
    """The facts of `describe` as text."""
    lines = [f"{facts['rows']:,} rows, {_shown(facts)}"]
    for name, part in facts["splits"].items():
        lines.append(f"  {name}: {part['rows']:,} rows, {_shown(part)}")
    if facts["task"] == "binary":
        lines[0] += f" ({facts['positive']})"
    else:
        lines.insert(0, f"task: {facts['task']}")
    if "inputs" in facts:
        lines.append(f"inputs: {facts['inputs']}")
    if "numeric" in facts:
        categorical = [f"{name} ({size - 1})" for name, size in facts["categorical"].items()]
        lines += [
            f"numeric features: {_join(facts['numeric'])}",
            f"categorical features (categories): {_join(categorical)}",
            f"columns without a role: {_join(facts['unused'])}",
        ]
    for partition, groups in facts["groups"].items():
        lines.append(f"groups of {partition}:")
        for name, group in groups.items():
            rate = f", {_shown(group)}" if group["rows"] else ""
            lines.append(f"  {name}: {group['rows']:,} rows{rate}")
    if facts["continuous"]:
        lines.append(f"bins of equal frequency: {_join(facts['continuous'])}")
    unknown = [f"{name} {count:,} rows" for name, count in facts["unknown_sensitive"].items()]
    lines.append(f"unknown sensitive value: {_join(unknown)}")
    for name, values in facts["unlisted_sensitive"].items():
        named = [f"{value} ({count:,} rows)" for value, count in values.items()]
        lines.append(f"values of {name} that are no category: {_join(named)}")
    return "\n".join(lines + _column_lines(facts))


def _column_lines(facts: dict[str, Any]) -> list[str]:
    if "missing" not in facts:
        return []
    missing = [f"{name} {count:,}" for name, count in facts["missing"].items()]
    lines = [f"missing values: {_join(missing)}"]
    for split, columns in facts["unseen"].items():
        named = [f"{name} {', '.join(values)}" for name, values in columns.items()]
        lines.append(f"in {split} but not in train: {'; '.join(named)}")
    return [*lines, f"constant in train: {_join(facts['constant'])}"]


def _shown(part: dict[str, Any]) -> str:
    if "shares" in part:
        return ", ".join(f"{share:.1%} {name}" for name, share in part["shares"].items())
    if "mean" in part:
        return f"mean {part['mean']:.4g}"
    return f"{part['base_rate']:.1%} positive"


def _join(names: list[str]) -> str:
    return ", ".join(names) or "none"
