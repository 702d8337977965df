"""How well scores rank, exactly and from rows: areas under the ROC curve, within and across groups.

An area is P(a positive scores above a negative), ties counting half. Across groups the positive
and the negative come from different rows (Borkan et al. 2019, arXiv:1903.04561): a low BPSN area
tells that negatives of a group score above the positives of the others, a low BNSP area that its
positives score below the negatives of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fairlightning.functional.rates import Rates, segment_sums


class GroupRanking(NamedTuple):
    """Areas under the ROC curve of every group, in [0, 1], with the rows behind them.

    The support of an area is its rows of both labels; it is 0, and the area 0.5, without one of
    them.

    Attributes:
        within: `(..., G)` positives of the group against negatives of the group.
        bpsn: `(..., G)` background positive, subgroup negative: positives of all other groups
            against negatives of the group.
        bnsp: `(..., G)` background negative, subgroup positive: positives of the group against
            negatives of all other groups.
    """

    within: Rates
    bpsn: Rates
    bnsp: Rates


def auroc(score: Tensor, positive: Tensor, weight: Tensor | None = None) -> Tensor:
    """Area under the ROC curve: P(a positive scores above a negative), ties counting half.

    Args:
        score: `(N,)` scores.
        positive: `(N,)` bool labels.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `()` float64 in [0, 1]; NaN where it is not estimable: with one class only, or NaN scores.

    >>> auroc(torch.tensor([0.1, 0.4, 0.4]), torch.tensor([False, False, True])).item()
    0.75
    """
    order = score.argsort()
    score, columns = score[order], _by_label(positive, weight)[:, order]
    won, _ = _won(columns, _run(score)).sum(-1)
    area, support = area_from_wins(won, columns.sum(-1), (columns > 0).sum(-1))
    return torch.where((support > 0) & ~score.isnan().any(), area, torch.nan)


def group_auroc(
    score: Tensor,
    positive: Tensor,
    group: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
) -> GroupRanking:
    """Exact areas of all groups at once, in the time of two sorts of the rows.

    Args:
        score: `(N,)` scores, none NaN.
        positive: `(N,)` bool labels.
        group: `(N,)` int64 ids in `[-1, num_groups)`; `-1` is unknown and takes no part, neither as
            a group nor as background.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        Areas `(G,)` float64 and supports `(G,)` int64.

    >>> score, positive = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([True, True, False])
    >>> areas = group_auroc(score, positive, torch.tensor([0, 1, 1]), 2)
    >>> areas.within.rate.tolist(), areas.bpsn.rate.tolist()
    ([0.5, 0.0], [0.5, 1.0])
    """
    columns = torch.where(group < 0, 0.0, _by_label(positive, weight))
    order = score.argsort()
    score, group, columns = score[order], group[order], columns[:, order]
    mass = segment_sums(columns, group, num_groups)
    rows = segment_sums((columns > 0).long(), group, num_groups)
    # Against the rows of all groups, in the order of the scores.
    below, above = segment_sums(_won(columns, _run(score)), group, num_groups)
    # Against the rows of the own group: the groups one after the other, each in that order.
    order = group.argsort(stable=True)
    score, group, columns = score[order], group[order], columns[:, order]
    own, _ = segment_sums(_won(columns, _run(score, group)), group, num_groups)
    own = own - mass[1] * (mass[0].cumsum(0) - mass[0])
    other_mass, other_rows = (table.sum(-1, keepdim=True) - table for table in (mass, rows))
    bpsn = mass[0] * mass[1].sum() - above - own
    return GroupRanking(
        area_from_wins(own, mass, rows),
        area_from_wins(bpsn, _sides(mass, other_mass), _sides(rows, other_rows)),
        area_from_wins(below - own, _sides(other_mass, mass), _sides(other_rows, rows)),
    )


def area_from_wins(won: Tensor, mass: Tensor, rows: Tensor) -> Rates:
    """Divide the pairs that the positive wins by all pairs.

    Args:
        won: `(...)` mass of the pairs that are won, a tie counting half.
        mass: `(2, ...)` mass of negatives and of positives.
        rows: `(2, ...)` number of negatives and of positives.
    """
    pairs = mass.prod(0)
    area = won / pairs.clamp_min(torch.finfo(pairs.dtype).tiny)
    # Subtracting other groups' pairs may leave rounding errors beyond the ends.
    area = torch.where(pairs > 0, area.clamp(0, 1), 0.5)
    return Rates(area, torch.where(pairs > 0, rows.sum(0), 0))


def _by_label(positive: Tensor, weight: Tensor | None) -> Tensor:
    """`(2, N)` mass of each row as a negative and as a positive."""
    mass = positive.new_ones(positive.shape, dtype=torch.float64)
    if weight is not None:
        mass = weight.double()
    return torch.stack([torch.where(positive, 0.0, mass), torch.where(positive, mass, 0.0)])


def _run(*keys: Tensor) -> Tensor:
    """`(N,)` number of the run of equal rows that each row of the sorted keys lies in."""
    apart = torch.stack([key[1:] != key[:-1] for key in keys]).any(0)
    return F.pad(apart.cumsum(0), (1, 0))[: len(keys[0])]


def _won(columns: Tensor, run: Tensor) -> Tensor:
    """`(2, N)` mass of the pairs that each row forms with rows of the other label before it.

    First of a positive with negatives, then of a negative with positives; ties count half.
    """
    tied = torch.zeros_like(columns).index_add(-1, run, columns)
    before = (tied.cumsum(-1) - tied / 2)[:, run]
    return columns.flip(0) * before


def _sides(negative: Tensor, positive: Tensor) -> Tensor:
    return torch.stack([negative[0], positive[1]])
