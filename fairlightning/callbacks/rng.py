"""Random number generators as part of the checkpoint."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import torch


class ResumeRNG(L.Callback):
    """Save the generators of torch (CPU and CUDA) and Python, and restore them on resume.

    Without them a resumed run draws other dropout masks than the uninterrupted one. Under DDP the
    checkpoint holds the state of rank 0, which every rank then takes over.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that the checkpoint loads with `weights_only=True`."""
        version, internal, gauss = random.getstate()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "torch": torch.get_rng_state(),
            "cuda": cuda,
            "python": [version, list(internal), gauss],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training has been set up, which draws numbers itself."""
        self._saved = state_dict

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore just before the first resumed step."""
        if self._saved is None:
            return
        torch.set_rng_state(self._saved["torch"].cpu())
        if self._saved["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._saved["cuda"]])
        version, internal, gauss = self._saved["python"]
        random.setstate((version, tuple(internal), gauss))
        self._saved = None
