"""All figures of a binary classifier: from logits batch by batch, or from tables counted."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fairlightning.exceptions import FairnessWarning
from fairlightning.functional.intervals import Interval
from fairlightning.functional.rates import Rates
from fairlightning.groups import GroupSpec
from fairlightning.metrics.counts import GroupCounts
from fairlightning.metrics.intervals import gap_intervals, group_intervals
from fairlightning.metrics.records import SUPPORT, Key, Record
from fairlightning.metrics.stage import Intervals, StageMetrics, figure_records, unknown_record
from fairlightning.metrics.tables import GROUP_METRICS, OVERALL_METRICS, GroupTables


class FairnessMetrics(StageMetrics):
    """Performance and fairness of a binary classifier over one stage; see `StageMetrics`.

    Args:
        groups: Sensitive attributes and their categories.
        stage: `"train"`, `"val"` or `"test"`.
        threshold: Score, strictly between 0 and 1, from which a row is selected.

    Raises:
        ArgumentError: If the groups, the stage or the threshold cannot be used.
    """

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        stage: str,
        threshold: float = 0.5,
    ) -> None:
        spec = GroupSpec.of(groups)
        super().__init__(spec, stage, GroupCounts(spec, threshold))

    def _records(self, tables: GroupTables, intervals: Intervals | None) -> list[Record]:
        return fairness_records(self.stage, self.groups, tables, intervals=intervals)


def fairness_records(
    stage: str,
    groups: GroupSpec,
    tables: GroupTables,
    *,
    intervals: Intervals | None = None,
) -> list[Record]:
    """Turn counts into records, always the same keys in the same order.

    First the figures over all rows (`OVERALL_METRICS`). Then for every partition of the groups its
    gaps (`GAP_METRICS`); the number of its rows of unknown group, as metric `support` of the group
    `"<attribute>=unknown"`; and the figures of each of its groups (`GROUP_METRICS`).

    Args:
        stage: Stage that the records are of.
        groups: The attributes whose cells were counted.
        tables: Counts of all rows, by cell.
        intervals: Give each figure its interval, which takes some 40 ms for each group.

    Returns:
        The records. A value is None where it is not estimable, a limit where it is not known. If
        the score of any row is NaN, all are None but the counts, with a `FairnessWarning`: such a
        row is neither selected nor not.
    """
    undecided = int(tables.confusion.undecided)
    how = None if undecided else intervals
    records = list(_overall(stage, tables, how))
    for partition in groups.partitions:
        records += _of_partition(stage, groups, partition, tables, how)
    if undecided:
        warnings.warn(
            f"{stage}: {undecided:,} rows have the score NaN, so that no rate can be estimated. "
            "Mend: look for the step at which the loss became NaN, or lower the learning rate.",
            FairnessWarning,
            stacklevel=2,
        )
        records = [r if r.metric == SUPPORT else r._replace(value=None) for r in records]
    return records


def _overall(stage: str, tables: GroupTables, how: Intervals | None) -> Iterator[Record]:
    # One group of all rows, whatever is known of their groups.
    pooled = tables.pooled()
    rates = pooled.rates()
    intervals = {} if how is None else group_intervals(pooled, level=how.level, seed=how.seed)
    for metric in OVERALL_METRICS:
        yield from figure_records(Key(stage, metric, None, None), [None], rates[metric], intervals)


def _of_partition(
    stage: str,
    groups: GroupSpec,
    partition: Sequence[str],
    tables: GroupTables,
    how: Intervals | None,
) -> Iterator[Record]:
    attribute = " & ".join(partition)
    of_groups = tables.partition(groups, partition)
    rates = of_groups.rates()
    intervals: dict[str, Interval] = {}
    of_gaps: dict[str, Interval] = {}
    if how is not None:
        intervals = group_intervals(of_groups, level=how.level, seed=how.seed)
        of_gaps = gap_intervals(of_groups, rates, intervals, level=how.level)
    for metric, gap in of_groups.gaps(rates).items():
        key = Key(stage, metric, attribute, None)
        yield from figure_records(key, [None], Rates(*gap), of_gaps)
    rows = tables.confusion.counts.sum() - of_groups.confusion.counts.sum()
    yield unknown_record(stage, attribute, int(rows))
    names = groups.group_names(partition)
    for metric in GROUP_METRICS:
        key = Key(stage, metric, attribute, None)
        yield from figure_records(key, names, rates[metric], intervals)
