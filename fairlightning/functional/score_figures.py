"""Figures of groups from their scores: ranking, calibration, and how far distributions lie apart.

They are taken from the tables of `functional.score_histogram`. Every function takes leading axes,
so that a thousand resampled tables go through in one call. What comes from the histogram carries a
bound on what binning can have changed.
"""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import check_choice
from fairlightning.functional.ranking import area_from_wins
from fairlightning.functional.rates import Rates, rates_from_sums
from fairlightning.functional.score_bins import edges_of

Distance = Literal["kolmogorov_smirnov", "wasserstein"]

DISTANCES: tuple[Distance, ...] = ("kolmogorov_smirnov", "wasserstein")


class Binned(NamedTuple):
    """A figure from binned scores.

    Attributes:
        rates: The figure and the rows behind it.
        error: Bound on its distance from the figure of the scores themselves; of the shape of the
            rates.
    """

    rates: Rates
    error: Tensor


class BinnedRanking(NamedTuple):
    """Areas under the ROC curve of every group; see `ranking.GroupRanking`."""

    within: Binned
    bpsn: Binned
    bnsp: Binned


class Reliability(NamedTuple):
    """Predicted and observed frequency, for `G` groups and `K` bins of equal width in the score.

    Attributes:
        mean_score: `(..., G, K)` mean score of the rows in the bin; 0 where there is none.
        positive_rate: `(..., G, K)` share of positives among them; 0 where there is none.
        mass: `(..., G, K)` mass of the rows in the bin.
    """

    mean_score: Tensor
    positive_rate: Tensor
    mass: Tensor


def binned_auroc(histogram: Tensor, rows: Tensor | None = None) -> BinnedRanking:
    """Areas under the ROC curve of groups, within and across; see `ranking.GroupRanking`.

    Pairs within a bin count half. Whichever way they would go, the area moves by at most half their
    share, Σ_b pos_b·neg_b / (2·P·N): the error that is given.

    Args:
        histogram: `(..., G, 2, B)` mass of rows by label and bin.
        rows: `(..., G, 2)` int64 number of rows; the mass where not given.

    Returns:
        Areas, supports and errors `(..., G)`.

    >>> binned_auroc(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])).within.rates.rate.item()
    0.6666666666666666
    """
    histogram = histogram.double()
    rows = histogram.sum(-1).long() if rows is None else rows
    others = histogram.sum(-3, keepdim=True) - histogram
    other_rows = rows.sum(-2, keepdim=True) - rows
    negative, positive = histogram.unbind(-2)
    other_negative, other_positive = others.unbind(-2)
    negatives, positives = rows.unbind(-1)
    other_negatives, other_positives = other_rows.unbind(-1)
    return BinnedRanking(
        _binned_area(negative, positive, negatives, positives),
        _binned_area(negative, other_positive, negatives, other_positives),
        _binned_area(other_negative, positive, other_negatives, positives),
    )


def brier_score(moments: Tensor, rows: Tensor | None = None) -> Rates:
    """Mean squared distance of score and label of every group (Brier 1950), exact.

    Args:
        moments: `(..., G, 2, K, 3)` as in `ScoreTable`.
        rows: `(..., G, 2)` int64 number of rows; the mass where not given.

    Returns:
        `(..., G)` float64 score in [0, 1], 0 the best, and int64 support.
    """
    mass, _, error = moments.sum((-3, -2)).unbind(-1)
    return rates_from_sums(error, mass, _support(mass, rows))


def calibration_error(moments: Tensor, rows: Tensor | None = None) -> Rates:
    """Expected calibration error of every group (Naeini et al. 2015; Guo et al. 2017).

    The mean over rows of |mean score − share of positives| in the row's bin, for `K` bins of equal
    width in the score of the positive class, the lower edge belonging to the bin. Exact, but in
    small groups biased upwards, as every absolute gap is.

    Args:
        moments: `(..., G, 2, K, 3)` as in `ScoreTable`.
        rows: `(..., G, 2)` int64 number of rows; the mass where not given.

    Returns:
        `(..., G)` float64 error in [0, 1], 0 the best, and int64 support.
    """
    positives = moments[..., 1, :, 0]
    mass, score, _ = moments.sum(-3).unbind(-1)
    total = mass.sum(-1)
    return rates_from_sums((score - positives).abs().sum(-1), total, _support(total, rows))


def reliability(moments: Tensor) -> Reliability:
    """Predicted against observed frequency of every group, for a reliability diagram.

    Args:
        moments: `(..., G, 2, K, 3)` as in `ScoreTable`.
    """
    mass, score, _ = moments.sum(-3).unbind(-1)
    per_mass = torch.where(mass > 0, 1 / mass.clamp_min(_TINY), 0.0)
    return Reliability(score * per_mass, moments[..., 1, :, 0] * per_mass, mass)


def score_distance(histogram: Tensor, kind: Distance, rows: Tensor | None = None) -> Binned:
    """Distance between the score distributions of every two groups, whatever the labels.

    `kolmogorov_smirnov` is the largest distance of the distribution functions: binning can only
    lower it. `wasserstein` is the Wasserstein-1 distance of the scores in [0, 1], each taken to lie
    in the middle of its bin.

    Args:
        histogram: `(..., G, 2, B)` mass of rows by label and bin.
        kind: One of `DISTANCES`.
        rows: `(..., G, 2)` int64 number of rows; the mass where not given.

    Returns:
        `(..., G, G)` distances in [0, 1], their support (that of the smaller group; 0 where one of
        the two is absent, and on the diagonal) and errors.

    Raises:
        ArgumentError: If there is no such distance.
    """
    check_choice("kind", kind, DISTANCES)
    mass = histogram.double().sum(-2)
    total = mass.sum(-1, keepdim=True)
    share = mass / total.clamp_min(_TINY)
    cdf = share.cumsum(-1)
    if kind == "kolmogorov_smirnov":
        distance = torch.cdist(cdf, cdf, p=inf)
        # Within a bin the functions part by no more than the lesser of the two groups gains there.
        each = share.amax(-1)
        error = torch.minimum(each.unsqueeze(-1), each.unsqueeze(-2))
    else:
        ends = torch.sigmoid(edges_of(histogram))
        middle, width = (ends[1:] + ends[:-1]) / 2, ends.diff()
        steps = cdf[..., :-1] * middle.diff()
        distance = torch.cdist(steps, steps, p=1)
        each = (share * width).sum(-1) / 2
        error = each.unsqueeze(-1) + each.unsqueeze(-2)
    support = _support(total.squeeze(-1), rows)
    least = torch.minimum(support.unsqueeze(-1), support.unsqueeze(-2))
    least = least * ~torch.eye(least.shape[-1], dtype=torch.bool, device=least.device)
    return Binned(Rates(torch.where(least > 0, distance, 0.0), least), error)


_TINY = torch.finfo(torch.float64).tiny


def _support(mass: Tensor, rows: Tensor | None) -> Tensor:
    rows = mass.long() if rows is None else rows.sum(-1)
    return torch.where(mass > 0, rows, 0)


def _binned_area(
    negative: Tensor, positive: Tensor, negatives: Tensor, positives: Tensor
) -> Binned:
    below = negative.cumsum(-1) - negative / 2
    mass = torch.stack([negative.sum(-1), positive.sum(-1)])
    rates = area_from_wins((positive * below).sum(-1), mass, torch.stack([negatives, positives]))
    tied = (positive * negative).sum(-1) / 2
    return Binned(rates, torch.where(rates.present, tied / mass.prod(0).clamp_min(_TINY), 0.0))
