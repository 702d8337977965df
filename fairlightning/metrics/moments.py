"""What the metrics that average quantities over rows share: one state of means and spreads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fairlightning.functional.moments import Moments, partition_moments, pool_moments
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric


class GroupMoments(ExactMetric):
    """Means of some quantities by intersection of sensitive values.

    Slots are fixed by the groups: an absent group keeps its place and holds zeros, and rows of
    unknown group have slots of their own. Batch by batch, merged, or over several processes the
    moments are those of all rows at once, up to rounding.

    Args:
        groups: Sensitive attributes and their categories.
        quantities: Number of quantities `Q`.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups cannot be used.
    """

    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        quantities: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        cells = self.groups.num_cells
        self.add_state("counts", torch.zeros(2, cells, dtype=torch.long), dist_reduce_fx="sum")
        # Means and spreads do not add up, but pool to those of all rows.
        sums = torch.zeros(2 + 2 * quantities, cells, dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx=_pool)

    def add(self, moments: Moments) -> None:
        """Take in the moments `(num_cells,)` of the rows of a batch."""
        self.counts = self.counts + torch.stack(moments[:2])
        self.sums = _pool(torch.stack([self.sums, _packed(moments)]))

    def compute(self) -> Moments:
        """Return the moments `(num_cells,)` of all rows so far, over all processes."""
        return _unpacked(self.counts, self.sums)

    def of_partition(self, partition: Sequence[str]) -> Moments:
        """Return the moments `(G,)` of the groups of a partition; see `partition_moments`.

        It computes, so that under distributed training every process must call it.
        """
        return partition_moments(self.compute(), self.groups, partition)


def _packed(moments: Moments) -> Tensor:
    return torch.cat([torch.stack(moments[2:4]), moments.mean, moments.spread])


def _unpacked(counts: Tensor, sums: Tensor) -> Moments:
    mean, spread = sums[2:].chunk(2)
    return Moments(counts[0], counts[1], sums[0], sums[1], mean, spread)


def _pool(sums: Tensor) -> Tensor:
    # (parts, 2 + 2 Q, cells) → (2 + 2 Q, cells)
    parts, width, cells = sums.shape
    cell = torch.arange(cells, device=sums.device).repeat(parts)
    wide = sums.transpose(0, 1).reshape(width, parts * cells)
    # Counts are a state of their own, which adds up.
    no_counts = torch.zeros_like(cell).expand(2, -1)
    return _packed(pool_moments(_unpacked(no_counts, wide), cell, cells))
