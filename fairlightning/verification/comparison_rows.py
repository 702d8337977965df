"""The tables of a verification: every metric of both models over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fairlightning.functional.criteria import CRITERIA
from fairlightning.metrics import Key, Record, higher_is_better
from fairlightning.verification.criteria import within
from fairlightning.verification.gap_change import gap_change
from fairlightning.verification.group_rows import INTERVAL, spread
from fairlightning.verification.limits import Contrast
from fairlightning.verification.material import TESTABLE, Material
from fairlightning.verification.paired import OVERALL, overall_estimates
from fairlightning.verification.results import ComparisonRow, Estimate, Spread

Records = Mapping[Key, Record]


def comparison_rows(
    baseline: Sequence[Sequence[Record]],
    intervention: Sequence[Sequence[Record]],
    material: Material,
) -> tuple[ComparisonRow, ...]:
    """Set the metrics of all rows and of all partitions side by side.

    Args:
        baseline: Records of `metrics.json` of each seed.
        intervention: Those of the interventions, in the same order.
        material: The predictions, for paired intervals.
    """
    first, second = ([_table(records) for records in side] for side in (baseline, intervention))
    limits = _overall_limits(material)
    rows = []
    for key in first[0]:
        supports = [table[key].support for table in (*first, *second)]
        interval = limits.get(key.metric) if key.attribute is None else _gap_limits(material, key)
        values = [_spread(tables, key) for tables in (first, second)]
        rows.append(_row(key, values[0], values[1], interval, min(supports)))
    return tuple(rows)


def _table(records: Sequence[Record]) -> dict[Key, Record]:
    return {r.key: r for r in records if r.stage == "test" and r.group is None}


def _spread(tables: Sequence[Records], key: Key) -> Spread:
    values = [table[key].value for table in tables]
    return spread([np.nan if value is None else value for value in values])


def _row(
    key: Key,
    baseline: Spread,
    intervention: Spread,
    limits: tuple[float, float] | None,
    support: int,
) -> ComparisonRow:
    change, relative, better = Estimate(None), None, None
    if baseline.mean is not None and intervention.mean is not None:
        value = intervention.mean - baseline.mean
        change = within(value, *(limits or (None, None)))
        relative = value / baseline.mean if baseline.mean else None
        good = higher_is_better(key.metric)
        low, high = change.low, change.high
        if good is not None and low is not None and high is not None and low * high > 0:
            better = (low > 0) == good
    return ComparisonRow(
        key.metric, key.attribute, None, baseline, intervention, change, relative, better, support
    )


def _overall_limits(material: Material) -> dict[str, tuple[float, float]]:
    estimates = overall_estimates(material.test, OVERALL, material.threshold)
    limits = {}
    for column, name in enumerate(OVERALL):
        if not np.isnan(estimates.values[:, :, column]).any():
            family = np.eye(len(OVERALL))[[column]]
            limits[name] = Contrast.of(estimates, family).limits(1, INTERVAL)
    return limits


def _gap_limits(material: Material, key: Key) -> tuple[float, float] | None:
    criterion = key.metric.removesuffix("_difference")
    if criterion not in TESTABLE or not key.metric.endswith("_difference") or not key.attribute:
        return None
    partition = key.attribute.split(" & ")
    change = gap_change(material, partition, CRITERIA[criterion].rates, 1)
    # The figure in the table has all groups; an interval without some would be another figure's.
    if change.contrast is None or any(change.left_out.values()):
        return None
    low, high = change.contrast.limits(1, INTERVAL)
    return max(low, -1.0), min(high, 1.0)  # of two gaps in [0, 1]
