"""What the monitor keeps of one stage: rows counted, and sums of the losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fairlightning.exceptions import MissingFieldError
from fairlightning.functional.tasks import Task, task_of
from fairlightning.groups import GroupSpec
from fairlightning.metrics import Intervals, Record, StageMetrics, stage_metrics
from fairlightning.objectives import Step, Sums

HELD = 128
"""Batches whose sums are held back to be added up at once."""


class Watch:
    """Rows and losses of one stage, epoch by epoch.

    Args:
        stage: The stage.
        groups: The sensitive attributes.
        task: The task or the name of its kind, or `auto` to tell by the first batch.
        threshold: Score from which a row counts as selected.

    Attributes:
        tables: What was counted in the last finished epoch.
        concluded: Whether its records have got their intervals.
    """

    def __init__(self, stage: str, groups: GroupSpec, task: Task | str, threshold: float) -> None:
        self.stage = stage
        self.groups = groups
        self.task = task
        self.threshold = threshold
        self.tables: Any = None
        self.concluded = True
        self._metrics: StageMetrics | None = None
        self._sums: dict[str, tuple[Tensor, ...]] = {}
        self._held: list[Sums] = []

    def begin(self) -> None:
        """Begin an epoch empty, also after one that was interrupted."""
        if self._metrics is not None:
            self._metrics.reset()
        self._sums, self._held = {}, []

    def count(self, step: Step) -> None:
        """Take in the rows of a batch.

        Raises:
            MissingFieldError: If logits, target or sensitive is missing.
        """
        if step.logits is None or step.target is None or step.sensitive is None:
            raise MissingFieldError.of(
                "fair_loss",
                found=f"no logits, target or sensitive in stage {self.stage!r}",
                expected="all three, since groups are counted from them",
                mend="pass logits=..., target=..., sensitive=...",
            )
        if self._metrics is None:
            task = self.task
            if task == "auto":
                task = task_of(step.logits, step.target)
            classes = step.logits.shape[-1] if step.logits.ndim > 1 else 1
            metrics = stage_metrics(
                task, self.groups, self.stage, threshold=self.threshold, num_outputs=classes
            )
            self._metrics = metrics.to(step.logits.device)
        self._metrics.update(step.logits, step.target, step.sensitive, step.row_weight)

    def finish(self) -> list[Record]:
        """Return the records of the epoch, without intervals, and begin the next."""
        assert self._metrics is not None
        self.tables = self._metrics.compute()
        self._metrics.reset()
        self.concluded = False
        return self._metrics.records(self.tables)

    def conclude(self, intervals: Intervals) -> list[Record]:
        """Return the records of the last finished epoch with intervals."""
        assert self._metrics is not None
        self.concluded = True
        return self._metrics.records(self.tables, intervals=intervals)

    def add_sums(self, sums: Sums) -> None:
        """Add a batch to the sums of the epoch."""
        if not sums:
            return
        self._held.append(sums)
        if len(self._held) >= HELD:
            self._add_held()

    def take_sums(self) -> Sums:
        """Return the sums of the epoch, empty without any, and begin the next."""
        self._add_held()
        sums, self._sums = self._sums, {}
        return sums

    def _add_held(self) -> None:
        held, self._held = self._held, []
        for name in held[0] if held else ():
            # float64, since an epoch adds up many batches.
            columns = zip(*(sums[name] for sums in held), strict=True)
            total = tuple(torch.stack(column).sum(0, dtype=torch.float64) for column in columns)
            if name in self._sums:
                total = tuple(a + b for a, b in zip(self._sums[name], total, strict=True))
            self._sums[name] = total
