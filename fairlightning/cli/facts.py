"""What the advisor wants to know of data."""

from __future__ import annotations

from math import prod

from fairlightning.advisor import Facts
from fairlightning.advisor.recommend import FEW
from fairlightning.cli.build import check_binary
from fairlightning.data import MemoryDataModule


def data_facts(data: MemoryDataModule) -> Facts:
    """Sizes, unknown values and base rates of the groups.

    Args:
        data: After `setup()`.

    Raises:
        ArgumentError: If its target is not binary.
    """
    check_binary(data, "advice")
    told, groups = data.describe(), data.groups
    ids = groups.group_ids(data.batch("train").sensitive, groups.names)
    counts = (ids[ids >= 0]).bincount(minlength=prod(groups.sizes))
    named = dict(zip(groups.group_names(groups.names), counts.tolist(), strict=True))
    present = {name: count for name, count in named.items() if count}
    smallest = min(present, key=lambda name: present[name], default=None)
    gaps = {}
    for name in groups.names:
        rates = [g["base_rate"] for g in told["groups"][name].values() if g["rows"] >= FEW]
        if len(rates) > 1:
            gaps[name] = max(rates) - min(rates)
    return Facts(
        rows=told["rows"],
        train_rows=told["splits"]["train"]["rows"],
        positives=told["base_rate"],
        attributes=dict(zip(groups.names, groups.sizes, strict=True)),
        smallest=smallest,
        smallest_rows=min(present.values(), default=0),
        empty=len(named) - len(present),
        unknown={name: rows / told["rows"] for name, rows in told["unknown_sensitive"].items()},
        base_rate_gap=gaps,
    )
