"""A group of 2 % at batch 64: one row of it in a batch, or none."""

import pytest
import torch
from helpers import make_batch, quiet_trainer
from torch import nn

from fairlightning.callbacks import FairnessMonitor, MultiplierUpdate
from fairlightning.data import BatchLoader
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule
from fairlightning.objectives import RateConstraint

GROUPS = {"sex": ["rare", "common"], "race": ["a", "b", "c"]}


def rows(count, seed):
    """Labels follow two features, of which one is higher in the rare group."""
    batch = make_batch(count, seed)
    random = torch.Generator().manual_seed(seed + 100)
    rare = torch.rand(count, generator=random) < 0.02
    x = batch.inputs[0].clone()
    x[:, 1] += 1.5 * rare
    target = (x[:, 0] + x[:, 1] + torch.randn(count, generator=random) > 0.5).long()
    sensitive = batch.sensitive.clone()
    sensitive[:, 0] = (~rare).long()
    return batch._replace(inputs=(x, batch.inputs[1]), target=target, sensitive=sensitive)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)

    def forward(self, inputs):
        h = self.body(inputs[0])
        return self.head(h), h


@pytest.fixture(scope="module")
def data():
    return rows(25_600, 1), rows(40_000, 9)


def trained(tmp_path, data, memory):
    """Gap and accuracy on validation after training."""
    torch.manual_seed(0)
    objectives = {}
    if memory != "plain":
        groups = GroupSpec(GROUPS)
        objectives["gap"] = RateConstraint(groups, epsilon=0.05, attributes=["sex"], memory=memory)
    module = FairModule(
        Linear(),
        GROUPS,
        objectives=objectives,
        learning_rate=0.05,
        optimizer=lambda p: torch.optim.SGD(p, momentum=0.9),
    )
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=4,
        callbacks=[FairnessMonitor(["val"], table=False), MultiplierUpdate()],
    )
    train, validation = data
    trainer.fit(module, BatchLoader(train, 64, shuffle=True, seed=1), BatchLoader(validation, 8000))
    metrics = trainer.callback_metrics
    gap = metrics["val/fairness/demographic_parity_difference/sex"].item()
    multiplier = sum(part.multiplier.item() for part in module.fairness.constraints.values())
    return gap, metrics["val/accuracy"].item(), multiplier


def test_running_rates_reach_the_bound_that_batches_cannot_see(tmp_path, data):
    gap, accuracy, _ = trained(tmp_path, data, "plain")
    assert gap > 0.3
    # The bound holds on the rows seen, 512 of the rare group: a standard error is 0.02.
    running, kept, multiplier = trained(tmp_path, data, 10_000)
    assert running < 0.09
    assert kept > accuracy - 0.06
    # Driven by chance, the multipliers of single batches grow without end.
    _, less, driven = trained(tmp_path, data, None)
    assert driven > 3 * multiplier > 0
    assert less < kept
