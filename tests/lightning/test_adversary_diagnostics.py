"""Figures that show how an adversary fares."""

import pickle

import lightning as L
import pytest
import torch
from helpers import Both, loaders, quiet_trainer
from lightning.pytorch.loggers import CSVLogger

from fairlightning.callbacks import AdversaryDiagnostics, FairnessMonitor


class Kept(CSVLogger):
    def __init__(self, folder):
        super().__init__(folder)
        self.kept = []

    def log_metrics(self, metrics, step=None):
        self.kept.append((step, dict(metrics)))


class Watched(L.Callback):
    """What the diagnostics should find, from the batches themselves."""

    def on_train_epoch_start(self, trainer, pl_module):
        self.losses, self.logits = [], []

    def on_after_backward(self, trainer, pl_module):
        seen = pl_module.fairness.last
        self.losses.append(seen.losses.parts["adversarial"])
        self.logits.append(seen.step.logits)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        head = [p.grad.flatten() for p in pl_module.fairness.parameters()]
        if trainer.global_step == 0:
            self.norm = torch.cat(head).norm().item()


def test_what_is_kept_does_not_grow_with_the_batches(tmp_path):
    def kept(batches):
        found = AdversaryDiagnostics()
        trainer = quiet_trainer(
            tmp_path, max_epochs=1, callbacks=[found], limit_train_batches=batches
        )
        trainer.fit(Both(), loaders()[0])
        return len(pickle.dumps(found.__dict__, protocol=2))

    assert kept(8) - kept(2) < 100


def test_norms_losses_and_spread_are_logged(tmp_path):
    module, watched, logger = Both(), Watched(), Kept(tmp_path)
    callbacks = [FairnessMonitor(table=False), AdversaryDiagnostics(), watched]
    trainer = quiet_trainer(
        tmp_path, max_epochs=2, callbacks=callbacks, logger=logger, log_every_n_steps=4
    )
    train, _ = loaders()
    trainer.fit(module, train)
    tags = {name for _, metrics in logger.kept for name in metrics}
    assert {"train/gradient_norm/network", "train/gradient_norm/adversarial"} <= tags
    norms = [(s, m) for s, m in logger.kept if "train/gradient_norm/adversarial" in m]
    assert [step for step, _ in norms] == [0, 4, 8, 12]
    assert norms[0][1]["train/gradient_norm/adversarial"] == pytest.approx(watched.norm)
    (*_, last) = [m for _, m in logger.kept if "train/logit_spread" in m]
    assert last["train/logit_spread"] == pytest.approx(torch.cat(watched.logits).std().item())
    # The loss of what knows how frequent each category is, and nothing else.
    entropies = []
    for column in train.data.sensitive.T:
        share = column[column >= 0].bincount().double() / (column >= 0).sum()
        entropies.append(torch.special.entr(share).sum())
    expected = torch.stack(watched.losses).mean() / torch.stack(entropies).mean()
    assert last["train/adversary/adversarial/loss_share"] == pytest.approx(expected.item())
