"""Adaptive sampling: the losses of the groups, handed to what decides on their shares."""

from __future__ import annotations

from typing import Any

import lightning as L

from fairlightning.callbacks.common import fairness_of, log_to_all
from fairlightning.data.fair_batch import FairBatch
from fairlightning.exceptions import SetupError
from fairlightning.objectives import Observation, sum_over_ranks


class AdaptiveSampling(L.Callback):
    """Hand what every batch leaves behind to `FairBatch`, the sampling of the training loader.

    A run that is resumed from any checkpoint goes on with the same shares, which Lightning would
    not restore with the loader at an epoch's end; another run begins anew. Logs the shares at the
    end of an epoch: `train/share/y=<label> & <group>`, within a label.
    Any other loader is left alone.
    """

    def __init__(self) -> None:
        self._seen: Observation | None = None
        self._sampling: FairBatch | None = None
        self._saved: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """State of the sampling, in plain values; empty without one."""
        return {} if self._sampling is None else self._sampling.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until there is a loader."""
        self._saved = state_dict

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget a state that was loaded for something else, such as a test."""
        self._saved = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on from a saved state, or begin anew, as the loader may have served another run.

        Raises:
            SetupError: If several models train on the same batches.
        """
        sampling = getattr(trainer.train_dataloader, "sampling", None)
        self._sampling = sampling if isinstance(sampling, FairBatch) else None
        if self._sampling is None:
            return
        if fairness_of(pl_module, self).members is not None:
            raise SetupError.of(
                "sampling",
                found="FairBatch for several models that are trained on the same batches",
                expected="one model, whose losses decide on the shares",
                mend="train the models one by one, or pass sampling=balanced",
            )
        if self._saved is not None:
            self._sampling.load_state_dict(self._saved)
        elif trainer.global_step == 0:  # else `fit` is called again, to train on
            self._sampling.reset()

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take in the batch, before the monitor takes it away."""
        sampling = self._sampling
        seen = fairness_of(pl_module, self).last if sampling else None
        if sampling is None or seen is None or seen is self._seen:
            return
        self._seen = seen
        logits, target, sensitive = seen.step[:3]
        assert logits is not None and target is not None and sensitive is not None
        sampling.observe(sum_over_ranks(sampling.sums(logits, target, sensitive)))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the shares of the epoch."""
        sampling = self._sampling
        if sampling is not None:
            names = sampling.groups.group_names(sampling.attributes)
            shares = sampling.within_labels().tolist()
            figures = {
                f"train/share/y={label} & {name}": share
                for label, row in enumerate(shares)
                for name, share in zip(names, row, strict=True)
            }
            log_to_all(trainer, figures)
