"""One network on a line of weights gives the model of every λ."""

import pytest
import torch
from helpers import GROUPS, CrashInEpochTwo, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from fairlightning.callbacks import LambdaRamp, ResumeRNG
from fairlightning.data import BatchLoader, adult
from fairlightning.exceptions import ArgumentError
from fairlightning.front import ConditionedModule, FrontMonitor, ParetoCheckpoint
from fairlightning.groups import GroupSpec
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import (
    Adversary,
    AugmentedChebyshev,
    ComplexityPenalty,
    EpsilonConstraint,
    GradientAggregation,
    ParityPenalty,
    RateConstraint,
    SmoothChebyshev,
    WeightedSum,
)

SPEC = GroupSpec(GROUPS)
CONSTRAINT = RateConstraint(SPEC, criterion="demographic_parity", epsilon=0.05)


def module(**options):
    objectives = {
        "parity": ParityPenalty(SPEC),
        "adversary": Adversary(SPEC, in_features=8, weight=0.3),
        "complexity": ComplexityPenalty(SPEC),
    }
    defaults = dict(highest=3.0, grid=4, objectives=objectives)
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
    assert (made(inputs)[0] - made(inputs)[-1]).abs().max() > 1e-4


def test_runs_with_ramp_and_monitor(tmp_path):
    made = module()
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[LambdaRamp(), FrontMonitor()])
    trainer.fit(made, *loaders())
    assert "val/accuracy/member=3" in trainer.callback_metrics
    assert made.fairness.members == 4


@pytest.mark.parametrize("rule", [WeightedSum, AugmentedChebyshev, SmoothChebyshev])
def test_a_step_is_that_of_one_model_with_its_loss_divided(rule):
    parity = ParityPenalty(SPEC, weight=2.0)
    made = module(objectives={"parity": parity}, combination=rule()).double()
    rows = make_batch()
    rows = rows._replace(inputs=(rows.inputs[0].double(), rows.inputs[1]))
    for _ in range(5):
        position = made.next_position().item()
        single = FairModule(
            made.network.plain(position),
            SPEC,
            objectives={"parity": ParityPenalty(SPEC, weight=2.0)},
            combination=rule(),
            strength=(strength := made.scale.strength(position)),
        ).double()
        expected = single.training_step(rows, 0) / (1 + 2 * strength)
        expected.backward()
        made.zero_grad()
        found = made.training_step(rows, 0)
        found.backward()
        assert found.item() == pytest.approx(expected.item(), abs=1e-7)
        for name, parameter in single.network.named_parameters():
            start = made.network.start.get_parameter(name)
            slope = made.network.slope.get_parameter(name)
            assert torch.allclose(start.grad, parameter.grad, atol=1e-7), name
            assert torch.allclose(slope.grad, position * parameter.grad, atol=1e-7), name
        with torch.no_grad():
            for parameter in made.network.parameters():
                parameter.sub_(0.1 * parameter.grad)
    assert made.fairness.members == 4
    after = made.fairness.combination
    assert all(getattr(after, n) == getattr(rule(), n) for n in after.in_units_of_the_loss)


def test_the_positions_cover_the_line_and_both_ends():
    made = module()
    positions = []
    for step in range(600):
        made.steps_drawn.fill_(step)
        positions.append(made.next_position().item())
    found = torch.tensor(positions)
    counts = torch.histc(found, bins=10, min=0, max=1)
    assert counts.min() > 40
    assert (found == 0).sum() > 40 and (found == 1).sum() > 40


def run(folder, ckpt_path=None, crash=False):
    torch.manual_seed(3 if ckpt_path is None else 99)
    made = ConditionedModule(
        Net(dropout=0.3),
        SPEC,
        highest=3.0,
        objectives={
            "parity": ParityPenalty(SPEC),
            "adversary": Adversary(SPEC, in_features=8, weight=0.3),
        },
    )
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = quiet_trainer(
        folder,
        max_epochs=3,
        callbacks=[LambdaRamp(), FrontMonitor(), ResumeRNG(), saver] + [CrashInEpochTwo()] * crash,
        enable_checkpointing=True,
    )
    trainer.fit(made, *loaders(), ckpt_path=ckpt_path, weights_only=True)
    return made.state_dict()


def test_a_crashed_run_goes_on_with_the_same_positions(tmp_path):
    whole = run(tmp_path / "whole")
    assert whole["steps_drawn"] == 24
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "crashed", crash=True)
    resumed = run(tmp_path / "resumed", tmp_path / "crashed" / "step=17.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_weights_on_a_line_of_another_scale_are_refused():
    checkpoint = {}
    module(grid=[0.0, 1.0]).on_save_checkpoint(checkpoint)
    module(grid=[0.0, 1.0]).on_load_checkpoint(checkpoint)
    with pytest.raises(ArgumentError, match=r"\[50.0, 0.5\], and \[3.0, 0.03\] in the checkpoint"):
        module(grid=[0.0, 1.0], highest=50.0).on_load_checkpoint(checkpoint)


def test_two_ranks_are_one_process_on_the_joined_batch(tmp_path):
    data = make_batch(64, seed=4)
    data = data._replace(inputs=(data.inputs[0].double(), data.inputs[1]))
    states = {}
    for devices in (1, 2):
        torch.manual_seed(0)
        made = module(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1)).double()
        root = tmp_path / str(devices)
        root.mkdir()
        trainer = quiet_trainer(
            root,
            max_epochs=5,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
            callbacks=[LambdaRamp()],
        )
        trainer.fit(made, BatchLoader(data, 64 // devices))
        states[devices] = made.state_dict()
    assert states[2]["steps_drawn"] == 5
    assert states[1]["network.slope.head.weight"].abs().max() > 0
    for name, value in states[1].items():
        assert torch.allclose(states[2][name], value, rtol=1e-6, atol=1e-8), name


def test_gap_falls_with_strength_on_adult(tmp_path):
    data = adult(batch_size=512)
    data.setup()
    made = ConditionedModule(
        MLP(data.num_numeric, data.cardinalities, hidden=(32,)),
        data.groups,
        highest=3.0,
        grid=2,
        learning_rate=5e-3,
        objectives={"parity": ParityPenalty(data.groups, attributes=["sex"])},
    )
    gap = "val/fairness/demographic_parity_difference/sex"
    monitor = FrontMonitor(["val"])
    keeper = ParetoCheckpoint(tmp_path / "members", {"val/accuracy": "max", gap: "min"})
    trainer = quiet_trainer(tmp_path, callbacks=[LambdaRamp(), monitor, keeper])
    trainer.fit(made, datamodule=data)
    found = [trainer.callback_metrics[f"{gap}/member={k}"].item() for k in range(2)]
    assert found[0] > 0.08
    assert found[-1] < 0.6 * found[0]
    assert trainer.callback_metrics["val/accuracy/member=0"] > 0.83
    newest = [kept for kept in keeper.kept if kept.epoch == 1]
    assert newest
    for kept in newest:
        exported = made.export(kept.member).state_dict()
        for name, value in torch.load(kept.path, weights_only=True).items():
            assert torch.equal(value, exported[name]), name


class Normed(Net):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(highest=0.0), "highest"),
        (dict(bend=-1.0), "bend"),
        (dict(grid=1), "grid"),
        (dict(grid=[0.5, 0.5]), "grid"),
        (dict(grid=[0.0, 4.0]), "strength: found 4"),
        (dict(objectives={"rate": CONSTRAINT}), "'rate': found RateConstraint"),
        (dict(combination=GradientAggregation()), "GradientAggregation"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ArgumentError, match=message):
        module(**options)


def test_a_strength_that_was_not_trained_is_refused():
    with pytest.raises(ArgumentError, match="strength: found 4"):
        module().predict(make_batch().inputs, 4.0)


@pytest.mark.parametrize(
    ("layer", "message"), [(nn.BatchNorm1d(8), "running_mean"), (nn.GRU(8, 8), "GRU")]
)
def test_layers_that_have_no_line_are_refused(layer, message):
    with pytest.raises(ArgumentError, match=message):
        ConditionedModule(Normed(layer), SPEC, highest=3.0)


def test_a_bound_for_each_member_is_refused():
    rule = EpsilonConstraint({"parity": [0.1, 0.2, 0.3, 0.4]})
    made = module(objectives={"parity": ParityPenalty(SPEC)}, combination=rule)
    with pytest.raises(ArgumentError, match="bounds: found 4 for 'parity'"):
        made.training_step(make_batch(), 0)
