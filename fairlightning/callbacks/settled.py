"""Early stopping and the choice of the best checkpoint, once λ has reached its final value.

While λ still rises, the validation loss is lowest for the least fair model: chosen over the whole
run, the best checkpoint would undo the ramp.
"""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from fairlightning.callbacks.common import has_constraints
from fairlightning.callbacks.ramp import LambdaRamp


def settled(trainer: L.Trainer) -> bool:
    """Whether every ramp of the trainer has reached its final λ; true without ramps."""
    ramps = [c for c in trainer.callbacks if isinstance(c, LambdaRamp)]  # type: ignore[attr-defined]
    return all(ramp.finished for ramp in ramps)


class _AfterRamps(L.Callback):
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if settled(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if settled(trainer):
            super().on_train_epoch_end(trainer, pl_module)


class SettledEarlyStopping(_AfterRamps, EarlyStopping):
    """Lightning's `EarlyStopping`, asleep until the ramps have finished.

    With constraints it never wakes: their multipliers are part of the loss and go on moving, so
    that a loss which rises is no sign of overfitting.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the epoch, unless there are constraints."""
        if not has_constraints(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the epoch, unless there are constraints."""
        if not has_constraints(pl_module):
            super().on_train_epoch_end(trainer, pl_module)


class SettledCheckpoint(_AfterRamps, ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, asleep until the ramps have finished.

    For resuming a run keep a plain `ModelCheckpoint(filename="last")` beside it.
    """
