"""Group rates: rows become group sums, sums become rates. One definition for soft and hard.

Everything here is local to a rank, differentiable in the scores, free of data-dependent shapes,
and takes any number of leading axes on the scores (models trained together).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Rates(NamedTuple):
    """Rates of groups with the support that carries them.

    Attributes:
        rate: `(..., G)` mean score of each group. A group without support holds the pooled rate of
            the groups that have some, as a constant, so that it can neither widen nor narrow a
            gap; whether it was observed is told by `support` alone.
        support: `(..., G)` number of rows behind each rate; 0 where the group is absent.
    """

    rate: Tensor
    support: Tensor

    @property
    def present(self) -> Tensor:
        """`(..., G)` bool: groups with at least one row."""
        return self.support > 0


def segment_sums(values: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Sum rows by segment; rows with segment `-1` take part in none.

    Autocast does not reach in here: values below float32 are summed in float32.

    Args:
        values: `(..., N)` floating-point values.
        segment: `(N,)` int64 ids in `[-1, num_segments)`.
        num_segments: Number of segments `S`.

    Returns:
        `(..., S)` sums; 0 for a segment without rows.

    >>> segment_sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, -1, 0]), 2)
    tensor([5., 0.])
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    # Unknown rows go to slot 0, which is cut off: -1 would silently hit the last segment.
    return slot_sums(values, [segment + 1], num_segments + 1)[..., 1:]


def slot_sums(values: Tensor, slots: Sequence[Tensor], num_slots: int) -> Tensor:
    """Sum rows by slot, where every row has one, or one in each of several partitions.

    Args:
        values: What is summed, `(..., N)`.
        slots: For each partition `(N,)` int64 ids in `[0, num_slots)`.
        num_slots: Number of slots `S`.

    Returns:
        `(..., S)` sums.
    """
    sums = values.new_zeros((*values.shape[:-1], num_slots))
    for slot in slots:
        sums.index_add_(-1, slot, values)
    return sums


def at_least_float32(values: Tensor) -> Tensor:
    """The values, as float32 if their type is shorter."""
    return values.float() if values.dtype.itemsize < 4 else values


def rates_from_sums(total: Tensor, mass: Tensor, support: Tensor | None = None) -> Rates:
    """Turn group sums into group rates.

    Args:
        total: `(..., G)` sum of (weighted) scores.
        mass: `(..., G)` sum of row weights; the number of rows where rows are not weighted.
        support: `(..., G)` number of rows; `mass` if not given.

    Returns:
        Rates and support, finite (value and gradient) for groups without rows.
    """
    mass = mass.detach()
    support = mass if support is None else support.detach()
    pooled = mean_scores(total.detach().sum(-1, keepdim=True), mass.sum(-1, keepdim=True))
    return Rates(torch.where(mass > 0, mean_scores(total, mass), pooled), support)


def mean_scores(total: Tensor, mass: Tensor) -> Tensor:
    """Divide sums by masses ≥ 0; a sum of no mass gives 0, which is no rate and must be masked.

    No mass is taken for 1. The reciprocal of a tiny number times a λ, or divided once more, would
    overflow in the gradient and make it NaN; so does `where(n > 0, s / n, ...)`.
    """
    return total / mass.masked_fill(mass < torch.finfo(mass.dtype).tiny, 1.0)


def group_rates(
    scores: Tensor,
    group: Tensor,
    num_groups: int,
    *,
    condition: Tensor | None = None,
    weight: Tensor | None = None,
) -> Rates:
    """Mean score of every group: selection rate, true positive rate, accuracy, ...

    Soft probabilities give a differentiable rate, hard 0/1 decisions the usual one.

    Args:
        scores: `(..., N)` probabilities or decisions in [0, 1], or any per-row value.
        group: `(N,)` int64 ids in `[-1, num_groups)`; `-1` is unknown and takes no part.
        num_groups: Number of groups `G`.
        condition: `(N,)` bool; only these rows count (`target == 1` gives true positive rates).
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `Rates` with `(..., G)` rate and support.

    >>> scores = torch.tensor([0.2, 0.4, 0.9])
    >>> group_rates(scores, torch.tensor([0, 0, -1]), 2)
    Rates(rate=tensor([0.3000, 0.3000]), support=tensor([2., 0.]))
    """
    if condition is not None:
        group = torch.where(condition, group, -1)
    moments = row_moments(scores, weight)
    return rates_from_sums(*(segment_sums(moment, group, num_groups) for moment in moments))


def row_moments(
    scores: Tensor, weight: Tensor | None = None, *, square: bool = False
) -> tuple[Tensor, ...]:
    """Return what has to be summed per group, in at least float32.

    Args:
        scores: `(..., N)` scores.
        weight: `(N,)` row weights, or None where each row counts once.
        square: Also give the squared scores, for within-group variances.

    Returns:
        Weighted score `(..., N)` and mass `(N,)`; where weights are given, 1 for every row of
        positive weight; last, if asked for, the weighted square.
    """
    scores = at_least_float32(scores)
    mass = scores.new_ones(scores.shape[-1])
    if weight is None:
        return (scores, mass, scores.square()) if square else (scores, mass)
    mass = mass * weight
    weighted = scores * mass
    # A row of weight 0 is no evidence that its group is there.
    moments = (weighted, mass, (mass > 0).to(scores.dtype))
    return (*moments, weighted * scores) if square else moments
