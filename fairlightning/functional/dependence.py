"""How much scores tell about the group: measures that are 0 where the two are independent.

Correlation and mutual information follow from sums over groups, so that they are exact over batches
and ranks. HSIC, MMD and the Wasserstein distance compare whole distributions and need all rows at
once. Everywhere scores are `(..., N)`, the group `-1` takes no part, and fewer than two groups with
rows give 0 with gradient 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fairlightning.functional.rates import (
    at_least_float32,
    mean_scores,
    row_moments,
    segment_sums,
    slot_sums,
)

_LEAST_VARIANCE = 1e-6


def covariance(
    scores: Tensor, group: Tensor, num_groups: int, *, weight: Tensor | None = None
) -> Tensor:
    """Covariance of the scores with membership in each group (Zafar et al. 2017, arXiv:1507.05259).

    Args:
        scores: `(..., N)` scores.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(..., G)` p·(mean of the group − mean of all), where p is the group's share; in units of
        the scores. They add up to 0.

    >>> covariance(torch.tensor([0.2, 0.4, 0.9]), torch.tensor([0, 1, -1]), 2)
    tensor([-0.0500,  0.0500])
    """
    total, mass, *_ = _group_sums(scores, group, num_groups, weight)
    return covariance_from_sums(total, mass)


def covariance_from_sums(total: Tensor, mass: Tensor) -> Tensor:
    """Covariances `(..., G)` from sums of scores `(..., G)` and of row weights `(..., G)`."""
    return _shares(mass) * _deviation(total, mass)


def correlation(
    scores: Tensor, group: Tensor, num_groups: int, *, weight: Tensor | None = None
) -> Tensor:
    """Share of the scores' variance that the groups explain (correlation ratio η²).

    With two groups it is the squared Pearson correlation of score and group. Variances below 1e-6
    are taken for 1e-6, so that nearly constant scores have no unbounded gradient.

    Args:
        scores: `(..., N)` scores of a spread of about 1, such as probabilities, around any mean.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(...)` in [0, 1].

    >>> round(correlation(torch.tensor([0.0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), 2).item(), 4)
    0.3333
    """
    total, mass, *_ = _group_sums(scores, group, num_groups, weight)
    mean = mean_scores(total.sum(-1, keepdim=True), mass.sum(-1, keepdim=True)).detach()
    # Far from 0, squares would leave no digits to the variance.
    centred = at_least_float32(scores) - mean
    total, mass, *_, square = _group_sums(centred, group, num_groups, weight, square=True)
    return correlation_from_sums(total, mass, square)


def correlation_from_sums(total: Tensor, mass: Tensor, square: Tensor) -> Tensor:
    """η² `(...)` from sums of scores, of row weights and of squared scores, each `(..., G)`.

    In float32 digits are lost where the scores' mean is many of their deviations from 0.
    """
    everyone = mass.sum(-1)
    mean = mean_scores(total.sum(-1), everyone)
    variance = mean_scores(square.sum(-1), everyone) - mean.square()
    between = (_shares(mass) * _deviation(total, mass).square()).sum(-1)
    return (between / variance.clamp_min(_LEAST_VARIANCE)).clamp_max(1.0) * _estimable(mass)


def mutual_information(
    scores: Tensor, group: Tensor, num_groups: int, *, weight: Tensor | None = None
) -> Tensor:
    """Mutual information of a decision drawn from the scores and the group.

    The prejudice index of Kamishima et al. 2012 (doi:10.1007/978-3-642-33486-3_3). Only the groups'
    rates matter. Rates closer to 0 or 1 than the precision of their type are moved by that much
    inwards, where the gradient is 0.

    Args:
        scores: `(..., N)` probabilities, or decisions 0 and 1.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(...)` nats, at most log 2; at least 0 up to rounding.

    >>> group = torch.tensor([0, 0, 1, 1])
    >>> round(mutual_information(torch.tensor([0.0, 0, 1, 1]), group, 2).item(), 4)
    0.6931
    """
    total, mass, *_ = _group_sums(scores, group, num_groups, weight)
    return mutual_information_from_sums(total, mass)


def mutual_information_from_sums(total: Tensor, mass: Tensor) -> Tensor:
    """Nats `(...)` from sums of scores `(..., G)` and of row weights `(..., G)`."""
    edge = torch.finfo(total.dtype).eps
    rate = mean_scores(total, mass).clamp(edge, 1 - edge)
    overall = mean_scores(total.sum(-1, keepdim=True), mass.sum(-1, keepdim=True))
    overall = overall.clamp(edge, 1 - edge)
    divergence = rate * (rate / overall).log() + (1 - rate) * ((1 - rate) / (1 - overall)).log()
    return (_shares(mass) * divergence).sum(-1) * _estimable(mass)


def hsic(
    scores: Tensor,
    group: Tensor,
    num_groups: int,
    *,
    weight: Tensor | None = None,
    bandwidth: float = 0.25,
) -> Tensor:
    """Hilbert-Schmidt independence criterion (Gretton et al. 2005, doi:10.1007/11564089_7).

    The biased estimate tr(KHLH)/n², with exp(−d²/2σ²) between scores and 1 within, 0 across groups.
    It is the sum over groups of p²·MMD² between the group, of share p, and everyone. Time and
    memory grow with N².

    Args:
        scores: `(..., N)` scores.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.
        bandwidth: σ > 0, in units of the scores.

    Returns:
        `(...)` at least 0 up to rounding, below 1.

    >>> round(hsic(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), 2, bandwidth=1.0).item(), 4)
    0.0984
    """
    kernel, mass = _kernel_sums(scores, group, num_groups, weight, bandwidth)
    share = _shares(mass)
    # Twice, since the square of a small mass may be too small for the type.
    kernel = mean_scores(mean_scores(kernel, mass.sum()), mass.sum())
    within = kernel.diagonal(dim1=-2, dim2=-1).sum(-1)
    to_all = kernel.sum(-1)
    value = within + to_all.sum(-1) * share.square().sum() - 2 * (share * to_all).sum(-1)
    return value * _estimable(mass)


def mmd(
    scores: Tensor,
    group: Tensor,
    num_groups: int,
    *,
    weight: Tensor | None = None,
    bandwidth: float = 0.25,
) -> Tensor:
    """Squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13), mean over pairs of groups.

    The biased estimate, with the kernel exp(−d²/2σ²) between scores. Every pair counts alike, small
    groups as well. Time and memory grow with N².

    Args:
        scores: `(..., N)` scores.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.
        bandwidth: σ > 0, in units of the scores.

    Returns:
        `(...)` at least 0 up to rounding, at most 2.

    >>> round(mmd(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), 2, bandwidth=1.0).item(), 4)
    0.7869
    """
    kernel, mass = _kernel_sums(scores, group, num_groups, weight, bandwidth)
    # Twice, as in `hsic`.
    mean = mean_scores(mean_scores(kernel, mass), mass.unsqueeze(-1))
    own = mean.diagonal(dim1=-2, dim2=-1)
    return _mean_over_pairs(own.unsqueeze(-1) + own.unsqueeze(-2) - 2 * mean, mass)


def wasserstein(
    scores: Tensor,
    group: Tensor,
    num_groups: int,
    *,
    weight: Tensor | None = None,
    order: int = 1,
) -> Tensor:
    """Wasserstein distance of the groups' scores, mean over pairs (Jiang et al. 2020, UAI).

    Exact: between the levels at which a quantile function of any group steps, all are constant. So
    unlike quantiles on a grid it moves every row. Time grows with N·log N and N·G².

    Args:
        scores: `(..., N)` scores.
        group: `(N,)` int64 ids in `[-1, num_groups)`.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.
        order: 1, or 2 for the squared distance of order 2, which is smooth where groups are equal.

    Returns:
        `(...)` at least 0, in units of the scores, or of their square.

    >>> wasserstein(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0, 0, 1]), 2)
    tensor(0.7500)
    """
    scores, mass = at_least_float32(scores), _row_mass(scores, group, weight)
    if not scores.shape[-1]:
        return scores.sum(-1)
    total = segment_sums(mass, group, num_groups)
    ordered, order_of = scores.sort(-1)
    # Rank of each row: the distribution function of its group, at the row and at rows of others.
    member = torch.arange(num_groups, device=group.device).unsqueeze(-1) == group
    reached = mean_scores(member * mass, total.unsqueeze(-1))[:, order_of].cumsum(-1)
    reached = reached.movedim(0, -2)
    owner = group.clamp_min(0)[order_of].unsqueeze(-2)
    steps = reached.gather(-2, owner).squeeze(-2).clamp(0, 1).sort(-1).values
    steps = torch.nn.functional.pad(torch.nn.functional.pad(steps, (1, 0)), (0, 1), value=1.0)
    middle = (steps[..., 1:] + steps[..., :-1]) / 2
    levels = middle.unsqueeze(-2).expand(*reached.shape[:-1], -1).contiguous()
    row = torch.searchsorted(reached.contiguous(), levels).clamp_max(scores.shape[-1] - 1)
    quantile = ordered.unsqueeze(-2).expand(reached.shape).gather(-1, row)
    difference = (quantile.unsqueeze(-2) - quantile.unsqueeze(-3)).abs()
    cost = difference if order == 1 else difference.square()
    return _mean_over_pairs((cost * steps.diff(dim=-1)[..., None, None, :]).sum(-1), total)


def _group_sums(
    scores: Tensor, group: Tensor, num_groups: int, weight: Tensor | None, *, square: bool = False
) -> tuple[Tensor, ...]:
    moments = row_moments(scores, weight, square=square)
    return tuple(segment_sums(moment, group, num_groups) for moment in moments)


def _row_mass(scores: Tensor, group: Tensor, weight: Tensor | None) -> Tensor:
    """What each row counts, `(N,)`; 0 where its group is unknown."""
    mass = at_least_float32(scores).new_ones(scores.shape[-1])
    mass = mass if weight is None else mass * weight
    return torch.where(group < 0, 0.0, mass)


def _kernel_sums(
    scores: Tensor, group: Tensor, num_groups: int, weight: Tensor | None, bandwidth: float
) -> tuple[Tensor, Tensor]:
    """Sums of the kernel over pairs of rows, `(..., G, G)`, and row weights `(G,)` of groups."""
    scores, mass = at_least_float32(scores), _row_mass(scores, group, weight)
    distance = scores.unsqueeze(-1) - scores.unsqueeze(-2)
    kernel = (distance.square() / (-2 * bandwidth**2)).exp()
    # index_add, since autocast would multiply matrices in bfloat16; rows first, which is quick.
    weighed = kernel * (mass.unsqueeze(-1) * mass)
    slots = weighed.new_zeros((*weighed.shape[:-2], num_groups + 1, weighed.shape[-1]))
    by_row = slots.index_add(-2, group + 1, weighed)
    sums = slot_sums(by_row, [group + 1], num_groups + 1)[..., 1:, 1:]
    return sums, segment_sums(mass, group, num_groups)


def _deviation(total: Tensor, mass: Tensor) -> Tensor:
    """Mean of each group minus that of all, `(..., G)`."""
    mean = mean_scores(total.sum(-1, keepdim=True), mass.sum(-1, keepdim=True))
    return mean_scores(total, mass) - mean


def _shares(mass: Tensor) -> Tensor:
    return mean_scores(mass, mass.sum(-1, keepdim=True))


def _estimable(mass: Tensor) -> Tensor:
    """1 where at least two groups have rows, else 0, which also takes away the gradient."""
    return ((mass > 0).sum(-1) > 1).to(mass.dtype)


def _mean_over_pairs(distance: Tensor, mass: Tensor) -> Tensor:
    present = mass > 0
    pair = torch.triu(present.unsqueeze(-1) & present, diagonal=1).to(distance.dtype)
    return (distance * pair).sum((-1, -2)) / pair.sum().clamp_min(1)
