"""Counts to figures: confusion tables per group, their rates, and how far the rates lie apart.

A *table* has the shape `(..., G, 2, 2)` and is indexed [group, target, decision]. Counts are int64.
Where rows carry weights, a second table of the same shape, `mass`, holds their float64 sums: rates
come from the mass, supports always from the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.functional.parity import parity_gap
from fairlightning.functional.rates import Rates, rates_from_sums
from fairlightning.groups import GroupSpec


class Estimate(NamedTuple):
    """A figure with the rows that carry it.

    Attributes:
        value: `(...)` float64. Where the support is 0 the figure is not estimable, and the value
            means nothing.
        support: `(...)` int64 number of rows behind it; of a difference or ratio, the smallest
            support among the groups that took part.
    """

    value: Tensor
    support: Tensor


def group_confusion(
    decision: Tensor,
    target: Tensor,
    cell: Tensor,
    num_cells: int,
    weight: Tensor | None = None,
) -> Tensor:
    """Count rows by cell, label and decision. Slots are fixed: an absent cell holds zeros.

    Args:
        decision: `(..., N)` bool, or 0/1.
        target: `(N,)` labels in {0, 1}.
        cell: `(N,)` int64 ids in `[0, num_cells)`, such as `GroupSpec.cell_ids` gives.
        num_cells: Number of cells `M`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(..., M, 2, 2)`: int64 counts, or float64 sums of the weights where they are given.

    >>> group_confusion(torch.tensor([1, 0]), torch.tensor([1, 1]), torch.tensor([1, 1]), 2)
    tensor([[[0, 0],
             [0, 0]],
    <BLANKLINE>
            [[0, 0],
             [1, 1]]])
    """
    batch = decision.shape[:-1]
    models, slots = prod(batch), 4 * num_cells
    code = decision.long().add(target.long(), alpha=2).add(cell, alpha=4)
    if batch:
        first = slots * torch.arange(models, device=code.device)
        code = code + first.view(*batch, 1)
    mass = None if weight is None else weight.double().expand(code.shape).flatten()
    counts = torch.bincount(code.flatten(), mass, minlength=models * slots)
    return counts.view(*batch, num_cells, 2, 2)


def partition_confusion(table: Tensor, groups: GroupSpec, partition: Sequence[str]) -> Tensor:
    """Sum a table of cells to the groups of a partition.

    Rows whose value is unknown for one of the named attributes are left out; what the other
    attributes say, unknown included, does not matter. The rows left out number
    `table.sum() - partition_confusion(table, ...).sum()`.

    Args:
        table: `(..., num_cells, 2, 2)` counted by `GroupSpec.cell_ids`.
        groups: The attributes whose cells were counted.
        partition: Names of the attributes whose groups or intersections are meant.

    Returns:
        `(..., G, 2, 2)` table, groups in the order of `GroupSpec.group_names`.

    Raises:
        ArgumentError: If the partition names no attribute or one that does not exist.
    """
    axes = groups.axes(partition)
    batch = table.shape[:-3]
    first = len(batch)
    spread = table.view(*batch, *(size + 1 for size in groups.sizes), 2, 2)
    spread = spread.movedim([first + axis for axis in axes], list(range(first, first + len(axes))))
    for position, axis in enumerate(axes):
        # The last slot of every attribute counts its unknown values.
        spread = spread.narrow(first + position, 0, groups.sizes[axis])
    return spread.reshape(*batch, groups.num_groups(partition), -1, 2, 2).sum(-3)


def selection_rate(counts: Tensor, mass: Tensor | None = None) -> Rates:
    """P(decision = 1) of every group, over all of its rows.

    Args:
        counts: `(..., G, 2, 2)` int64 table.
        mass: `(..., G, 2, 2)` float64 sums of row weights; the counts where rows are not weighted.

    Returns:
        `(..., G)` float64 rate and int64 support. A group whose rows have no mass has support 0.

    >>> selection_rate(torch.tensor([[[2, 1], [0, 1]], [[0, 0], [0, 0]]]))
    Rates(rate=tensor([0.5000, 0.5000], dtype=torch.float64), support=tensor([4, 0]))
    """
    mass = counts if mass is None else mass
    return _rates(mass[..., 1].sum(-1), mass.sum((-2, -1)), counts.sum((-2, -1)))


def true_positive_rate(counts: Tensor, mass: Tensor | None = None) -> Rates:
    """P(decision = 1 | target = 1) of every group, over its positives; see `selection_rate`."""
    mass = counts if mass is None else mass
    return _rates(mass[..., 1, 1], mass[..., 1, :].sum(-1), counts[..., 1, :].sum(-1))


def false_positive_rate(counts: Tensor, mass: Tensor | None = None) -> Rates:
    """P(decision = 1 | target = 0) of every group, over its negatives; see `selection_rate`."""
    mass = counts if mass is None else mass
    return _rates(mass[..., 0, 1], mass[..., 0, :].sum(-1), counts[..., 0, :].sum(-1))


def accuracy(counts: Tensor, mass: Tensor | None = None) -> Rates:
    """P(decision = target) of every group, over all of its rows; see `selection_rate`."""
    mass = counts if mass is None else mass
    right = mass[..., 0, 0] + mass[..., 1, 1]
    return _rates(right, mass.sum((-2, -1)), counts.sum((-2, -1)))


def f1_score(counts: Tensor, mass: Tensor | None = None) -> Rates:
    """F1 of the positive class of every group: 2·TP / (2·TP + FP + FN).

    Its support is all rows of the group, and 0 where nothing is positive and nothing selected:
    there F1 is 0/0. Arguments and result are those of `selection_rate`.
    """
    mass = counts if mass is None else mass
    hits = 2 * mass[..., 1, 1]
    return _rates(hits, hits + mass[..., 0, 1] + mass[..., 1, 0], counts.sum((-2, -1)))


def demographic_parity_difference(counts: Tensor, mass: Tensor | None = None) -> Estimate:
    """Largest difference between the selection rates of two groups, as fairlearn defines it.

    Args:
        counts: `(..., G, 2, 2)` int64 table.
        mass: `(..., G, 2, 2)` float64 sums of row weights; the counts where rows are not weighted.

    Returns:
        `(...)` difference in [0, 1] and its support; not estimable with fewer than two groups.
    """
    return _difference(selection_rate(counts, mass))


def demographic_parity_ratio(counts: Tensor, mass: Tensor | None = None) -> Estimate:
    """Smallest selection rate of a group divided by the largest, in [0, 1].

    Groups without rows take no part. Not estimable with fewer than two groups, and where nobody is
    selected (0/0). See `demographic_parity_difference` for arguments and result.
    """
    rates = selection_rate(counts, mass)
    # Absent groups hold the pooled rate, which lies between the others.
    low, high = rates.rate.aminmax(dim=-1)
    estimable = high > 0
    support = torch.where(estimable, _least_support(rates), 0)
    return Estimate(low / torch.where(estimable, high, 1.0), support)


def equal_opportunity_difference(counts: Tensor, mass: Tensor | None = None) -> Estimate:
    """Largest difference between the true positive rates of two groups.

    Groups without positives take no part. See `demographic_parity_difference`.
    """
    return _difference(true_positive_rate(counts, mass))


def equalized_odds_difference(counts: Tensor, mass: Tensor | None = None) -> Estimate:
    """The larger of the differences in true positive rate and in false positive rate.

    Not estimable unless both are: one alone would only bound it from below. See
    `demographic_parity_difference`.
    """
    return _difference(true_positive_rate(counts, mass), false_positive_rate(counts, mass))


def _rates(total: Tensor, mass: Tensor, support: Tensor) -> Rates:
    # Rows that all weigh 0 say nothing: their group counts as absent.
    support = torch.where(mass > 0, support, 0)
    return rates_from_sums(total.double(), mass.double(), support)


def _difference(*conditions: Rates) -> Estimate:
    rates = Rates(
        torch.stack([rates.rate for rates in conditions], dim=-2),
        torch.stack([rates.support for rates in conditions], dim=-2),
    )
    return Estimate(parity_gap(rates, "max"), _least_support(rates).amin(-1))


def _least_support(rates: Rates) -> Tensor:
    # (..., G) → (...); 0 where fewer than two groups can be compared.
    least = torch.where(rates.present, rates.support, torch.iinfo(torch.int64).max).amin(-1)
    return torch.where(rates.present.sum(-1) > 1, least, 0)
