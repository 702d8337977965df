"""All figures of a classifier with more than two classes: each class against the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from fairlightning.exceptions import ArgumentError, FairnessWarning
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import CRITERIA, Estimate, criterion_difference, worst_group
from fairlightning.functional.extremes import largest_difference_interval
from fairlightning.functional.intervals import Interval, rate_interval
from fairlightning.functional.proportions import (
    Trials,
    balanced_accuracy,
    proportion_rates,
    proportion_trials,
)
from fairlightning.functional.rates import Rates
from fairlightning.groups import GroupSpec
from fairlightning.metrics.confusion import GroupConfusion
from fairlightning.metrics.intervals import criterion_trials, smallest_rate_interval
from fairlightning.metrics.records import SUPPORT, Key, Record
from fairlightning.metrics.stage import Intervals, StageMetrics, figure_records, unknown_record

CLASS_RATES = (
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
    "prevalence",
)
"""Rates of each class against the rest, in records `class_<name>_<rate>`."""

CLASS_CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity")
"""Criteria that have to hold for each class; their difference is that of the worst class."""


class MulticlassMetrics(StageMetrics):
    """Performance and fairness of a classifier over one stage; see `StageMetrics`.

    Args:
        groups: Sensitive attributes and their categories.
        stage: `"train"`, `"val"` or `"test"`.
        num_classes: Number of classes, more than two.
        classes: Their names; their numbers if there are none.
        ordered: Whether they are steps from low to high; see `multiclass_records`.

    Raises:
        ArgumentError: If the groups, the stage or the number of classes cannot be used, or there
            are names of another number of classes.
    """

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        stage: str,
        num_classes: int,
        classes: Sequence[str] = (),
        ordered: bool = False,
    ) -> None:
        self._classes = _class_names(classes, num_classes)
        self._ordered = ordered
        spec = GroupSpec.of(groups)
        confusion = GroupConfusion(spec, num_classes=num_classes)
        super().__init__(spec, stage, confusion)

    def _records(self, tables: ConfusionTable, intervals: Intervals | None) -> list[Record]:
        return multiclass_records(
            self.stage,
            self.groups,
            tables,
            classes=self._classes,
            ordered=self._ordered,
            intervals=intervals,
        )


def multiclass_records(
    stage: str,
    groups: GroupSpec,
    table: ConfusionTable,
    *,
    classes: Sequence[str] = (),
    ordered: bool = False,
    intervals: Intervals | None = None,
) -> list[Record]:
    """Turn counts into records, in the order of `fairness_records`.

    Args:
        stage: Stage that the records are of.
        groups: The attributes whose cells were counted.
        table: `(num_cells, C, C)` counts of all rows.
        classes: Names of the classes; their numbers if there are none.
        ordered: Whether they are steps from low to high: the differences are then those of the
            rates to reach a class, at the worst class, and not those of the class itself.
        intervals: Give rates and differences their intervals. Balanced accuracy has none.

    Returns:
        The records. A value is None where it is not estimable; if the score of any row is NaN, all
        are None but the counts, with a `FairnessWarning`.

    Raises:
        ArgumentError: If there are names of another number of classes.
    """
    classes = _class_names(classes, table.num_classes)
    undecided = int(table.undecided)
    how = None if undecided else intervals
    records = list(_members(Key(stage, "", None, None), [None], table.pooled(), classes, how))
    for partition in groups.partitions:
        records += _of_partition(stage, groups, partition, table, classes, ordered, how)
    if undecided:
        warnings.warn(
            f"{stage}: {undecided:,} rows have a NaN among their logits, so that no rate can be "
            "estimated. Mend: look for the step at which the loss became NaN.",
            FairnessWarning,
            stacklevel=2,
        )
        records = [r if r.metric == SUPPORT else r._replace(value=None) for r in records]
    return records


def _class_names(classes: Sequence[str], num_classes: int) -> Sequence[str]:
    if len(classes) not in (0, num_classes):
        raise ArgumentError.of(
            "classes",
            found=f"{len(classes)} names for {num_classes} classes",
            expected="a name for each class, or none",
            mend="name the classes in the order of their labels",
        )
    return tuple(classes) or [str(position) for position in range(num_classes)]


def _of_partition(
    stage: str,
    groups: GroupSpec,
    partition: Sequence[str],
    table: ConfusionTable,
    classes: Sequence[str],
    ordered: bool,
    how: Intervals | None,
) -> Iterator[Record]:
    attribute = " & ".join(partition)
    of_groups = table.partition(groups, partition)
    compared = of_groups.reached() if ordered else of_groups.one_vs_rest()
    limits = {} if how is None else _gap_intervals(of_groups, compared, how.level)
    for metric, gap in _gaps(of_groups, compared).items():
        yield from figure_records(Key(stage, metric, attribute, None), [None], Rates(*gap), limits)
    rows = table.counts.sum() - of_groups.counts.sum()
    yield unknown_record(stage, attribute, int(rows))
    key = Key(stage, "", attribute, None)
    yield from _members(key, groups.group_names(partition), of_groups, classes, how)


def _gaps(table: ConfusionTable, compared: ConfusionTable) -> dict[str, Estimate]:
    found = {}
    for criterion in CLASS_CRITERIA:
        value, support = criterion_difference(compared, criterion)
        # A class without rows says nothing of the others.
        worst = torch.where(support > 0, value, 0.0).amax(-1)
        least = torch.where(support > 0, support, torch.iinfo(torch.long).max).amin(-1)
        known = (support > 0).any(-1)
        found[f"{criterion}_difference"] = Estimate(worst, torch.where(known, least, 0))
    found["accuracy_parity_difference"] = criterion_difference(table, "accuracy_parity")
    worst_of = worst_group(proportion_rates(table, "accuracy"), higher_is_better=True)
    found["worst_group_accuracy"] = Estimate(worst_of.value, worst_of.support)
    return found


def _gap_intervals(
    table: ConfusionTable, compared: ConfusionTable, level: float
) -> dict[str, Interval]:
    found = {}
    for criterion in CLASS_CRITERIA:
        rates = [proportion_trials(compared, name) for name in CRITERIA[criterion].rates]
        trials = Trials(*(torch.stack(part, dim=-2) for part in zip(*rates, strict=True)))
        # Every rate of every class is one condition; a class of which a rate cannot be compared
        # has no part in the value, and so in nothing that is asked.
        asked = ((trials.trials > 0).sum(-1) > 1).all(-1)
        conditions = (part[asked].flatten(0, 1) for part in trials)
        found[f"{criterion}_difference"] = (
            largest_difference_interval(*conditions, level=level)
            if bool(asked.any())
            else Interval(torch.tensor(0.0), torch.tensor(1.0))
        )
    accuracy = criterion_trials(table, "accuracy_parity")
    found["accuracy_parity_difference"] = largest_difference_interval(*accuracy, level=level)
    worst = proportion_trials(table, "accuracy")
    found["worst_group_accuracy"] = smallest_rate_interval(worst, level=level)
    return found


def _members(
    key: Key,
    names: Sequence[str | None],
    table: ConfusionTable,
    classes: Sequence[str],
    how: Intervals | None,
) -> Iterator[Record]:
    def stated(metric: str, rates: Rates, trials: Trials | None) -> Iterator[Record]:
        limits = {}
        if how is not None and trials is not None:
            limits[metric] = rate_interval(*trials, level=how.level)
        return figure_records(key._replace(metric=metric), names, rates, limits)

    yield from stated(
        "accuracy", proportion_rates(table, "accuracy"), proportion_trials(table, "accuracy")
    )
    yield from stated("balanced_accuracy", balanced_accuracy(table), None)
    against_rest = table.one_vs_rest()
    for name in CLASS_RATES:
        rates = proportion_rates(against_rest, name)
        trials = proportion_trials(against_rest, name)
        for position, of in enumerate(classes):
            of_class = Rates(*(part[position] for part in rates))
            of_trials = Trials(*(part[position] for part in trials))
            yield from stated(f"class_{of}_{name}", of_class, of_trials)
