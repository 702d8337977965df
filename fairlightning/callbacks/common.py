"""What the callbacks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning as L
import torch

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


def has_constraints(pl_module: L.LightningModule) -> bool:
    """Whether the module has constraints, whose weights are multipliers."""
    fairness = getattr(pl_module, "fairness", None)
    return isinstance(fairness, Fairness) and bool(fairness.constraints)


def log_epoch(
    trainer: L.Trainer, pl_module: L.LightningModule, metrics: Mapping[str, float]
) -> None:
    """Log figures of a whole epoch, which are the same on all ranks.

    In `fit` it goes past `LightningModule.log`, which takes 0.4 ms for each figure, and a hundred
    figures are nothing special; `validate` and `test` return what was logged by it.
    """
    if trainer.state.fn != "fit":
        # The figures are of the whole epoch already, so that one "row" of each is right.
        pl_module.log_dict(dict(metrics), sync_dist=trainer.world_size > 1, batch_size=1)
    elif not trainer.sanity_checking:
        figures = {name: torch.tensor(value) for name, value in metrics.items()}
        trainer.callback_metrics.update(figures)
        trainer.logged_metrics.update(figures)
        log_to_all(trainer, {**metrics, "epoch": float(trainer.current_epoch)})


def log_to_all(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Write metrics to every logger at the current optimizer step.

    Goes past `LightningModule.log`, whose bookkeeping costs more than a small training step.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)


def member_figures(figures: Mapping[str, Sequence[float]], members: int | None) -> dict[str, float]:
    """Name the figures of several models trained together.

    Args:
        figures: By name one figure for each model.
        members: Number of models trained together; None for one model, whose names stay.

    >>> member_figures({"val/loss/task": [0.3, 0.4]}, 2)
    {'val/loss/task/member=0': 0.3, 'val/loss/task/member=1': 0.4}
    """
    if members is None:
        return {name: values[0] for name, values in figures.items()}
    return {
        f"{name}/member={k}": value
        for name, values in figures.items()
        for k, value in enumerate(values)
    }
