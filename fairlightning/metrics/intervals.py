"""Intervals for the figures of `GroupTables`, each by the method that `docs/intervals.md` chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fairlightning.functional.bootstrap import (
    bootstrap_distance_interval,
    bootstrap_interval,
    half_row,
    half_rows_of_bins,
)
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import CRITERIA
from fairlightning.functional.extremes import (
    largest_difference_interval,
    largest_difference_of,
    largest_difference_sum_interval,
    smallest_ratio_interval,
)
from fairlightning.functional.intervals import Interval, rate_interval
from fairlightning.functional.proportions import PROPORTIONS, Trials, proportion_trials
from fairlightning.functional.rates import Rates, mean_scores
from fairlightning.functional.score_figures import (
    BinnedRanking,
    binned_auroc,
)
from fairlightning.metrics.tables import (
    OF_TABLES,
    RANKING,
    WORST_GROUP,
    GroupTables,
    estimable,
)

RANKING_BINS = 56
"""Bins to which score histograms are merged before resampling, which takes time for each bin."""


def group_intervals(
    tables: GroupTables, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Intervals `(G,)` for each of `GROUP_METRICS`.

    Rates have the interval of a rate, everything else that of a stratified bootstrap. Areas are
    widened by the bound on their binning error. Rows with weights count as Kish's effective number.

    Args:
        tables: Tables of groups.
        level: Confidence, in (0, 1).
        num_resamples: Resamples of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        Intervals by metric, NaN or vacuous where the figure is not estimable.

    Raises:
        ArgumentError: If level or number of resamples cannot be used.
    """
    mass, square = (
        part.cpu().sum((-2, -1)) for part in (tables.confusion.mass, tables.confusion.square)
    )
    scale = _kish(mass, square)
    options: dict[str, Any] = {"level": level, "num_resamples": num_resamples, "seed": seed}

    def effective(table: Tensor) -> Tensor:
        return table.cpu() * scale.view(-1, *[1] * (table.ndim - 1))

    trials = {name: proportion_trials(tables.confusion, name) for name in PROPORTIONS}
    found = {name: rate_interval(*trial, level=level) for name, trial in trials.items()}
    table = effective(tables.confusion.mass)
    found |= _apart(OF_TABLES, bootstrap_interval(_of_tables, table, within=2, **options))
    # Each group beside all others as one: weights may differ from group to group, but the mixture
    # of the others must stay what it is.
    scales = _kish(_beside_others(mass), _beside_others(square))
    merged = _merged(_beside_others(tables.scores.histogram.cpu())) * scales[..., None, None]
    prior = half_row(merged)
    ranking = bootstrap_interval(_of_ranking, merged, within=1, prior=prior, **options)
    found |= _widened(_apart(RANKING, ranking), tables.ranking())
    moments = tables.scores.moments.cpu()
    bins = effective(moments[..., 0])
    found["brier"] = bootstrap_interval(
        _brier(moments), bins, within=2, prior=half_row(bins), **options
    )
    found["calibration_error"] = bootstrap_distance_interval(
        _calibration(moments), bins, within=2, prior=half_rows_of_bins(bins), **options
    )
    return found


def gap_intervals(
    tables: GroupTables,
    rates: Mapping[str, Rates],
    intervals: Mapping[str, Interval],
    *,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Intervals `()` for each of `GAP_METRICS`, simultaneous over all groups.

    Args:
        tables: Tables of groups.
        rates: Their `rates`.
        intervals: Their `group_intervals` at the same level.
        level: Confidence, in (0, 1).

    Returns:
        Intervals by metric; vacuous where fewer than two groups can be compared.
    """
    found = {}
    for name, criterion in CRITERIA.items():
        if criterion.rates == ("error_balance",):
            found[f"{name}_difference"] = _of_figures(rates, intervals, "error_balance", level)
            continue
        trials = criterion_trials(tables.confusion, name)
        of = largest_difference_interval
        if criterion.combine == "sum":
            of = largest_difference_sum_interval
        found[f"{name}_difference"] = of(*trials, level=level)
    selected = criterion_trials(tables.confusion, "demographic_parity")
    found["demographic_parity_ratio"] = smallest_ratio_interval(*selected, level=level)
    found["auroc_difference"] = _of_figures(rates, intervals, "auroc", level, most=1.0)
    worst = proportion_trials(tables.confusion, WORST_GROUP)
    found[f"worst_group_{WORST_GROUP}"] = smallest_rate_interval(worst, level=level)
    return found


def criterion_trials(confusion: ConfusionTable, criterion: str) -> Trials:
    """Successes and trials `(C, G)` of the rates of a criterion that has but simple rates."""
    parts = [proportion_trials(confusion, name) for name in CRITERIA[criterion].rates]
    return Trials(*(torch.stack(columns, dim=-2) for columns in zip(*parts, strict=True)))


def smallest_rate_interval(trials: Trials, *, level: float = 0.95) -> Interval:
    """Interval for the smallest rate of a group.

    The smallest lower limit needs no correction, since the worst group is one of the groups; the
    upper one, by which *some* group is at least so bad, is Bonferroni-corrected.

    Args:
        trials: `(..., G)` successes and trials; groups without any take no part.
        level: Confidence, in (0, 1).

    Returns:
        `(...)` limits in [0, 1]; (0, 1) without any group.
    """
    present = trials.trials.cpu() > 0
    number = max(int(present.sum(-1).max()), 1)
    low = rate_interval(*trials, level=level).low
    high = rate_interval(*trials, level=1 - (1 - level) / number).high
    low = torch.where(present, low, 1.0).amin(-1)
    high = torch.where(present, high, 1.0).amin(-1)
    return Interval(torch.where(present.any(-1), low, 0.0), high)


def _of_figures(
    rates: Mapping[str, Rates],
    intervals: Mapping[str, Interval],
    name: str,
    level: float,
    most: float = torch.inf,
) -> Interval:
    figure, of = rates[name], intervals[name]
    known = estimable(figure).cpu() & of.low.isfinite() & of.high.isfinite()
    if bool((estimable(figure).cpu() & ~known).any()):
        return Interval(torch.tensor(0.0).double(), torch.tensor(most).double())
    value = torch.where(known, figure.rate.cpu(), 0.0)
    filled = Interval(*(torch.where(known, limit, 0.0) for limit in of))
    return largest_difference_of(value, filled, known, level=level, most=most)


def _kish(mass: Tensor, square: Tensor) -> Tensor:
    """What turns sums of weights into effective numbers of rows."""
    tiny = torch.finfo(mass.dtype).tiny
    return torch.where(square > 0, mass / square.clamp_min(tiny), 0.0)


def _beside_others(of_groups: Tensor) -> Tensor:
    """Sums `(G, 2, ...)` of each group and of all others, from `(G, ...)`."""
    others = (of_groups.sum(0) - of_groups).clamp_min(0)  # rounding may go below
    return torch.stack([of_groups, others], dim=1)


def _merged(histograms: Tensor) -> Tensor:
    """Merge the bins `(G, 2, 2, B)` to `RANKING_BINS`, each group's to bins of its own.

    Every label of a group and of the others, whatever their numbers, has a quarter of the bins or
    more: bins of equal width would let scores that lie close together tie.
    """
    share = histograms / histograms.sum(-1, keepdim=True).clamp_min(1e-300)
    upto = share.sum((1, 2)).cumsum(-1)
    middle = upto - share.sum((1, 2)) / 2
    place = (middle / upto[:, -1:].clamp_min(1e-300) * RANKING_BINS).long()
    place = place.clamp(0, RANKING_BINS - 1)[:, None, None].expand_as(histograms)
    merged = histograms.new_zeros(*histograms.shape[:-1], RANKING_BINS)
    return merged.scatter_add_(-1, place, histograms)


def _apart(names: Mapping[str, object], interval: Interval) -> dict[str, Interval]:
    # (..., F) → F intervals.
    limits = zip(*(limit.unbind(-1) for limit in interval), strict=True)
    return {name: Interval(*pair) for name, pair in zip(names, limits, strict=True)}


def _widened(intervals: dict[str, Interval], ranking: BinnedRanking) -> dict[str, Interval]:
    widened = {}
    for (name, of), binned in zip(intervals.items(), ranking, strict=True):
        error = binned.error.cpu()
        widened[name] = Interval((of.low - error).clamp_min(0), (of.high + error).clamp_max(1))
    return widened


def _or_nan(rates: Rates) -> Tensor:
    return torch.where(estimable(rates), rates.rate, torch.nan)


def _of_tables(table: Tensor) -> Tensor:
    drawn = ConfusionTable(table, table, table)
    return torch.stack([_or_nan(rate(drawn)) for rate in OF_TABLES.values()], dim=-1)


def _of_ranking(histogram: Tensor) -> Tensor:
    # (..., G, 2, 2, B): of each group and the others only the group's own figures are wanted.
    ranking = binned_auroc(histogram, histogram.sum(-1))
    return torch.stack([_or_nan(rates(ranking))[..., 0] for rates in RANKING.values()], dim=-1)


def _brier(moments: Tensor) -> Callable[[Tensor], Tensor]:
    mass, _, error = moments.unbind(-1)
    # A label that a bin does not have costs what its mean score says.
    mean = _mean_score(moments).unsqueeze(-2)
    missing = torch.cat([mean, 1 - mean], dim=-2).square()
    each = torch.where(mass > 0, mean_scores(error, mass), missing)

    def figure(drawn: Tensor) -> Tensor:
        total = drawn.sum((-2, -1))
        return _or_nan(Rates(mean_scores((drawn * each).sum((-2, -1)), total), total))

    return figure


def _mean_score(moments: Tensor) -> Tensor:
    mass, score, _ = moments.sum(-3).unbind(-1)
    return mean_scores(score, mass)


def _calibration(moments: Tensor) -> Callable[[Tensor], Tensor]:
    # The mean score of a bin is taken as known: within a bin scores differ by its width at most.
    mean = _mean_score(moments)

    def deviations(drawn: Tensor) -> Tensor:
        return (drawn[..., 1, :] - mean * drawn.sum(-2)) / drawn.sum((-2, -1)).unsqueeze(-1)

    return deviations
