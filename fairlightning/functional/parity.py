"""Parity criteria and gaps: how far the rates of groups lie apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.rates import Rates

Criterion = Literal[
    "demographic_parity",
    "equal_opportunity",
    "equalized_odds",
    "predictive_parity",
    "accuracy_parity",
    "balanced_residuals",
]
Gap = Literal["max", "mean", "squared", "logsumexp", "ratio"]

CRITERIA: tuple[Criterion, ...] = ("demographic_parity", "equal_opportunity", "equalized_odds")
"""Criteria that compare the rate of selection, over all rows or those of a label."""

GAPS: tuple[Gap, ...] = ("max", "mean", "squared", "logsumexp", "ratio")

FOUR_FIFTHS = 0.8
"""Smallest ratio of selection rates that the four-fifths rule tolerates."""

NUM_CONDITIONS: dict[Criterion, int] = {
    "demographic_parity": 1,
    "equal_opportunity": 1,
    "equalized_odds": 2,
}
"""On how many label values a criterion conditions the selection rate."""


def check_criterion(owner: str, criterion: str, known: Sequence[Criterion] = CRITERIA) -> None:
    """Refuse a criterion that a method does not know, by the names of both.

    Raises:
        ArgumentError: If it is none of `known`.
    """
    if criterion in known or criterion not in get_args(Criterion):
        check_choice("criterion", criterion, known)
        return
    raise ArgumentError.of(
        "criterion",
        found=f"{criterion!r} for {owner}",
        expected=f"one that it knows: {', '.join(known)}",
        mend="take the parity penalty (method=parity), which knows every criterion",
    )


def criterion_cells(criterion: Criterion, target: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Cross the conditions of a criterion with the groups.

    Demographic parity asks for equal selection rates over all rows, equal opportunity over rows
    with label 1 (equal true positive rates; Hardt et al. 2016, arXiv:1610.02413), equalized odds
    for each label separately.

    Args:
        criterion: One of `CRITERIA`.
        target: `(N,)` int64 labels in {0, 1}.
        group: `(N,)` int64 ids in `[-1, G)`.
        num_groups: Number of groups `G`.

    Returns:
        `(N,)` ids `condition * G + group`; `-1` for rows that do not count.

    >>> criterion_cells("equal_opportunity", torch.tensor([0, 1]), torch.tensor([1, 1]), 2)
    tensor([-1,  1])
    """
    if criterion == "demographic_parity":
        return group
    if criterion == "equal_opportunity":
        return torch.where(target == 1, group, -1)
    return torch.where(group < 0, -1, target * num_groups + group)


def parity_gap(
    rates: Rates,
    kind: Gap = "max",
    *,
    temperature: float = 0.05,
    variance: Tensor | None = None,
    ratio: float = FOUR_FIFTHS,
) -> Tensor:
    """Reduce the rates of groups to one gap.

    With two groups of equal support `max`, `mean` and the root of `squared` agree. Groups without
    rows take no part; where fewer than two groups have rows nothing can be compared and the gap is
    0 with no gradient, which the support tells apart from parity.

    Args:
        rates: Rates and support `(..., C, G)` for `C` conditions and `G` groups.
        kind: `max`: largest difference between two groups, under the worst condition, as fairlearn
            defines `*_difference`. `mean`: mean absolute difference over all pairs of groups.
            `squared`: mean squared difference over all pairs. `logsumexp`: smooth version of `max`
            that never exceeds it, `τ·log mean exp(r/τ) + τ·log mean exp(−r/τ)`. `ratio`: what
            the smallest rate divided by the largest lacks to `ratio`, under the worst condition; 0
            where it is met, and where all rates are 0. All but `max` and `ratio` are averaged over
            the conditions under which at least two groups have rows.
        temperature: `τ` > 0 of `logsumexp`, in units of the rate.
        variance: `(..., C, G)` sampling variance of each rate. With `squared` it is subtracted,
            which makes the estimate unbiased in small batches; a single value may be negative.
        ratio: Ratio in (0, 1] that `kind="ratio"` asks for: 0.8 is the four-fifths rule.

    Returns:
        `(...)` gap; in [0, 1] for rates in [0, 1] (`variance` aside).

    >>> parity_gap(Rates(torch.tensor([[0.5, 0.2]]), torch.tensor([[10.0, 10.0]])))
    tensor(0.3000)
    """
    rate, present = rates.rate, rates.present
    if kind == "max":
        up, down = _extremes(rate, present)
        return _worst((rate * (up - down)).sum(-1))
    if kind == "ratio":
        high, low = ((rate * one).sum(-1) for one in _extremes(rate, present))
        missing = (ratio - low / high.clamp_min(torch.finfo(rate.dtype).tiny)).clamp_min(0.0)
        return _worst(torch.where((high > 0) & (present.sum(-1) > 1), missing, 0.0))
    estimable = (present.sum(-1) > 1).to(rate.dtype)
    if kind == "logsumexp":
        per_condition = _smooth_range(rate, present, temperature) * estimable
    else:
        per_condition = _pairwise(rate, present, kind, variance)
    return per_condition.sum(-1) / estimable.sum(-1).clamp_min(1)


def numbers_of(total: Tensor, mass: Tensor) -> tuple[list[float], list[float]] | None:
    """Sums `(S,)` as numbers, where they can be had without waiting for a device.

    Returns:
        None on a device, and where a program is made of the operations (`vmap`, `torch.compile`),
        which must not depend on values.
    """
    if torch.compiler.is_compiling() or not total.is_cpu:
        return None
    try:
        return total.tolist(), mass.tolist()
    except RuntimeError:  # inside of vmap there are no values yet
        return None


def furthest_pairs(
    total: Sequence[float], mass: Sequence[float], slots: Collection[Sequence[Sequence[int]]]
) -> list[float]:
    """Weights `(S,)` with which the sum of totals is the largest gap, as `parity_gap` has it.

    The gap of two rates is linear in the totals, once it is known which two they are. Among a
    few numbers these are found sooner than by as many tensor operations, which counts in the
    training step of a small network.

    Args:
        total: `(S,)` sums of scores.
        mass: `(S,)` sums of row weights; 0 for groups without rows, which take no part.
        slots: Where the groups are that are compared, of each condition of each partition.

    Returns:
        `1 / mass` of the group of the highest rate and `−1 / mass` of that of the lowest, under the
        worst condition of each partition, divided by the number of partitions; 0 elsewhere.

    >>> furthest_pairs([0.0, 2.0, 1.0], [0.0, 4.0, 4.0], [[range(1, 3)]])
    [0.0, 0.25, -0.25]
    """
    weights = [0.0] * len(total)
    for conditions in slots:
        widest, pair = 0.0, None
        for groups in conditions:
            rates = [(total[slot] / mass[slot], slot) for slot in groups if mass[slot] > 0]
            if not rates:
                continue
            high, low = max(rates), min(rates)
            if high[0] - low[0] > widest:
                widest, pair = high[0] - low[0], (high[1], low[1])
        if pair is not None:
            weights[pair[0]] = 1 / (mass[pair[0]] * len(slots))
            weights[pair[1]] = -1 / (mass[pair[1]] * len(slots))
    return weights


def _extremes(rate: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """1 at the group of the highest and of the lowest rate, 0 elsewhere, each `(..., C, G)`."""
    # The signs of the two groups are constants: this keeps the gradient exact where a single group
    # is present, and costs a third of what the gradients of amax and amin cost.
    fixed = rate.detach()
    highest = torch.where(present, fixed, -torch.inf).argmax(-1, keepdim=True)
    lowest = torch.where(present, fixed, torch.inf).argmin(-1, keepdim=True)
    zero = torch.zeros_like(fixed)
    return zero.scatter(-1, highest, 1.0), zero.scatter(-1, lowest, 1.0)


def _worst(gap: Tensor) -> Tensor:
    """Largest `(...)` of the gaps `(..., C)` of the conditions."""
    return gap.squeeze(-1) if gap.shape[-1] == 1 else gap.max(-1).values


def _smooth_range(rate: Tensor, present: Tensor, temperature: float) -> Tensor:
    # log of the mean, not of the sum: equal rates then give 0 and not τ·log G.
    count = present.sum(-1).clamp_min(1).to(rate.dtype)
    absent = torch.where(present, 0.0, -torch.inf).to(rate.dtype)
    # Without any group every exponent would be −inf, whose gradient is NaN.
    absent = torch.where(present.any(-1, keepdim=True), absent, 0.0)
    up = torch.logsumexp(rate / temperature + absent, -1)
    down = torch.logsumexp(-rate / temperature + absent, -1)
    return temperature * (up + down - 2 * count.log())


def _pairwise(rate: Tensor, present: Tensor, kind: Gap, variance: Tensor | None) -> Tensor:
    pair = torch.triu(present.unsqueeze(-1) & present.unsqueeze(-2), diagonal=1).to(rate.dtype)
    difference = rate.unsqueeze(-1) - rate.unsqueeze(-2)
    distance = difference.abs() if kind == "mean" else difference.square()
    if variance is not None:
        distance = distance - (variance.unsqueeze(-1) + variance.unsqueeze(-2))
    return (distance * pair).sum((-1, -2)) / pair.sum((-1, -2)).clamp_min(1)


def rate_variance(rates: Rates, square: Tensor) -> Tensor:
    """Estimate the sampling variance of each rate of unweighted rows, s²/n with the unbiased s².

    Args:
        rates: `(..., G)` rates and support.
        square: `(..., G)` sum of squared scores.

    Returns:
        `(..., G)` variance; 0 for groups with fewer than two rows, where it is not estimable.
    """
    support = rates.support
    spread = square / support.clamp_min(1) - rates.rate.square()
    unbiased = spread.clamp_min(0) / (support - 1).clamp_min(1)
    return torch.where(support > 1, unbiased, 0.0)
