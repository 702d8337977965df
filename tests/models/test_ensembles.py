"""Ensembles: members learn by themselves, the ensemble decides and is held to fairness."""

import pytest
import torch
from helpers import GROUPS, make_batch
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError
from fairlightning.front import FrontModule
from fairlightning.groups import GroupSpec
from fairlightning.models import TabM
from fairlightning.models.base import mean_probability
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty


def network():
    return TabM(5, [], members=3, width=8, dropout=0.0)


def penalties():
    return {"parity": ParityPenalty(GroupSpec(GROUPS), attributes=["sex"])}


def test_mean_probability():
    members = 5 * torch.randn(20, 4, dtype=torch.float64)
    mean = members.sigmoid().mean(1, keepdim=True)
    torch.testing.assert_close(mean_probability(members), torch.logit(mean))
    assert mean_probability(torch.full((1, 4), 1e4)).item() == pytest.approx(1e4)


def test_task_is_the_members_fairness_the_ensemble_s():
    batch = make_batch()
    net = network()
    module = FairModule(net, GROUPS, objectives=penalties(), strength=1.0)
    logits, _, members = net(batch.inputs)
    target = batch.target.float()
    alone = [F.binary_cross_entropy_with_logits(members[:, m], target) for m in range(3)]
    joint = F.binary_cross_entropy_with_logits(logits[:, 0], target)
    scores = logits[:, 0].sigmoid()
    male = batch.sensitive[:, 0] == 1
    gap = (scores[male].mean() - scores[~male].mean()).abs()

    module.train()
    torch.testing.assert_close(module.training_step(batch, 0), sum(alone) / 3 + gap)
    torch.testing.assert_close(module.eval().validation_step(batch, 0), joint + gap)


def test_front_of_ensembles_trains_each_as_alone():
    batch = make_batch()
    net = network().double()
    batch = batch._replace(inputs=(batch.inputs[0].double(), batch.inputs[1]))
    front = FrontModule(net, GROUPS, strength=[0.0, 2.0], objectives=penalties())
    single = FairModule(net, GROUPS, strength=2.0, objectives=penalties())
    front.training_step(batch, 0).backward()
    single.training_step(batch, 0).backward()
    mapped = dict(front.network.module.named_parameters())
    for name, parameter in single.network.named_parameters():
        torch.testing.assert_close(mapped[name].grad[1], parameter.grad)


def test_rows_of_an_ensemble_are_weighted():
    batch = make_batch()._replace(weight=torch.rand(64))
    net = network()
    module = FairModule(net, GROUPS).train()
    members = net(batch.inputs).members
    target = batch.target.float()[:, None].expand(-1, 3)
    losses = F.binary_cross_entropy_with_logits(members, target, reduction="none").mean(1)
    expected = (losses * batch.weight).sum() / batch.weight.sum()
    torch.testing.assert_close(module.training_step(batch, 0), expected)


@pytest.mark.parametrize(
    "options", [dict(members=0), dict(layers=0), dict(width=0), dict(dropout=1.0)]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ArgumentError, match="sizes ≥ 1"):
        TabM(5, [], **options)
