"""What the callbacks share."""

from __future__ import annotations

from collections.abc import Mapping

import lightning as L

from fairlightning.exceptions import SetupError
from fairlightning.objectives import Fairness


def fairness_of(pl_module: L.LightningModule, callback: L.Callback) -> Fairness:
    """Return the module's `fairness`.

    Raises:
        SetupError: If the module has none.
    """
    fairness = getattr(pl_module, "fairness", None)
    if not isinstance(fairness, Fairness):
        raise SetupError.of(
            type(callback).__name__,
            found=f"{type(pl_module).__name__} without a fairness module",
            expected="a LightningModule with one of the fairness mixins",
            mend=f"class {type(pl_module).__name__}(ParityMixin, LightningModule)",
        )
    return fairness


def log_to_all(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Write metrics to every logger at the current optimizer step.

    Goes past `LightningModule.log`, whose bookkeeping costs more than a small training step.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
