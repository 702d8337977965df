"""Two processes must train as one process on the joined batch would."""

import pytest
import torch
from helpers import Both, make_batch, quiet_trainer

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.data import BatchLoader


class Recording(Both):
    """Saves the gradient that the optimizer would see."""

    def on_after_backward(self):
        if self.trainer.is_global_zero:
            grads = {n: p.grad.clone() for n, p in self.named_parameters()}
            torch.save(grads, f"{self.trainer.default_root_dir}/grads.pt")


def joined(kind):
    batch = make_batch(64, seed=4)
    sensitive = batch.sensitive.clone()
    target = batch.target.clone()
    if kind == "one rank only":
        sensitive[:32, 0], sensitive[32:, 0] = 0, 1
        sensitive[:32, 1] = -1
    elif kind == "unequal":
        sensitive[:32, 0] = (torch.arange(32) < 3).long()
        target[:30] = 0
    elif kind == "unknown on a rank":
        sensitive[32:] = -1
    return batch._replace(sensitive=sensitive, target=target)


OPTIONS = {
    "parity": dict(parity=dict(criterion="equalized_odds", gap="max", weight=3.0)),
    "squared": dict(parity=dict(gap="squared", debiased=True, weight=3.0)),
    "crossed": dict(parity=dict(gap="logsumexp", intersections=True, weight=3.0)),
    "conditional adversary": dict(
        adversarial=dict(in_features=8, criterion="equal_opportunity", weight=2.0)
    ),
}


@pytest.mark.parametrize("kind", ["unequal", "one rank only", "unknown on a rank"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradient_equals_that_of_one_process(tmp_path, kind, options):
    grads = {}
    for devices in (1, 2):
        torch.manual_seed(0)
        module = Recording(**options).double()
        root = tmp_path / str(devices)
        root.mkdir()
        data = joined(kind)
        data = data._replace(inputs=(data.inputs[0].double(), data.inputs[1]))
        trainer = quiet_trainer(
            root,
            max_steps=1,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
        )
        trainer.fit(module, BatchLoader(data, 64 // devices))
        grads[devices] = torch.load(root / "grads.pt")
    for name, alone in grads[1].items():
        error = (grads[2][name] - alone).norm() / alone.norm()
        assert error < 1e-5, name


class Watched(Both):
    def on_fit_end(self):
        figures = {k: float(v) for k, v in self.trainer.callback_metrics.items()}
        torch.save(figures, f"{self.trainer.default_root_dir}/{self.global_rank}.pt")


def test_monitor_and_epoch_losses_are_those_of_one_process(tmp_path):
    found = {}
    for devices in (1, 2):
        torch.manual_seed(0)
        root = tmp_path / str(devices)
        root.mkdir()
        trainer = quiet_trainer(
            root,
            max_epochs=1,
            limit_train_batches=1,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
            callbacks=[FairnessMonitor(["val"], table=False), LambdaRamp()],
        )
        module = Watched()
        module.configure_optimizers = lambda m=module: torch.optim.SGD(m.parameters(), lr=0.0)
        validation = joined("one rank only")
        trainer.fit(module, BatchLoader(make_batch(64), 32), BatchLoader(validation, 32))
        found[devices] = [torch.load(root / f"{rank}.pt") for rank in range(devices)]
    (alone,) = found[1]
    assert "val/loss/total" in alone
    assert "val/groups/selection_rate/sex=F" in alone
    for figures in found[2]:
        assert figures.keys() == alone.keys()
        for name, value in alone.items():
            assert figures[name] == pytest.approx(value, abs=1e-6), name
