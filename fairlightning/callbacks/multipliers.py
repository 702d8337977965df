"""Multipliers of constraints, and weights of groups, during training: moves and logs them."""

from __future__ import annotations

from math import isfinite
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from fairlightning.callbacks.common import fairness_of, log_to_all
from fairlightning.exceptions import FairnessWarning, SetupError
from fairlightning.objectives import Losses, Observation


class MultiplierUpdate(L.Callback):
    """Let objectives learn from each optimizer step: running rates, multipliers, group weights.

    Accumulated batches are one step. Validation and testing change nothing. The state lies in
    buffers of the constraints, so that it is part of the module's checkpoint, and follows from sums
    over all ranks, so that it is the same on each. From a step whose sums are not finite nothing is
    learnt, since it would stay; a `FairnessWarning` says so once. Logs, every `log_every_n_steps`,
    `constraints/<name>/value` (thresholded, at running rates; left out while not estimable),
    `bound` and `multiplier` (the sum of the constraint's multipliers).

    A module without such objectives is left alone.

    Raises:
        SetupError: If the module has no fairness, or its `fairness` is trained in evaluation mode.
    """

    drives_multipliers = True

    def __init__(self) -> None:
        self._pending: dict[str, tuple[Tensor, ...]] = {}
        self._seen: Observation | None = None
        self._global_step = 0
        self._warned = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a module without fairness before training starts."""
        fairness_of(pl_module, self)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the step that comes next."""
        self._pending = {}
        self._global_step = trainer.global_step

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the sums of the batch, which the monitor takes away when the batch ends."""
        fairness = fairness_of(pl_module, self)
        if fairness.adaptive and not fairness.training:
            raise SetupError.of(
                f"{type(pl_module).__name__}.fairness",
                found="in evaluation mode while it is trained",
                expected="in training mode, in which objectives see the sums of all ranks",
                mend="call self.fairness.train() wherever you call self.eval()",
            )
        seen = fairness.last
        if seen is None or seen is self._seen:
            return  # another backward pass over the same batch
        self._seen = seen
        for name, sums in seen.sums.items():
            if name in self._pending:
                sums = tuple(a + b for a, b in zip(self._pending[name], sums, strict=True))
            self._pending[name] = sums

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Update where the optimizer has stepped."""
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        pending, self._pending, self._seen = self._pending, {}, None
        fairness = fairness_of(pl_module, self)
        constraints = fairness.constraints
        if isfinite(sum(part.sum() for sums in pending.values() for part in sums)):
            for name, sums in pending.items():
                fairness.adaptive[name].update(sums)
        elif not self._warned:
            self._warned = True
            rank_zero_warn(
                f"{type(self).__name__}: the sums of step {trainer.global_step} over "
                f"{', '.join(pending)} are not finite, and nothing is learnt from such steps. "
                "Mend: look for missing values in the batch, or lower the learning rate.",
                category=FairnessWarning,
            )
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if constraints and trainer.loggers and every and trainer.global_step % every == 0:
            log_to_all(trainer, self._figures(pl_module))

    def _figures(self, pl_module: L.LightningModule) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, constraint in fairness_of(pl_module, self).constraints.items():
            strict = constraint.strict()
            if strict.seen.any():
                figures[f"constraints/{name}/value"] = strict.value.item()
            figures[f"constraints/{name}/bound"] = constraint.limit
            figures[f"constraints/{name}/multiplier"] = constraint.multiplier.item()
        return figures


def constraint_figures(stage: str, losses: Losses) -> dict[str, float]:
    """Value and worst violation of every constraint that could be estimated, by tag.

    Args:
        stage: Stage of the epoch.
        losses: Losses of all its rows.
    """
    figures: dict[str, float] = {}
    for name, strict in losses.strict.items():
        if strict.seen.any():
            figures[f"{stage}/constraints/{name}/value"] = strict.value.item()
            figures[f"{stage}/constraints/{name}/violation"] = strict.worst.item()
    return figures
