"""Group and intersectional metrics while a model trains, to every logger and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from fairlightning.callbacks.common import fairness_of, log_to_all
from fairlightning.exceptions import MissingFieldError, SetupError, check_choice
from fairlightning.metrics import STAGES, FairnessMetrics, Record, tag
from fairlightning.objectives import Fairness, Observation
from fairlightning.report import metrics_table


class FairnessMonitor(L.Callback):
    """Count every batch that went through `fair_loss`; log figures at the end of the epoch.

    Logged, and so at hand for `ModelCheckpoint(monitor=...)` and `EarlyStopping`:
    `<stage>/accuracy`, `<stage>/f1`, `<stage>/auroc`,
    `<stage>/fairness/<criterion>_difference/<attribute>`,
    `<stage>/groups/<metric>/<attribute>=<group>` and, from the sums of the whole epoch,
    `<stage>/loss/<name>`, with `<stage>/loss/total` = task + Σ λ·value. In training the losses
    `train/loss/<name>` are averaged over the batches since the last entry and written every
    `log_every_n_steps`. What is not estimable is left out of the log and shown as "–" in the table.

    Args:
        stages: Stages whose group metrics are counted, of `train`, `val` and `test`. `val` and
            `test` need a call of `fair_loss` in `validation_step` and `test_step`. Several loaders
            of one stage count as one data set.
        threshold: Score in (0, 1) from which a row counts as selected.
        table: Print a table at the end of training (validation) and of testing.

    Attributes:
        records: The newest records of each stage.

    Raises:
        ArgumentError: On an unknown stage.
        SetupError: If a step of a watched stage did not call `fair_loss`.
        MissingFieldError: If `fair_loss` was called without what counting needs.
    """

    def __init__(
        self,
        stages: Sequence[str] = ("val", "test"),
        *,
        threshold: float = 0.5,
        table: bool = True,
    ) -> None:
        self.stages = tuple(check_choice("stages", stage, STAGES) for stage in stages)
        self.threshold = threshold
        self.table = table
        self.records: dict[str, list[Record]] = {}
        self._metrics: dict[str, FairnessMetrics] = {}
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._train_losses: list[dict[str, Tensor]] = []
        self._global_step = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any
    ) -> None:
        """Keep the losses, and count the batch if training is watched."""
        seen = self._take(pl_module, "train")
        if trainer.loggers:
            self._train_losses.append(dict(seen.losses.named()))
        if "train" in self.stages:
            self._count("train", pl_module, seen)
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            self._log_train_losses(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any
    ) -> None:
        """Count the batch."""
        self._evaluated("val", pl_module)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any
    ) -> None:
        """Count the batch."""
        self._evaluated("test", pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what training counted."""
        self._log_train_losses(trainer)
        self._finish("train", trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what validation counted."""
        self._finish("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the test counted, and show it."""
        self._finish("test", trainer, pl_module)
        self._show("test")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last validation."""
        self._show("val")

    def _take(self, pl_module: L.LightningModule, stage: str) -> Observation:
        fairness = fairness_of(pl_module, self)
        seen, fairness.last = fairness.last, None
        if seen is None:
            step = {"train": "training", "val": "validation"}.get(stage, stage)
            raise SetupError.of(
                "FairnessMonitor",
                found=f"a {step}_step of {type(pl_module).__name__} without fair_loss",
                expected="one call of self.fair_loss(...) in each step of a watched stage",
                mend=f"call it in {step}_step, or leave {stage!r} out of FairnessMonitor(stages=…)",
            )
        return seen

    def _count(self, stage: str, pl_module: L.LightningModule, seen: Observation) -> None:
        step = seen.step
        if step.logits is None or step.target is None or step.sensitive is None:
            raise MissingFieldError.of(
                "fair_loss",
                found=f"no logits, target or sensitive in stage {stage!r}",
                expected="all three, since groups are counted from them",
                mend="pass logits=..., target=..., sensitive=...",
            )
        if stage not in self._metrics:
            groups = fairness_of(pl_module, self).groups
            metrics = FairnessMetrics(groups, stage, self.threshold)
            self._metrics[stage] = metrics.to(step.logits.device)
        self._metrics[stage].update(step.logits, step.target, step.sensitive, step.row_weight)

    def _evaluated(self, stage: str, pl_module: L.LightningModule) -> None:
        if stage not in self.stages:
            return
        seen = self._take(pl_module, stage)
        self._count(stage, pl_module, seen)
        total = self._sums.setdefault(stage, {})
        for name, part in seen.sums.items():
            # float64, since an epoch adds up many batches.
            total[name] = total[name] + part.double() if name in total else part.double()

    def _finish(self, stage: str, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if stage not in self.stages or stage not in self._metrics:
            return
        metrics = self._metrics[stage]
        records = metrics.compute()
        metrics.reset()
        losses = self._epoch_losses(stage, fairness_of(pl_module, self))
        self.records[stage] = records
        values = {tag(r): r.value for r in records if r.value is not None}
        # The figures are of the whole epoch already, so that one "row" of each is right.
        pl_module.log_dict({**values, **losses}, sync_dist=trainer.world_size > 1, batch_size=1)

    def _epoch_losses(self, stage: str, fairness: Fairness) -> dict[str, float]:
        if stage not in self._sums:
            return {}
        losses = fairness.finish(self._sums.pop(stage))
        return {f"{stage}/loss/{name}": value.item() for name, value in losses.named()}

    def _log_train_losses(self, trainer: L.Trainer) -> None:
        kept, self._train_losses = self._train_losses, []
        if kept:
            means = {
                name: torch.stack([losses[name] for losses in kept]).mean() for name in kept[0]
            }
            log_to_all(trainer, {f"train/loss/{name}": m.item() for name, m in means.items()})

    @rank_zero_only
    def _show(self, stage: str) -> None:
        if self.table and stage in self.records:
            Console().print(metrics_table(self.records[stage], stage))
