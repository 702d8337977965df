"""What the figures of a stage share, whatever the task: rows held back, tables, records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.intervals import Interval, check_level
from fairlightning.functional.rates import Rates
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric
from fairlightning.metrics.records import STAGES, SUPPORT, Key, Record

CHUNK = 2**17
"""Rows that are held back to be counted at once: a table takes longer to begin than to fill."""


_Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None]


class _Held:
    """Batches that wait to be counted; no module, since to set an attribute of that takes 3 µs."""

    def __init__(self) -> None:
        self.batches: list[_Batch] = []
        self.changes = 0  # up to then, of all batches
        self.rows = 0

    def take(self) -> tuple[list[_Batch], int]:
        found = self.batches, self.changes
        self.batches, self.changes, self.rows = [], 0, 0
        return found


class Intervals(NamedTuple):
    """How intervals are to be computed.

    Attributes:
        level: Confidence, in (0, 1).
        seed: Seed of those that are bootstrapped.
    """

    level: float = 0.95
    seed: int = 0


INTERVALS = Intervals()
"""95 % intervals."""


class StageMetrics(nn.Module, ABC):
    """Performance and fairness over one stage.

    Feed it every batch, compute at the end of the epoch, then reset. Its state does not grow with
    the rows: up to `CHUNK` of them are held back and then counted at once. Under distributed
    training `compute` adds up the counts of all processes, so that every process must call it.

    Args:
        groups: Sensitive attributes and their categories.
        stage: `"train"`, `"val"` or `"test"`.
        metric: What counts the rows.

    Raises:
        ArgumentError: If there is no such stage.
    """

    def __init__(self, groups: GroupSpec, stage: str, metric: ExactMetric) -> None:
        super().__init__()
        self.groups = groups
        self.stage = check_choice("stage", stage, STAGES)
        self._metric = metric
        self._held = _Held()

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        sensitive: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        """Take in the rows of a batch.

        What cannot be used raises when the rows are counted, at the latest in `compute`. Until then
        the tensors themselves are held, which must not be modified in place. Of predictions that
        raises an `ArgumentError` too, unless they are inference tensors. The others are often views
        of a table, of which other rows may well be modified.

        Args:
            prediction: Logits `(N,)`, `(N, 1)` or `(N, C)`; predictions `(N,)` of a regression.
            target: `(N,)` labels or targets.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.
        """
        held = self._held
        if held.batches and (weight is None) != (held.batches[0][-1] is None):
            self._count()
        if prediction.requires_grad:
            prediction = prediction.detach()
        held.batches.append((prediction, target, sensitive, weight))
        held.changes += _changes(prediction)
        held.rows += prediction.shape[0]
        if held.rows >= CHUNK:
            self._count()

    def compute(self) -> Any:
        """Return what was counted of all rows so far, over all processes."""
        self._count()
        return self._metric.compute()

    def records(self, tables: Any = None, *, intervals: Intervals | None = None) -> list[Record]:
        """Return the records of what was counted.

        Args:
            tables: What `compute` gave; computed if not given.
            intervals: Give each figure its interval.
        """
        if intervals is not None:
            check_level(intervals.level)
        return self._records(self.compute() if tables is None else tables, intervals)

    def reset(self) -> None:
        """Forget all rows."""
        self._held.take()
        self._metric.reset()

    @abstractmethod
    def _records(self, tables: Any, intervals: Intervals | None) -> list[Record]: ...

    def _count(self) -> None:
        batches, changes = self._held.take()
        if sum(_changes(batch[0]) for batch in batches) != changes:
            raise ArgumentError.of(
                "prediction",
                found="a tensor that was modified in place after update",
                expected="rows that stay as they are until they are counted",
                mend="pass a copy, prediction.clone(), or modify one",
            )
        if batches:
            prediction, target, sensitive, weight = zip(*batches, strict=True)
            mass = None if weight[0] is None else torch.cat(weight)
            self._metric.update(
                torch.cat(prediction), torch.cat(target), torch.cat(sensitive), mass
            )


def _changes(tensor: Tensor) -> int:
    """How often it was modified in place; inference tensors do not count that."""
    return 0 if tensor.is_inference() else tensor._version


def unknown_record(stage: str, attribute: str, rows: int) -> Record:
    """How many rows belong to no group of an attribute."""
    group = f"{attribute}=unknown"
    return Record(stage, SUPPORT, attribute, group, float(rows), None, None, rows)


def figure_records(
    key: Key, names: Sequence[str | None], rates: Rates, intervals: Mapping[str, Interval]
) -> Iterator[Record]:
    """State a figure of some groups.

    Args:
        key: What it is about, but for the group.
        names: The `G` groups; `[None]` for a figure over all of them.
        rates: `(G,)` values and supports.
        intervals: Intervals `(G,)` by metric; those that are missing leave the limits None.
    """
    limits: Iterable[tuple[float | None, float | None]] = repeat((None, None))
    if key.metric in intervals:
        limits = zip(*(limit.reshape(-1).tolist() for limit in intervals[key.metric]), strict=True)
    values = zip(rates.rate.reshape(-1).tolist(), rates.support.reshape(-1).tolist(), strict=True)
    for name, (value, support), (low, high) in zip(names, values, limits, strict=False):
        key = key._replace(group=name)
        if support and isfinite(value):
            yield Record(*key, value, _known(low), _known(high), support)
        else:
            yield Record(*key, None, None, None, support)


def _known(limit: float | None) -> float | None:
    return limit if limit is not None and isfinite(limit) else None
