"""Linear constraints on group rates: which rates are compared, and by how much they miss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor


class Comparisons(NamedTuple):
    """Constraints `plus · rate[first] − minus · rate[second] ≤ bound`, one per entry.

    Every parity criterion, bound on a rate and ratio of rates is of this form (Agarwal et al. 2018,
    arXiv:1803.02453, write it M·μ ≤ c).

    Attributes:
        first: `(J,)` int64 cells.
        second: `(J,)` int64 cells.
        plus: `(J,)` factors of the first rate.
        minus: `(J,)` factors of the second rate.
        bound: `(J,)` bounds.
    """

    first: Tensor
    second: Tensor
    plus: Tensor
    minus: Tensor
    bound: Tensor


def pairs_within(blocks: Sequence[range], *, plus: float, bound: float) -> Comparisons:
    """Compare every cell with every other cell of its block, in both directions.

    `plus=1, bound=ε`: no two rates of a block lie further apart than ε. `plus=ρ, bound=0`: no rate
    is smaller than ρ times another, the four-fifths rule at ρ = 0.8.

    Args:
        blocks: Cells that are compared with each other: the groups under one condition.
        plus: Factor of the first rate of a pair.
        bound: Bound of every pair.

    >>> pairs_within([range(2)], plus=1.0, bound=0.05).first
    tensor([0, 1])
    """
    pairs = torch.tensor([pair for block in blocks for pair in permutations(block, 2)])
    ones = torch.ones(len(pairs))
    return Comparisons(pairs[:, 0], pairs[:, 1], ones * plus, ones, ones * bound)


def each_within(cells: Sequence[int], *, sign: float, bound: float) -> Comparisons:
    """Bound every cell's rate by itself.

    Args:
        cells: The cells.
        sign: 1: rate ≤ bound; −1: rate ≥ bound.
        bound: The bound, in [0, 1].

    >>> rates = torch.tensor([0.7, 0.9])
    >>> comparisons = each_within([0, 1], sign=-1.0, bound=0.8)
    >>> violations(comparisons, rates)
    tensor([ 0.1000, -0.1000])
    """
    cell = torch.tensor(list(cells))
    ones = torch.ones(len(cell))
    above, below = max(sign, 0.0), max(-sign, 0.0)
    return Comparisons(cell, cell, ones * above, ones * below, ones * sign * bound)


def violations(comparisons: Comparisons, rates: Tensor) -> Tensor:
    """Signed violations, in units of the rate; at most 0 where a constraint holds.

    Args:
        comparisons: `J` constraints.
        rates: `(..., K)` rates of the cells.

    Returns:
        `(..., J)`.
    """
    first, second, plus, minus, bound = comparisons
    return plus * rates[..., first] - minus * rates[..., second] - bound


def both_present(comparisons: Comparisons, support: Tensor) -> Tensor:
    """`(..., J)` bool: constraints whose cells all have rows."""
    return (support[..., comparisons.first] > 0) & (support[..., comparisons.second] > 0)


def smallest_ratio(comparisons: Comparisons, rates: Tensor, seen: Tensor) -> Tensor:
    """Smallest ratio second / first over the pairs that were seen; 1 where no first rate exceeds 0.

    Args:
        comparisons: Pairs, as `pairs_within` gives them.
        rates: `(..., K)` rates.
        seen: `(..., J)` bool.

    Returns:
        `(...)` ratio in [0, 1].
    """
    first, second = rates[..., comparisons.first], rates[..., comparisons.second]
    tiny = torch.finfo(rates.dtype).tiny
    ratio = torch.where(seen & (first > 0), second / first.clamp_min(tiny), 1.0)
    return ratio.amin(-1).clamp_max(1.0)
