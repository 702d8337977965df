"""Figures of every member of a front, in validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L

from fairlightning.callbacks.common import fairness_of, log_epoch, member_figures
from fairlightning.callbacks.watch import Watch
from fairlightning.exceptions import SetupError, check_choice
from fairlightning.front.module import FrontModule
from fairlightning.functional.rows import check_threshold
from fairlightning.metrics import Record, tag

EVALUATED = ("val", "test")


class FrontMonitor(L.Callback):
    """Count the rows of every member; log its losses, accuracy and gaps at the end of the epoch.

    What `FairnessMonitor` logs of one model, `FrontMonitor` logs of each member, without single
    groups: `<stage>/accuracy/member=<k>`, ...,
    `<stage>/fairness/<criterion>_difference/<attribute>/member=<k>` and, from the sums of the whole
    epoch, `<stage>/loss/<name>/member=<k>`; and `<stage>/loss/total`, the mean over members.

    Args:
        stages: Stages that are counted, of `val` and `test`.
        threshold: Score in (0, 1) from which a row counts as selected.

    Attributes:
        records: The newest records of each stage, a list for each member.

    Raises:
        ArgumentError: On an unknown stage or a threshold out of range.
        SetupError: If the module is no `FrontModule`.
    """

    def __init__(self, stages: Sequence[str] = EVALUATED, *, threshold: float = 0.5) -> None:
        self.stages = tuple(check_choice("stages", stage, EVALUATED) for stage in stages)
        self.threshold = check_threshold(threshold)
        self.records: dict[str, list[list[Record]]] = {}
        self._watches: dict[str, list[Watch]] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the module is a front."""
        if not isinstance(pl_module, FrontModule):
            raise SetupError.of(
                "FrontMonitor",
                found=type(pl_module).__name__,
                expected="a FrontModule",
                mend="use FairnessMonitor for a single model",
            )

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._begin("val")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._begin("test")

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any
    ) -> None:
        """Count the batch."""
        self._count("val", pl_module)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count the batch."""
        self._count("test", pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what validation counted."""
        self._finish("val", trainer, pl_module)

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the few batches of models that have not begun to learn."""
        self.records.pop("val", None)
        self._watches.pop("val", None)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the test counted."""
        self._finish("test", trainer, pl_module)

    def _begin(self, stage: str) -> None:
        for watch in self._watches.get(stage, ()):
            watch.begin()

    def _count(self, stage: str, pl_module: L.LightningModule) -> None:
        if stage not in self.stages:
            return
        fairness = fairness_of(pl_module, self)
        assert fairness.last is not None and fairness.last.step.logits is not None
        assert fairness.members is not None
        step = fairness.last.step
        if stage not in self._watches:
            self._watches[stage] = [
                Watch(stage, fairness.groups, "binary", self.threshold)
                for _ in range(fairness.members)
            ]
        watches = self._watches[stage]
        watches[0].add_sums(fairness.last.sums)  # those of all members, along their leading axis
        for watch, logits in zip(watches, fairness.last.step.logits, strict=True):
            watch.count(step._replace(logits=logits))

    def _finish(self, stage: str, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        watches = self._watches.get(stage)
        if watches is None:
            return
        fairness = fairness_of(pl_module, self)
        self.records[stage] = [watch.finish() for watch in watches]
        logged = {
            f"{tag(record)}/member={k}": record.value
            for k, records in enumerate(self.records[stage])
            for record in records
            if record.value is not None and record.group is None
        }
        losses = fairness.finish(watches[0].take_sums())
        named = {f"{stage}/loss/{name}": value.tolist() for name, value in losses.named()}
        logged |= member_figures(named, fairness.members)
        logged[f"{stage}/loss/total"] = losses.total.mean().item()
        log_epoch(trainer, pl_module, logged)
