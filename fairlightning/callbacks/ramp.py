"""λ during training: evaluates a schedule, sets the weights, logs them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from fairlightning.callbacks.common import fairness_of, log_to_all, member_figures
from fairlightning.exceptions import ArgumentError, FairnessWarning, check_choice
from fairlightning.functional.schedules import Schedule, linear


class LambdaRamp(L.Callback):
    """Ramp λ = strength × weight × schedule(progress), by default from 0.1 to 1.0.

    Progress is counted in optimizer steps (gradient accumulation counts as one) against the number
    that the Trainer expects, and is part of the checkpoint, so a resumed run goes on where it was.
    A training that begins at step 0 begins the ramp anew. One that ends by itself before the ramp
    has ended gives a `FairnessWarning`, unless `total_steps` says that others follow.
    Logs `fairness/lambda` (the schedule's value) and `train/lambda/<objective>`; with several
    models trained together `train/lambda/<objective>/member=<k>`.

    Args:
        schedule: Function from progress in [0, 1] to the factor of λ.
        until: Share of all optimizer steps, in (0, 1], at which the ramp ends.
        every: Change λ every `step` or only at the start of every `epoch`; the ramp then ends with
            the start of the last epoch at the latest.
        objectives: Names of the objectives that it ramps; all but constraints, whose multipliers
            weigh them, if None. Use one callback for each schedule, with names that do not overlap.
        total_steps: Optimizer steps of the whole training, where the Trainer cannot know them.

    Raises:
        ArgumentError: On values out of range, unknown objectives, a training without known end, or
            one of a single epoch for a λ that changes by epoch.
    """

    def __init__(
        self,
        schedule: Schedule = linear,
        *,
        until: float = 0.6,
        every: str = "step",
        objectives: Sequence[str] | None = None,
        total_steps: int | None = None,
    ) -> None:
        if not 0 < until <= 1:
            raise ArgumentError.of(
                "until",
                found=until,
                expected="a share of training in (0, 1]",
                mend="pass until=0.6, or the schedule `constant` for no ramp",
            )
        self.schedule = schedule
        self.until = until
        self.every = check_choice("every", every, ("step", "epoch"))
        self.objectives = None if objectives is None else tuple(objectives)
        self.total_steps = total_steps
        self.steps = 0
        self._since = 0
        self.factor = schedule(0.0)
        self._end = 0.0
        self._global_step = 0
        self._names: tuple[str, ...] = ()
        self._idle = False

    @property
    def state_key(self) -> str:
        """One key per set of objectives, since several ramps may run side by side."""
        return f"LambdaRamp[{'*' if self.objectives is None else ','.join(self.objectives)}]"

    @property
    def finished(self) -> bool:
        """Whether λ has reached its final value; at once where there are constraints alone."""
        return self._idle or 0 < self._end <= self._since

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the names before training starts."""
        fairness = fairness_of(pl_module, self)
        for name in self.objectives or ():
            check_choice("objectives", name, fairness.objectives)
            if name in fairness.constraints:
                raise ArgumentError.of(
                    "objectives",
                    found=f"the constraint {name!r}",
                    expected="objectives that a schedule weighs; multipliers weigh a constraint",
                    mend=f"leave {name!r} out",
                )
        names = self.objectives or tuple(fairness.objectives)
        self._names = tuple(name for name in names if name not in fairness.constraints)
        self._idle = bool(fairness.constraints) and not self._names

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the number of steps, and set the λ of the step that comes next."""
        expected = self.total_steps or trainer.estimated_stepping_batches
        # Lightning's -1 is a loader without length and no max_steps.
        if not 0 <= expected < inf:
            raise ArgumentError.of(
                "total_steps",
                found="a training without known end",
                expected="a known number of optimizer steps",
                mend="set max_steps of the Trainer, or pass LambdaRamp(total_steps=...)",
            )
        self._end = self.until * max(int(expected), 1)
        # By hand an epoch may have any number of steps.
        if self.every == "epoch" and pl_module.automatic_optimization:
            self._end = min(self._end, self._last_epoch(trainer, int(expected)))
        self._global_step = trainer.global_step
        if not self._global_step:
            self.steps = self._since = 0
        self._apply(pl_module, anew=True)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Change λ where it changes by epoch.

        Not in `on_train_epoch_start`, which is left out when a run resumes at an epoch's end.
        """
        if batch_idx == 0:
            self._since = self.steps
            self._apply(pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count optimizer steps, not batches; log the λ of this step and set that of the next."""
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        self.steps += 1
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._names and every and self.steps % every == 0:
            fairness = fairness_of(pl_module, self)
            weights = {name: fairness.weights(name) for name in self._names}
            figures = member_figures(weights, fairness.members)
            tags = {f"train/lambda/{name}": weight for name, weight in figures.items()}
            log_to_all(trainer, {"fairness/lambda": self.factor, **tags})
        if self.every == "step":
            self._since = self.steps
            self._apply(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if the training has ended by itself, and the ramp has not."""
        if self.finished or self.total_steps or trainer.should_stop or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        mend = f"total_steps={self.steps}" + (", every='step'" if self.every == "epoch" else "")
        rank_zero_warn(
            f"LambdaRamp: the training has ended at step {self._since} of the {self._end:g} of the "
            f"ramp, with λ at {self.factor:.3g} of its strength; what waits for the ramp has slept "
            f"throughout. Mend: pass LambdaRamp({mend}).",
            category=FairnessWarning,
        )

    def state_dict(self) -> dict[str, Any]:
        """Optimizer steps done, and at which of them λ was last set."""
        return {"steps": self.steps, "since": self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from where the checkpoint was written."""
        self.steps, self._since = int(state_dict["steps"]), int(state_dict["since"])

    @staticmethod
    def _last_epoch(trainer: L.Trainer, expected: int) -> float:
        """Optimizer steps before the last epoch, at whose start λ changes for the last time."""
        batches = trainer.num_training_batches
        if batches == inf or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return inf
        steps = ceil(batches / trainer.accumulate_grad_batches)
        if expected <= steps:
            raise ArgumentError.of(
                "every",
                found="'epoch' in a training of a single epoch",
                expected="at least two, since λ changes between them",
                mend="pass every='step', or train for more epochs",
            )
        return (expected - 1) // steps * steps

    def _apply(self, pl_module: L.LightningModule, *, anew: bool = False) -> None:
        factor = self.schedule(min(self._since / self._end, 1.0))
        if anew or factor != self.factor:
            self.factor = factor
            fairness = fairness_of(pl_module, self)
            for name in self._names:
                fairness.set_factor(name, factor)
