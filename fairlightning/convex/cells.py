"""Means of rows by group and label, of which every constraint on mean logits is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairlightning.functional.parity import Criterion, criterion_cells
from fairlightning.functional.rates import Rates, rates_from_sums, segment_sums
from fairlightning.groups import GroupSpec

if TYPE_CHECKING:
    from fairlightning.convex.constraints import LinearConstraint


class Cells:
    """Sums of rows by group and label, from which every constraint takes its means.

    One table for each partition, added up in one pass over the data, whatever the number of
    constraints. Rows of unknown group take no part.

    Args:
        constraints: What will be asked for.
        groups: The sensitive attributes.
    """

    def __init__(self, constraints: Sequence[LinearConstraint], groups: GroupSpec) -> None:
        self.groups = groups
        found = [p for constraint in constraints for p in constraint.partitions(groups)]
        self.partitions = tuple(dict.fromkeys(found))
        self.sums: dict[tuple[str, ...], Tensor] = {}

    def add(self, rows: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor) -> None:
        """Take in a batch.

        Args:
            rows: `(N, P)` float64, the column of the intercept last.
            target: `(N,)` int64 labels in {0, 1}.
            sensitive: `(N, A)` int64 codes.
            weight: `(N,)` float64 row weights.
        """
        if not self.partitions:
            return
        # Mass comes with the intercept's column of ones; the last row counts what has any weight.
        values = (rows * weight[:, None]).T
        counted = (weight > 0).to(rows.dtype)[None]
        for partition in self.partitions:
            count = self.groups.num_groups(partition)
            group = self.groups.group_ids(sensitive, partition)
            cell = criterion_cells("equalized_odds", target, group, count)
            sums = torch.cat([segment_sums(v, cell, 2 * count) for v in (values, counted)])
            sums = sums.view(len(sums), 2, count)
            before = self.sums.get(partition)
            self.sums[partition] = sums if before is None else before.to(sums.device) + sums

    def conditions(
        self, criterion: Criterion, partition: tuple[str, ...]
    ) -> Iterator[tuple[str, Rates]]:
        """Name of every condition of a criterion, and the groups' means under it.

        The rates are `(P + 1, G)`: means of the P columns, then a row without meaning. Of the
        supports the last row counts rows, the one before it is the mass.
        """
        sums = self.sums[partition]
        if criterion == "demographic_parity":
            chosen = [("all", sums.sum(1))]
        elif criterion == "equal_opportunity":
            chosen = [("label=1", sums[:, 1])]
        else:
            chosen = [("label=0", sums[:, 0]), ("label=1", sums[:, 1])]
        for label, part in chosen:
            mass, count = part[-2], part[-1]
            support = mass.expand_as(part).clone()
            support[-1] = count
            yield label, rates_from_sums(part, mass.expand_as(part), support)

    def left_out(self, constraints: Sequence[LinearConstraint]) -> tuple[str, ...]:
        """Groups that take no part, as they have no rows, or none of the label in question."""
        found: dict[str, None] = {}
        for constraint in constraints:
            for partition in constraint.partitions(self.groups):
                names = self.groups.group_names(partition)
                for label, rates in self.conditions(constraint.criterion, partition):
                    for group in (~rates.present[-1]).nonzero()[:, 0].tolist():
                        found[f"{constraint.criterion}: {names[group]} ({label})"] = None
        return tuple(found)
