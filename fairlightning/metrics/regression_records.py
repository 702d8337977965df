"""All figures of a regression over one stage, as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from scipy import special
from torch import Tensor

from fairlightning.functional.criteria import Estimate, rates_difference, worst_group
from fairlightning.functional.extremes import largest_difference_of
from fairlightning.functional.intervals import Interval
from fairlightning.functional.moments import Moments, overall_moments, partition_moments
from fairlightning.functional.rates import Rates
from fairlightning.functional.regression import FIGURES, figure_errors
from fairlightning.groups import GroupSpec
from fairlightning.metrics.records import Key, Record
from fairlightning.metrics.regression import GroupRegression
from fairlightning.metrics.stage import Intervals, StageMetrics, figure_records, unknown_record

WORST_GROUP = "mean_absolute_error"
"""Figure whose worst group is a figure of its own."""


class RegressionMetrics(StageMetrics):
    """Errors and fairness of a regression over one stage; see `StageMetrics`.

    Args:
        groups: Sensitive attributes and their categories.
        stage: `"train"`, `"val"` or `"test"`.

    Raises:
        ArgumentError: If the groups or the stage cannot be used.
    """

    def __init__(self, groups: GroupSpec | Mapping[str, Iterable[object]], stage: str) -> None:
        spec = GroupSpec.of(groups)
        super().__init__(spec, stage, GroupRegression(spec))

    def _records(self, tables: Moments, intervals: Intervals | None) -> list[Record]:
        return regression_records(self.stage, self.groups, tables, intervals=intervals)


def regression_records(
    stage: str, groups: GroupSpec, moments: Moments, *, intervals: Intervals | None = None
) -> list[Record]:
    """Turn moments into records, in the order of `fairness_records`.

    Args:
        stage: Stage that the records are of.
        groups: The attributes by whose cells rows were pooled.
        moments: `(num_cells,)` moments of all rows.
        intervals: Give figures their intervals, from standard errors and Student's distribution:
            too narrow in small groups with skewed errors.

    Returns:
        The records, in units of the target; a value is None where it is not estimable.
    """
    records = list(
        _members(Key(stage, "", None, None), [None], overall_moments(moments), intervals)
    )
    for partition in groups.partitions:
        attribute = " & ".join(partition)
        of_groups = partition_moments(moments, groups, partition)
        records += _gaps(stage, attribute, of_groups, intervals)
        unknown = int(moments.counts.sum() - of_groups.counts.sum())
        records.append(unknown_record(stage, attribute, unknown))
        key = Key(stage, "", attribute, None)
        records += _members(key, groups.group_names(partition), of_groups, intervals)
    return records


def _members(
    key: Key, names: Sequence[str | None], moments: Moments, how: Intervals | None
) -> Iterator[Record]:
    for metric, figure in FIGURES.items():
        limits = {} if how is None else {metric: _interval(moments, metric, how.level)}
        yield from figure_records(key._replace(metric=metric), names, figure(moments), limits)


def _gaps(stage: str, attribute: str, moments: Moments, how: Intervals | None) -> Iterator[Record]:
    for metric, figure in FIGURES.items():
        name, rates = f"{metric}_difference", figure(moments)
        limits = {}
        if how is not None:
            interval = _interval(moments, metric, how.level)
            limits[name] = largest_difference_of(
                rates.rate, interval, rates.present, level=how.level
            )
        gap = rates_difference(rates)
        yield from figure_records(Key(stage, name, attribute, None), [None], Rates(*gap), limits)
    worst = worst_group(FIGURES[WORST_GROUP](moments), higher_is_better=False)
    estimate = Estimate(worst.value, worst.support)
    key = Key(stage, f"worst_group_{WORST_GROUP}", attribute, None)
    yield from figure_records(key, [None], Rates(*estimate), {})


def _interval(moments: Moments, figure: str, level: float) -> Interval:
    rate = FIGURES[figure](moments).rate.cpu()
    freedom = (_effective(moments) - 1).clamp_min(1.0)
    quantile = torch.from_numpy(special.stdtrit(freedom.numpy(), (1 + level) / 2))
    reach = quantile * figure_errors(moments, figure).cpu()
    low = rate - reach
    if figure in ("mean_absolute_error", "root_mean_squared_error"):
        low = low.clamp_min(0.0)
    return Interval(low, rate + reach)


def _effective(moments: Moments) -> Tensor:
    tiny = torch.finfo(torch.float64).tiny
    return (moments.mass.square() / moments.squared_mass.clamp_min(tiny)).cpu()
