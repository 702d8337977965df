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

    The state is part of the loader's, so a run that is resumed at any step goes on with the same
    shares. Logs them at the end of an epoch: `train/share/y=<label> & <group>`, within a label.
    Any other loader is left alone.
    """

    def __init__(self) -> None:
        self._seen: Observation | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse several models that train on the same batches.

        Raises:
            SetupError: If there are several.
        """
        if _sampling(trainer) and fairness_of(pl_module, self).members is not None:
            raise SetupError.of(
                "sampling",
                found="FairBatch for several models that are trained on the same batches",
                expected="one model, whose losses decide on the shares",
                mend="train the models one by one, or pass sampling=balanced",
            )

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take in the batch, before the monitor takes it away."""
        sampling = _sampling(trainer)
        seen = fairness_of(pl_module, self).last if sampling else None
        if sampling is None or seen is None or seen is self._seen:
            return
        self._seen = seen
        logits, target, sensitive = seen.step[:3]
        assert logits is not None and target is not None and sensitive is not None
        sampling.observe(sum_over_ranks(sampling.sums(logits, target, sensitive)))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the shares of the epoch."""
        sampling = _sampling(trainer)
        if sampling is not None:
            names = sampling.groups.group_names(sampling.attributes)
            shares = sampling.within_labels().tolist()
            figures = {
                f"train/share/y={label} & {name}": share
                for label, row in enumerate(shares)
                for name, share in zip(names, row, strict=True)
            }
            log_to_all(trainer, figures)


def _sampling(trainer: L.Trainer) -> FairBatch | None:
    loader: Any = trainer.train_dataloader
    sampling = getattr(loader, "sampling", None)
    return sampling if isinstance(sampling, FairBatch) else None
