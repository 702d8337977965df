"""Does a gap keep to a tolerance? Met, not met, or not enough evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import CRITERIA, Estimate, criterion_difference
from fairlightning.functional.extremes import (
    largest_difference_interval,
    largest_difference_sum_interval,
)
from fairlightning.functional.intervals import Interval, Verdict, verdict
from fairlightning.functional.proportions import PROPORTIONS
from fairlightning.groups import GroupSpec
from fairlightning.metrics.intervals import criterion_trials
from fairlightning.metrics.records import SMALL_SUPPORT, readable

DECIDABLE = tuple(
    name for name, of in CRITERIA.items() if all(rate in PROPORTIONS for rate in of.rates)
)
"""Criteria of simple rates, for whose gaps there is a test."""


class GapVerdict(NamedTuple):
    """What the rows say about "the gap is at most the tolerance".

    Attributes:
        verdict: `"met"`, `"not met"` or `"not enough evidence"`.
        criterion: The criterion.
        partition: Attributes whose groups were compared.
        tolerance: Largest difference that is tolerated.
        gap: The difference between the groups that took part, and its support.
        interval: Its limits, simultaneous over these groups.
        left_out: Groups that have rows but too few of them, by name, with the rows of the rate that
            has the fewest. They take no part; whatever the verdict, it does not speak of them.
        absent: Groups without any row, by name.
    """

    verdict: Verdict
    criterion: str
    partition: tuple[str, ...]
    tolerance: float
    gap: Estimate
    interval: Interval
    left_out: dict[str, int]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        """The verdict in words, with all that it does not speak of."""
        name = readable(f"{self.criterion}_difference")
        low, high = (limit.item() for limit in self.interval)
        value = f"{self.gap.value.item():.3f}" if self.gap.support else "not estimable"
        text = f"{self.verdict}: {name} of {' & '.join(self.partition)} at most {self.tolerance:g}"
        text += f" (found {value}, interval {low:.3f} to {high:.3f})"
        if self.left_out:
            groups = ", ".join(f"{name} ({rows})" for name, rows in self.left_out.items())
            text += f". Says nothing of groups with too few rows: {groups}"
        if self.absent:
            text += f". Without any row: {', '.join(self.absent)}"
        return text


def gap_verdict(
    table: ConfusionTable,
    groups: GroupSpec,
    partition: Sequence[str],
    criterion: str,
    tolerance: float,
    *,
    min_support: int = SMALL_SUPPORT,
    level: float = 0.95,
) -> GapVerdict:
    """Test "the largest difference between two groups is at most the tolerance".

    Met only if the whole interval of the difference keeps to the tolerance, not met only if all of
    it lies beyond; at a true gap equal to the tolerance "met" is said in less than (1 − level) of
    all cases (measured: `benchmarks/coverage.py`).

    Args:
        table: `(num_cells, 2, 2)` counts by cell, as `GroupConfusion` gives them.
        groups: The attributes whose cells were counted.
        partition: Names of the attributes whose groups or intersections are meant.
        criterion: One of `DECIDABLE`.
        tolerance: Largest difference that is tolerated, at least 0.
        min_support: Rows that each rate of a group must rest on for the group to take part.
        level: Confidence, in (0, 1).

    Raises:
        ArgumentError: If there is no such attribute or criterion, a number cannot be used, or rows
            have NaN for a score.

    >>> spec = GroupSpec({"sex": ["Female", "Male"]})
    >>> rows = torch.tensor([[[700, 100], [100, 100]], [[690, 110], [100, 100]], [[0, 0], [0, 0]]])
    >>> table = ConfusionTable.of_counts(rows)
    >>> gap_verdict(table, spec, ["sex"], "demographic_parity", 0.1).verdict
    'met'
    """
    check_choice("criterion", criterion, DECIDABLE)
    if not tolerance >= 0:
        raise ArgumentError.of(
            "tolerance", found=tolerance, expected="a difference of 0 or more", mend="pass 0.1"
        )
    if min_support < 1:
        raise ArgumentError.of(
            "min_support", found=min_support, expected="1 or more", mend="pass 30"
        )
    if undecided := int(table.undecided):
        raise ArgumentError.of(
            "table",
            found=f"{undecided:,} rows whose score is NaN",
            expected="a decision for every row",
            mend="look for the step at which the loss became NaN, or lower the learning rate",
        )
    names = groups.group_names(partition)
    of_groups = table.partition(groups, partition)
    rows = of_groups.counts.sum((-2, -1))
    trials = criterion_trials(of_groups, criterion)
    least = trials.trials.amin(-2)
    counted = (rows > 0).cpu()
    enough = least.cpu() >= min_support
    kept = ConfusionTable(
        *(torch.where(enough.to(t.device)[:, None, None], t, 0) for t in of_groups[:3])
    )
    combine = largest_difference_interval
    if CRITERIA[criterion].combine == "sum":
        combine = largest_difference_sum_interval
    interval = combine(*criterion_trials(kept, criterion), level=level)
    left_out = {
        name: int(support)
        for name, support, present, fine in zip(names, least, counted, enough, strict=True)
        if present and not fine
    }
    return GapVerdict(
        verdict(interval, tolerance),
        criterion,
        tuple(partition),
        tolerance,
        criterion_difference(kept, criterion),
        interval,
        left_out,
        tuple(name for name, present in zip(names, counted, strict=True) if not present),
    )
