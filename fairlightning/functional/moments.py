"""Means per group, with what their standard errors need: from rows, from cells, from processes.

Sums of squares lose every digit of a variance where values are far from zero: around 1e8 float64
is left with an error of about 1. So each segment keeps its mean and the squares about that mean,
and pooling moves the squares to the common mean (Chan, Golub and LeVeque 1983). Rows are pooled to
cells, cells to groups, and the cells of several processes to one by the same function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.functional.rates import Rates, segment_sums
from fairlightning.groups import UNKNOWN, GroupSpec


class Moments(NamedTuple):
    """Means and spreads of `Q` quantities in `S` segments: cells, or groups.

    Attributes:
        counts: `(..., S)` int64 number of rows.
        undefined: `(..., S)` int64 number of those rows in which a quantity is NaN or infinite.
            They are among the counts alone, so that means mean nothing unless this is 0.
        mass: `(..., S)` float64 sum of row weights, 1 for each row without a weight.
        squared_mass: `(..., S)` float64 sum of squared row weights.
        mean: `(..., Q, S)` float64 weighted mean; 0 in a segment without mass.
        spread: `(..., Q, S)` float64 weighted sum of squared deviations from that mean.
    """

    counts: Tensor
    undefined: Tensor
    mass: Tensor
    squared_mass: Tensor
    mean: Tensor
    spread: Tensor


def segment_moments(
    values: Tensor, segment: Tensor, num_segments: int, weight: Tensor | None = None
) -> Moments:
    """Pool rows to segments.

    Args:
        values: `(..., Q, N)` floating-point values of `Q` quantities.
        segment: `(N,)` int64 ids in `[-1, num_segments)`; `-1` takes part in none.
        num_segments: Number of segments `S`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        The moments of every segment; zeros in one without rows.

    >>> values = torch.tensor([[1e8 + 1, 1e8 + 3, 5.0]], dtype=torch.float64)
    >>> moments = segment_moments(values, torch.tensor([0, 0, 2]), 3)
    >>> moments.counts, moments.mean[0, 0].item() - 1e8, moments.spread[0, 0].item()
    (tensor([2, 0, 1]), 2.0, 2.0)
    """
    values = values.detach().double()
    finite = values.isfinite().all(-2)
    mass = torch.ones_like(finite, dtype=torch.float64)
    if weight is not None:
        mass = mass * weight.detach()
    mass = torch.where(finite, mass, 0.0)
    rows = Moments(
        torch.ones_like(finite, dtype=torch.int64),
        (~finite).long(),
        mass,
        mass.square(),
        torch.where(finite.unsqueeze(-2), values, 0.0),
        torch.zeros_like(values),
    )
    return pool_moments(rows, segment, num_segments)


def pool_moments(moments: Moments, segment: Tensor, num_segments: int) -> Moments:
    """Pool segments to fewer ones.

    Args:
        moments: `(..., N)` moments of the parts.
        segment: `(N,)` int64 id in `[-1, num_segments)` of the whole that each part belongs to.
        num_segments: Number of wholes `S`.

    Returns:
        `(..., S)` moments of the wholes.
    """
    counts, undefined, mass, squared_mass = (
        segment_sums(column, segment, num_segments) for column in moments[:4]
    )
    weight, total = moments.mass.unsqueeze(-2), mass.unsqueeze(-2)
    total = total.clamp_min(torch.finfo(total.dtype).tiny)
    # Unknown parts look up slot 0, and are then left out of the sums.
    own = segment.clamp_min(0)
    mean = segment_sums(weight * moments.mean, segment, num_segments) / total
    # What rounding took from a mean far from zero shows in the deviations, which are small.
    deviation = moments.mean - mean.index_select(-1, own)
    rest = segment_sums(weight * deviation, segment, num_segments) / total
    deviation = deviation - rest.index_select(-1, own)
    spread = moments.spread + weight * deviation.square()
    spread = segment_sums(spread, segment, num_segments)
    mean = mean + rest
    return Moments(counts, undefined, mass, squared_mass, mean, spread)


def cell_groups(groups: GroupSpec, partition: Sequence[str]) -> Tensor:
    """Group of a partition to which each cell belongs.

    Args:
        groups: The attributes whose cells are meant.
        partition: Names of the attributes whose groups or intersections are meant.

    Returns:
        `(num_cells,)` int64 ids in `[0, G)`, or `-1` where a named attribute is unknown.

    Raises:
        ArgumentError: If the partition names no attribute or one that does not exist.

    >>> cell_groups(GroupSpec({"sex": ["F", "M"], "old": ["no", "yes"]}), ("old",))
    tensor([ 0,  1, -1,  0,  1, -1,  0,  1, -1])
    """
    codes = [torch.tensor([*range(size), UNKNOWN]) for size in groups.sizes]
    table = torch.cartesian_prod(*codes).view(-1, len(codes))
    return groups.group_ids(table, partition)


def partition_moments(moments: Moments, groups: GroupSpec, partition: Sequence[str]) -> Moments:
    """Pool cells to the groups of a partition.

    Rows whose value is unknown for one of the named attributes are left out; they number
    `moments.counts.sum() - partition_moments(moments, ...).counts.sum()`.

    Args:
        moments: `(..., num_cells)` moments of the cells of `GroupSpec.cell_ids`.
        groups: The attributes whose cells were counted.
        partition: Names of the attributes whose groups or intersections are meant.

    Returns:
        `(..., G)` moments, groups in the order of `GroupSpec.group_names`.

    Raises:
        ArgumentError: If the partition names no attribute or one that does not exist.
    """
    group = cell_groups(groups, partition).to(moments.counts.device)
    return pool_moments(moments, group, groups.num_groups(partition))


def overall_moments(moments: Moments) -> Moments:
    """Pool all cells to one group of all rows, whatever is known of their groups, `(..., 1)`."""
    cells = moments.counts.shape[-1]
    everyone = torch.zeros(cells, dtype=torch.long, device=moments.counts.device)
    return pool_moments(moments, everyone, 1)


def mean_rates(moments: Moments, quantity: int) -> Rates:
    """Mean of one quantity in every group.

    Args:
        moments: `(..., G)` moments of groups.
        quantity: Position of the quantity.

    Returns:
        `(..., G)` float64 means and int64 support. The support is 0, and the value the pooled mean
        of all groups, in a group without mass. It is 0 in every group if any holds an undefined
        row: no comparison with that group can be trusted.
    """
    mean, mass = moments.mean[..., quantity, :], moments.mass
    total = mass.sum(-1, keepdim=True)
    pooled = (mean * mass).sum(-1, keepdim=True) / total.clamp_min(torch.finfo(mass.dtype).tiny)
    sound = moments.undefined.sum(-1, keepdim=True) == 0
    support = torch.where((mass > 0) & sound, moments.counts, 0)
    return Rates(torch.where(mass > 0, mean, pooled), support)


def standard_errors(moments: Moments, quantity: int) -> Tensor:
    """Standard error of the mean of one quantity in every group, s / √n.

    With weights, n is Kish's effective size (Σw)² / Σw², and s² the weighted variance times
    n / (n − 1).

    Args:
        moments: `(..., G)` moments of groups.
        quantity: Position of the quantity.

    Returns:
        `(..., G)` float64, in units of the quantity; infinite where it is not estimable, with an
        effective size of at most one row.
    """
    mass = moments.mass.clamp_min(torch.finfo(moments.mass.dtype).tiny)
    size = moments.mass.square() / moments.squared_mass.clamp_min(torch.finfo(mass.dtype).tiny)
    # Rounding can leave the effective size of a single row a little above 1.
    estimable = size > 1 + 1e-9
    variance = moments.spread[..., quantity, :] / mass / torch.where(estimable, size - 1, 1.0)
    return torch.where(estimable, variance.sqrt(), torch.inf)
