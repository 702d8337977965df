"""One network on a line of weights gives the model of every λ."""

import pytest
import torch
from helpers import GROUPS, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from fairlightning.callbacks import LambdaRamp
from fairlightning.data import BatchLoader, adult
from fairlightning.exceptions import ArgumentError
from fairlightning.front import Conditioned, ConditionedModule, FrontMonitor, ParetoCheckpoint
from fairlightning.groups import GroupSpec
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import Adversary, ComplexityPenalty, ParityPenalty, RateConstraint

SPEC = GroupSpec(GROUPS)


def module(**options):
    objectives = {
        "parity": ParityPenalty(SPEC),
        "adversary": Adversary(SPEC, in_features=8, weight=0.3),
        "complexity": ComplexityPenalty(SPEC),
    }
    defaults = dict(strength=[0.0, 0.5, 3.0, 1.0], objectives=objectives)
    return ConditionedModule(Net(), SPEC, **(defaults | options))


def test_export_is_what_forward_gives():
    made = module().double()
    rows = make_batch()
    inputs = (rows.inputs[0].double(), rows.inputs[1])
    for _ in range(3):
        made.training_step(rows._replace(inputs=inputs), 0).backward()
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.sub_(0.1 * parameter.grad)
    made.eval()
    assert int(made.steps_drawn) == 3
    for k, strength in enumerate(made.fairness.strength):
        single = FairModule(Net(), SPEC).double().eval()
        single.network.load_state_dict(made.export_at(strength).state_dict())
        assert (single(inputs) - made(inputs)[k]).abs().max() < 1e-12
    assert (made(inputs)[0] - made(inputs)[2]).abs().max() > 1e-4


def test_runs_with_ramp_and_monitor(tmp_path):
    made = module()
    gap = "val/fairness/demographic_parity_difference/sex"
    kept = ParetoCheckpoint(tmp_path / "kept", {"val/accuracy": "max", gap: "min"}, from_start=True)
    callbacks = [LambdaRamp(), FrontMonitor(), kept]
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks)
    trainer.fit(made, *loaders())
    assert "val/accuracy/member=3" in trainer.callback_metrics
    assert made.fairness.members == 4
    # What is kept is a plain network.
    Net().load_state_dict(torch.load(kept.kept[0].path, weights_only=True))


def trained(folder, checkpoint=None, **options):
    made = module()
    last = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = quiet_trainer(
        folder, max_epochs=3, enable_checkpointing=True, callbacks=[LambdaRamp(), last], **options
    )
    train, _ = loaders()
    trainer.fit(made, train, ckpt_path=checkpoint)
    return made.state_dict()


def test_a_resumed_training_is_the_whole_one(tmp_path):
    torch.manual_seed(5)
    whole = trained(tmp_path / "whole")
    assert int(whole["steps_drawn"]) == 3 * 8
    resumed = trained(tmp_path / "resumed", tmp_path / "whole" / "epoch=0.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_two_ranks_train_the_network_of_one_process(tmp_path):
    data = make_batch(256)
    data = data._replace(inputs=(data.inputs[0].double(), data.inputs[1]))
    found = []
    for devices in (1, 2):
        torch.manual_seed(5)
        # SGD, since Adam turns rounding of small gradients into whole steps.
        made = module(optimizer=torch.optim.SGD, learning_rate=0.1).double()
        strategy = "auto" if devices == 1 else "ddp_fork"
        trainer = quiet_trainer(tmp_path, devices=devices, strategy=strategy)
        trainer.fit(made, BatchLoader(data, 64 // devices))
        found.append(made.state_dict())
    for name, value in found[0].items():
        assert torch.allclose(found[1][name], value, atol=1e-8), name


def test_the_gap_on_adult_falls_along_the_line(tmp_path):
    data = adult(batch_size=256)
    data.setup()
    parity = {"parity": ParityPenalty(data.groups, attributes=["sex"])}
    network = MLP(data.num_numeric, data.cardinalities)
    made = ConditionedModule(network, data.groups, strength=[0.0, 3.0], objectives=parity)
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[LambdaRamp()])
    trainer.fit(made, data.train_dataloader())
    rows = data.batch("validation")
    gaps = []
    for strength in (0.0, 0.5, 3.0):
        selected = (made.predict(rows.inputs, strength) > 0.5).double()
        means = [selected[rows.sensitive[:, 0] == group].mean() for group in (0, 1)]
        gaps.append((means[1] - means[0]).item())
    assert gaps[0] > 0.05
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < gaps[0] / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(strength=[0.0]), "strength"),
        (dict(strength=[-1.0, 1.0]), "strength"),
        (dict(bend=0.0), "bend"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ArgumentError, match=message):
        module(**options)
    with pytest.raises(ArgumentError, match="strength: found 4"):
        module().predict(make_batch().inputs, 4.0)


def test_what_a_line_cannot_hold_is_refused_by_name():
    with pytest.raises(ArgumentError, match="running_mean"):
        Conditioned(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), [0.0, 1.0])
    with pytest.raises(ArgumentError, match="GRU"):
        Conditioned(nn.GRU(3, 2), [0.0, 1.0])
    with pytest.raises(ArgumentError, match="RateConstraint"):
        module(objectives={"bound": RateConstraint(SPEC, epsilon=0.1)})
