"""What shows whether adversarial training works: gradient norms, losses against blind guesses."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fairlightning.callbacks.common import fairness_of, log_to_all
from fairlightning.objectives import Adversary, Fairness, Observation


class AdversaryDiagnostics(L.Callback):
    """Log figures by which adversarial training that goes wrong can be told.

    Every `log_every_n_steps`, before clipping:

    * `train/gradient_norm/<group>`: of the network, and of every adversary's head. One that stays
      near 0 has stopped to learn.

    At the end of an epoch, over its batches on this rank:

    * `train/adversary/<name>/loss_share`: the adversary's loss as a share of what a blind guess
      has, the entropy of the attribute (given the label for equalized odds; not of a continuous
      attribute, nor given an amount). Well below 1 it
      recovers the attribute; near 1 it is defeated, or too weak or too slow, which the probe tells
      apart; well above 1 its loss has collapsed: the network changes faster than it can follow,
      and its gradient says nothing. Then raise `learning_rate_factor` or lower λ.
    * `train/logit_spread`: standard deviation of the logits. Near 0 the network's own decision has
      collapsed to one value.

    A module without an adversary, or with several models, is left alone. Of a run that is resumed
    within an epoch the figures of that epoch are over what is left of it.
    """

    def __init__(self) -> None:
        self._begin()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a module without fairness before training starts."""
        fairness_of(pl_module, self)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._begin()

    def _begin(self) -> None:
        self._counts: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        self._batches = 0
        self._logits = 0
        self._moments: tuple[Tensor | float, Tensor | float] = 0.0, 0.0
        self._seen: Observation | None = None

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the norms of the gradients."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.loggers or not every or trainer.global_step % every:
            return
        if _adversaries(fairness_of(pl_module, self)):
            norms = {}
            for number, group in enumerate(optimizer.param_groups):
                gradients = [p.grad for p in group["params"] if p.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                norms[f"train/gradient_norm/{group.get('name', number)}"] = float(norm)
            log_to_all(trainer, norms)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take in what the batch left behind, before the monitor takes it away."""
        fairness = fairness_of(pl_module, self)
        seen = fairness.last
        if seen is None or seen is self._seen or seen.step.logits is None:
            return  # another backward pass over the same batch
        self._seen = seen
        for name, adversary in _adversaries(fairness).items():
            if not adversary.counts_blind_guesses:
                continue
            counts, loss = adversary.counts(seen.step), seen.losses.parts[name].double()
            self._counts[name] = self._counts.get(name, 0) + counts
            self._losses[name] = self._losses.get(name, 0) + loss
        if self._counts:
            self._batches += 1
            self._logits += seen.step.logits.numel()
            logits = seen.step.logits.double()
            total, squares = self._moments
            self._moments = total + logits.sum(), squares + logits.square().sum()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the figures of the epoch."""
        figures = {}
        for name, adversary in _adversaries(fairness_of(pl_module, self)).items():
            if name in self._counts:
                loss = self._losses[name] / self._batches
                blind = adversary.blind_loss(self._counts[name])
                figures[f"train/adversary/{name}/loss_share"] = float(loss / blind)
        if figures:
            total, squares = map(float, self._moments)
            left = max(squares - total**2 / self._logits, 0.0)  # rounding may leave less than 0
            figures["train/logit_spread"] = (left / max(self._logits - 1, 1)) ** 0.5
            trainer.callback_metrics.update({k: torch.tensor(v) for k, v in figures.items()})
            log_to_all(trainer, figures)


def _adversaries(fairness: Fairness) -> dict[str, Adversary]:
    if fairness.members is not None:
        return {}
    return {name: each for name, each in fairness.items() if isinstance(each, Adversary)}
