"""Group and intersectional metrics while a model trains, to every logger and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from fairlightning.callbacks.common import fairness_of, log_epoch, log_to_all
from fairlightning.callbacks.multipliers import constraint_figures
from fairlightning.callbacks.pictures import log_figures, log_layout, stage_figures
from fairlightning.callbacks.watch import Watch
from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.rows import check_threshold
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.metrics import (
    GROUP_METRICS,
    INTERVALS,
    STAGES,
    TASK_NAMES,
    Record,
    tag,
)
from fairlightning.objectives import Fairness, Observation, Step
from fairlightning.report import metrics_table

Extract = Callable[[L.LightningModule, Any, Any], Mapping[str, Tensor | None]]
"""From module, outputs of the step, and batch to `logits`, `target`, `sensitive` and `weight`."""

LOGGED = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
"""Metrics of single groups that are logged by default."""


class FairnessMonitor(L.Callback):
    """Count every batch that went through `fair_loss`; log figures at the end of the epoch.

    Logged, and so at hand for `ModelCheckpoint(monitor=...)` and `EarlyStopping`:
    `<stage>/accuracy`, `<stage>/f1`, `<stage>/auroc`, ...,
    `<stage>/fairness/<criterion>_difference/<attribute>`,
    `<stage>/groups/<metric>/<attribute>=<group>` and, from the sums of the whole epoch,
    `<stage>/loss/<name>`, with `<stage>/loss/total` = task + Σ λ·value, and of constraints
    `<stage>/constraints/<name>/value` and `violation`, thresholded. In training the losses
    `train/loss/<name>` are averaged over the batches since the last entry and written every
    `log_every_n_steps`. What is not estimable is left out of the log and shown as "–" in the table.
    TensorBoard, and loggers with `log_image`, get figures too.

    Args:
        stages: Stages whose group metrics are counted, of `train`, `val` and `test`. `val` and
            `test` need a call of `fair_loss` in `validation_step` and `test_step`. Several loaders
            of one stage count as one data set. A `training_step` that returns None skips its batch.
        threshold: Score in (0, 1) from which a row counts as selected.
        table: Print a table at the end of training (validation) and of testing.
        task: `binary`, `multiclass`, `ordinal` or `regression`; `auto`: that of the module, and
            with `extract` what the first batch shows, which tells no order.
        groups: Sensitive attributes and categories, for a module without a fairness mixin.
        extract: For a module that does not call `fair_loss`: a function of the module, what its
            step returned, and the batch, that gives a mapping with `logits` (of a regression the
            predictions), `target`, `sensitive` and, where rows are weighted, `weight`.
        every_n_epochs: Count training and validation in every n-th epoch, and in the last. Losses
            are logged in each.
        figures_every_n_epochs: Draw figures in every n-th epoch and at the end; 0: at the end
            alone; None: never. They take some 0.1 s each.
        group_metrics: Metrics of single groups that are logged, of `metrics.GROUP_METRICS`. The
            records hold all.

    Attributes:
        records: The newest records of each stage, with intervals once it is finished.

    Raises:
        ArgumentError: On an unknown stage, task or metric, or a number out of its range.
        SetupError: If a step of a watched stage did not call `fair_loss`, or several models are
            trained together.
        MissingFieldError: If what counting needs is missing.
    """

    def __init__(
        self,
        stages: Sequence[str] = ("val", "test"),
        *,
        threshold: float = 0.5,
        table: bool = True,
        task: str = "auto",
        groups: GroupSpec | Mapping[str, Iterable[object]] | None = None,
        extract: Extract | None = None,
        every_n_epochs: int = 1,
        figures_every_n_epochs: int | None = 0,
        group_metrics: Sequence[str] = LOGGED,
    ) -> None:
        self.stages = tuple(check_choice("stages", stage, STAGES) for stage in stages)
        self.threshold = check_threshold(threshold)
        self.table = table
        self.task = check_choice("task", task, ("auto", *TASK_NAMES))
        self.groups = None if groups is None else GroupSpec.of(groups)
        self.extract = extract
        _check_epochs("every_n_epochs", every_n_epochs, 1)
        _check_epochs("figures_every_n_epochs", figures_every_n_epochs or 0, 0)
        self.every_n_epochs = every_n_epochs
        self.figures_every_n_epochs = figures_every_n_epochs
        self.group_metrics = tuple(
            check_choice("group_metrics", metric, GROUP_METRICS) for metric in group_metrics
        )
        self.records: dict[str, list[Record]] = {}
        self._watches: dict[str, Watch] = {}
        self._train_losses: list[dict[str, Tensor]] = []
        self._global_step = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell TensorBoard which figures belong into one chart."""
        _check_single(pl_module)
        if trainer.is_global_zero and trainer.loggers:
            groups = self._groups(pl_module)
            log_layout(trainer, self.stages, groups, self.group_metrics)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._train_losses = []
        self._begin("train")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._begin("val")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._begin("test")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep the losses, and count the batch if training is watched and did not skip it."""
        seen = _taken(pl_module)
        if seen is not None and trainer.loggers:
            self._train_losses.append(dict(seen.losses.named()))
        # A step skips its batch by returning None; under manual optimization every step may.
        skipped = seen is None and not outputs and pl_module.automatic_optimization
        if "train" in self.stages and self._due(trainer) and not skipped:
            rows = self._rows("train", seen, pl_module, outputs, batch)
            self._watch("train", pl_module).count(rows)
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            self._log_train_losses(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Count the batch."""
        self._evaluated("val", trainer, pl_module, outputs, batch)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Count the batch."""
        self._evaluated("test", trainer, pl_module, outputs, batch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what training counted."""
        self._log_train_losses(trainer)
        self._finish("train", trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what validation counted."""
        self._finish("val", trainer, pl_module)

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the few batches of a model that has not begun to learn."""
        self.records.pop("val", None)
        self._watches.pop("val", None)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the test counted, and show it."""
        self._finish("test", trainer, pl_module)
        self._conclude("test", trainer, pl_module)
        self._show("test")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the last epoch its intervals and figures."""
        for stage in ("train", "val"):
            self._conclude(stage, trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last validation."""
        self._show("val")

    def _rows(
        self,
        stage: str,
        seen: Observation | None,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
    ) -> Step:
        if self.extract is not None:
            fields = dict(self.extract(pl_module, outputs, batch))
            return Step(row_weight=fields.pop("weight", None), **fields)  # type: ignore[arg-type]
        if seen is None:
            fairness_of(pl_module, self)
            step = {"train": "training", "val": "validation"}.get(stage, stage)
            raise SetupError.of(
                "FairnessMonitor",
                found=f"a {step}_step of {type(pl_module).__name__} without fair_loss",
                expected="one call of self.fair_loss(...) in each step of a watched stage",
                mend=f"call it in {step}_step, pass extract=..., or leave {stage!r} out of "
                "FairnessMonitor(stages=…)",
            )
        return seen.step

    def _groups(self, pl_module: L.LightningModule) -> GroupSpec:
        return self.groups or fairness_of(pl_module, self).groups

    def _watch(self, stage: str, pl_module: L.LightningModule) -> Watch:
        if stage not in self._watches:
            task: Task | str = self.task
            if task == "auto" and self.extract is None:
                task = fairness_of(pl_module, self).task
            groups = self._groups(pl_module)
            self._watches[stage] = Watch(stage, groups, task, self.threshold)
        return self._watches[stage]

    def _begin(self, stage: str) -> None:
        if stage in self._watches:
            self._watches[stage].begin()

    def _due(self, trainer: L.Trainer) -> bool:
        if self.every_n_epochs == 1:
            return True
        epoch = trainer.current_epoch + 1
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        return not fitting or epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs

    def _evaluated(
        self,
        stage: str,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
    ) -> None:
        if stage not in self.stages:
            return
        seen = _taken(pl_module)
        watch = self._watch(stage, pl_module)
        if seen is not None:
            watch.add_sums(seen.sums)
        if self._due(trainer):
            watch.count(self._rows(stage, seen, pl_module, outputs, batch))

    def _finish(self, stage: str, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        watch = self._watches.get(stage)
        if stage not in self.stages or watch is None:
            return
        values: dict[str, float] = {}
        if self._due(trainer):
            self.records[stage] = watch.finish()
            values = self._logged(self.records[stage])
        if sums := watch.take_sums():
            losses = fairness_of(pl_module, self).finish(sums)
            values |= {f"{stage}/loss/{name}": value.item() for name, value in losses.named()}
            values |= constraint_figures(stage, losses)
        log_epoch(trainer, pl_module, values)
        every = self.figures_every_n_epochs
        if every and not trainer.sanity_checking and (trainer.current_epoch + 1) % every == 0:
            self._conclude(stage, trainer, pl_module)

    def _logged(self, records: Iterable[Record]) -> dict[str, float]:
        return {
            tag(r): r.value
            for r in records
            if r.value is not None and (r.group is None or r.metric in self.group_metrics)
        }

    @rank_zero_only
    def _conclude(self, stage: str, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        watch = self._watches.get(stage)
        if watch is None or watch.concluded:
            return
        self.records[stage] = watch.conclude(INTERVALS)
        if self.figures_every_n_epochs is not None:
            groups, records = self._groups(pl_module), self.records[stage]
            figures = stage_figures(stage, groups, records, watch.tables, self.threshold)
            log_figures(trainer, figures)

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


def _taken(pl_module: L.LightningModule) -> Observation | None:
    """Take what `fair_loss` left behind; None if the step did not call it."""
    fairness = getattr(pl_module, "fairness", None)
    return fairness.take() if isinstance(fairness, Fairness) else None


def _check_single(pl_module: L.LightningModule) -> None:
    fairness = getattr(pl_module, "fairness", None)
    if isinstance(fairness, Fairness) and fairness.members is not None:
        raise SetupError.of(
            "FairnessMonitor",
            found=f"{fairness.members} models trained together",
            expected="one model",
            mend="use fairlightning.front.FrontMonitor",
        )


def _check_epochs(argument: str, value: int, least: int) -> None:
    if value < least:
        raise ArgumentError.of(
            argument, found=value, expected=f"{least} or more", mend=f"pass {argument}={least}"
        )
