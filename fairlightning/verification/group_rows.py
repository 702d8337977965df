"""Every group and intersection in both models: who gained, and who was harmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fairlightning.verification.criteria import within
from fairlightning.verification.limits import Contrast, distance_family
from fairlightning.verification.material import Bounds, Material
from fairlightning.verification.paired import (
    BASELINE,
    INTERVENTION,
    Array,
    Estimates,
    group_estimates,
)
from fairlightning.verification.results import Estimate, GroupRow, Spread

INTERVAL = 0.975
"""One-sided level of the limits that are shown for changes: together 95 %."""


ALARM = 0.9
"""Level at which the growth of a distance by itself has to exceed what is visible."""


def group_rows(material: Material, bounds: Bounds) -> tuple[GroupRow, ...]:
    """List all groups of all partitions under the rates of the criterion."""
    tables = {
        partition: _estimates(material, partition) for partition in material.groups.partitions
    }
    number = sum(_deciding(test, material, bounds) for test, _ in tables.values())
    # Simultaneous over all groups that are looked at (Bonferroni).
    level = 1 - (1 - bounds.level) / max(number, 1)
    return tuple(
        row
        for partition, pair in tables.items()
        for row in _of_partition(material, partition, pair, bounds, level)
    )


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation over seeds; NaN is what is not estimable."""
    array = np.array(values, dtype=float)
    known = bool(len(array)) and not np.isnan(array).any()
    deviation = float(array.std(ddof=1)) if known and len(array) > 1 else None
    listed = tuple(None if np.isnan(value) else float(value) for value in array)
    return Spread(float(array.mean()) if known else None, deviation, listed)


def _rates(material: Material) -> tuple[str, ...]:
    return (*material.rates, "accuracy")


def _estimates(material: Material, partition: Sequence[str]) -> tuple[Estimates, Estimates]:
    options = material.groups, partition, _rates(material), material.threshold
    other = group_estimates(material.validation, *options, covariance=False)
    return group_estimates(material.test, *options), other


def _deciding(test: Estimates, material: Material, bounds: Bounds) -> int:
    """Number of statements about groups: those of the criterion's rates, and of accuracy."""
    by_rate = test.distinct.reshape(len(_rates(material)), -1)[:, :-1]
    return int((by_rate >= bounds.min_support).sum())


def _of_partition(
    material: Material,
    partition: Sequence[str],
    pair: tuple[Estimates, Estimates],
    bounds: Bounds,
    level: float,
) -> Iterator[GroupRow]:
    names = material.groups.group_names(partition)
    size = len(names)
    for index, rate in enumerate(material.rates):
        for group, name in enumerate(names):
            column = index * (size + 1) + group
            accuracy = len(material.rates) * (size + 1) + group
            yield _row(
                material, (" & ".join(partition), name, rate), pair, (column, accuracy), size,
                bounds, level,
            )  # fmt: skip


def _row(
    material: Material,
    name: tuple[str, str, str],
    pair: tuple[Estimates, Estimates],
    columns: tuple[int, int],
    size: int,
    bounds: Bounds,
    level: float,
) -> GroupRow:
    test, _ = pair
    column, accuracy = columns
    values = test.values[:, :, column]
    support = int(test.distinct[column])
    everywhere = not np.isnan(values).any()
    small = support < bounds.min_support or not everywhere
    harm, harmed = Estimate(None), False
    distances: tuple[float | None, float | None] = (None, None)
    change = accuracy_change = Estimate(None)
    if everywhere:
        family = distance_family(len(_rates(material)), size, column)
        harm, distances, farther = _harm(pair, family, bounds, level)
        change = _change(test, _unit(test, column))
        accuracy_change = _change(test, _unit(test, accuracy))
        lost = Contrast.of(test, -_unit(test, accuracy)).alarm(level)
        harmed = not small and (farther or lost > bounds.accuracy_drop)
    return GroupRow(
        attribute=name[0],
        group=name[1],
        rate=name[2],
        baseline=spread(values[:, BASELINE].tolist()),
        intervention=spread(values[:, INTERVENTION].tolist()),
        change=change,
        distance_baseline=distances[0],
        distance_intervention=distances[1],
        harm=harm,
        accuracy_change=accuracy_change,
        supports=tuple(int(rows) for rows in test.supports[:, column]),
        support=support,
        small=small,
        harmed=harmed,
        sources=material.sources,
    )


def _harm(
    pair: tuple[Estimates, Estimates], family: Array, bounds: Bounds, level: float
) -> tuple[Estimate, tuple[float, float], bool]:
    """Growth of a group's distance, both distances, and whether it is visibly farther away."""
    test, other = pair
    contrast = Contrast.of(test, family, other)
    baseline, intervention = contrast.value.tolist()
    limits = contrast.alarm(ALARM), contrast.high(1, bounds.level)
    moved = max(Contrast.of(test, side[None]).alarm(level) for side in family)
    farther = limits[0] > bounds.visible_harm and moved > bounds.visible_harm
    harm = within(intervention - baseline, *limits)
    return harm, (baseline, intervention), farther


def _unit(test: Estimates, column: int) -> Array:
    row = np.zeros((1, test.values.shape[-1]))
    row[0, column] = 1
    return row


def _change(test: Estimates, family: Array) -> Estimate:
    contrast = Contrast.of(test, family)
    baseline, intervention = contrast.value.tolist()
    if np.isnan(intervention - baseline):
        return Estimate(None)
    return Estimate(intervention - baseline, *contrast.limits(1, INTERVAL))
