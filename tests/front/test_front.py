"""K members trained together are the K models that they would be alone."""

from functools import partial

import pytest
import torch
from front_trainings import (
    SPEC,
    STRENGTH,
    batches,
    fit,
    largest_difference,
    networks,
    objectives,
)
from helpers import CrashInEpochTwo, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from fairlightning.callbacks import FairnessMonitor, LambdaRamp, ResumeRNG
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.front import FrontModule, FrontMonitor
from fairlightning.models import MLP, Linear
from fairlightning.module import FairModule
from fairlightning.objectives import (
    GradientAggregation,
    Objective,
    RateConstraint,
    Term,
)


def together_and_alone(folder, name, make=Net, options=None, **trainer):
    options = options or {}
    front = FrontModule(
        networks(make), SPEC, strength=STRENGTH, objectives=objectives(name), **options
    )
    fit(front, folder, **trainer)
    singles = []
    for network, strength in zip(networks(make), STRENGTH, strict=True):
        single = FairModule(
            network, SPEC, strength=strength, objectives=objectives(name), **options
        )
        singles.append(fit(single, folder, **trainer))
    return front, singles


@pytest.mark.parametrize(
    "name", ["none", "max", "mean", "squared", "logsumexp", "complexity", "adversary", "all"]
)
def test_equal_to_separate_trainings_after_308_steps(tmp_path, name):
    front, singles = together_and_alone(tmp_path, name)
    assert front.trainer.global_step == 308
    assert largest_difference(front, [single.network for single in singles]) < 1e-9
    # Not because nothing differs: members have moved, and λ matters.
    moved = [
        (s.network.head.weight - n.double().head.weight).abs().max().item()
        for s, n in zip(singles, networks(), strict=True)
    ]
    assert min(moved) > 1e-2
    if "adversary" in front.fairness.objectives:
        heads = front.fairness.objectives["adversary"].head
        for k, single in enumerate(singles):
            alone = single.fairness.objectives["adversary"].head.state_dict()
            for key, value in heads.member(k).state_dict().items():
                assert (value - alone[key]).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["projection", "adversary, odds"])
def test_equal_for_slower_objectives(tmp_path, name):
    front, singles = together_and_alone(tmp_path, name, max_epochs=6)
    assert largest_difference(front, [single.network for single in singles]) < 1e-9


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_and_accumulation_act_on_each_member(tmp_path, algorithm):
    options = dict(gradient_clip_val=0.05, gradient_clip_algorithm=algorithm, max_epochs=10)
    sgd = dict(optimizer=partial(torch.optim.SGD, lr=0.1))
    front, singles = together_and_alone(
        tmp_path, "all", options=sgd, accumulate_grad_batches=2, **options
    )
    assert largest_difference(front, [single.network for single in singles]) < 1e-9


@pytest.mark.parametrize("make", [partial(MLP, 5, [], (8, 4)), partial(Linear, 5, [])])
def test_equal_for_networks_of_the_package(tmp_path, make):
    front, singles = together_and_alone(tmp_path, "max", make, max_epochs=6)
    assert largest_difference(front, [single.network for single in singles]) < 1e-9


def test_row_weights(tmp_path):
    batch = next(iter(batches(weighted=True)))
    front = FrontModule(networks(), SPEC, strength=STRENGTH, objectives=objectives("max"))
    front = front.double()
    found = front.training_step(batch, 0)
    expected = sum(
        FairModule(n, SPEC, strength=s, objectives=objectives("max"))
        .double()
        .training_step(batch, 0)
        for n, s in zip(networks(), STRENGTH, strict=True)
    )
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_dropout_draws_for_each_member():
    front = FrontModule(Net(dropout=0.5), SPEC, strength=(1.0, 1.0, 1.0))
    logits = front(make_batch().inputs)
    assert not torch.equal(logits[0], logits[1]) and not torch.equal(logits[1], logits[2])
    logits = front.eval()(make_batch().inputs)
    assert torch.equal(logits[0], logits[1])


def test_export_is_the_plain_network():
    front = FrontModule(networks(), SPEC, strength=STRENGTH, objectives=objectives("adversary"))
    batch = make_batch()
    single = FairModule(Net(), SPEC)
    single.network.load_state_dict(front.export(2).state_dict())
    assert torch.allclose(single(batch.inputs), front(batch.inputs)[2])
    assert front.predict_step(batch, 0).shape == (64, 4)
    assert torch.allclose(front.predict_step(batch, 0)[:, 2], single.predict_step(batch, 0))
    with pytest.raises(ArgumentError, match="0 to 3"):
        front.export(4)


def test_tied_weights_stay_tied():
    class Tied(Net):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
            self.second.weight = self.first.weight

        def forward(self, inputs):
            return super().forward((self.second(self.first(inputs[0])),))

    front = FrontModule(Tied(), SPEC, strength=STRENGTH)
    one = front.export(1)
    assert one.first.weight is one.second.weight
    inputs = make_batch().inputs
    assert torch.allclose(one(inputs)[0], front(inputs)[1], atol=1e-6)


def figures_of(module, folder):
    trainer = quiet_trainer(folder, callbacks=[FrontMonitor()])
    (found,) = trainer.validate(module, BatchLoader(make_batch(100, seed=9), 50), verbose=False)
    return found


@pytest.mark.parametrize("name", ["max", "all"])
def test_monitor_shows_each_member_as_its_own_monitor_would(tmp_path, name):
    front = FrontModule(networks(), SPEC, strength=STRENGTH, objectives=objectives(name))
    found = figures_of(front, tmp_path)
    for k, strength in enumerate(STRENGTH):
        single = FairModule(front.export(k), SPEC, strength=strength, objectives=objectives(name))
        trainer = quiet_trainer(tmp_path, callbacks=[FairnessMonitor(table=False)])
        loader = BatchLoader(make_batch(100, seed=9), 50)
        (alone,) = trainer.validate(single, loader, verbose=False)
        shown = {key: value for key, value in alone.items() if "/groups/" not in key}
        assert {"val/accuracy", "val/loss/task", "val/loss/total"} <= set(shown)
        assert any("demographic_parity_difference/sex" in key for key in shown)
        for key, value in shown.items():
            assert found[f"{key}/member={k}"] == pytest.approx(value, abs=1e-6), key


def test_monitor_counts_neither_the_sanity_check_nor_what_was_interrupted(tmp_path):
    class Failing(FrontModule):
        broken = True

        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            if self.broken and batch_idx == 1:
                raise RuntimeError("power cut")

    front = Failing(networks(), SPEC, strength=STRENGTH, objectives=objectives("max"))
    monitor = FrontMonitor()
    trainer = quiet_trainer(tmp_path, callbacks=[monitor])
    loader = BatchLoader(make_batch(100, seed=9), 50)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.validate(front, loader, verbose=False)
    front.broken = False
    (found,) = trainer.validate(front, loader, verbose=False)
    assert found == figures_of(front, tmp_path)
    assert all(r.support == 100 for of in monitor.records["val"] for r in of[:1])
    options = dict(num_sanity_val_steps=2, check_val_every_n_epoch=5)
    quiet_trainer(tmp_path, callbacks=[monitor], **options).fit(front, *loaders())
    assert not monitor.records


def run(folder, ckpt_path=None, crash=False):
    torch.manual_seed(3 if ckpt_path is None else 99)
    module = FrontModule(
        Net(dropout=0.3),
        SPEC,
        strength={"task": (1.0, 0.5, 1.0), **dict.fromkeys(objectives("all"), (0.1, 1.0, 3.0))},
        objectives=objectives("all"),
        learning_rate=(1e-3, 1e-2, 3e-3),
        seeds=(1, 2, 3),
    )
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    callbacks = [LambdaRamp(), FrontMonitor(), ResumeRNG(), saver]
    trainer = quiet_trainer(
        folder,
        max_epochs=3,
        callbacks=callbacks + [CrashInEpochTwo()] * crash,
        enable_checkpointing=True,
    )
    trainer.fit(module, *loaders(), ckpt_path=ckpt_path)
    return module.state_dict()


def test_a_crashed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "crashed", crash=True)
    resumed = run(tmp_path / "resumed", tmp_path / "crashed" / "step=17.ckpt")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


class Scaled(Objective):
    """An objective with a bare parameter."""

    def __init__(self, groups):
        super().__init__(groups)
        self.scale = nn.Parameter(torch.ones(()))

    def sums(self, step):
        return (step.logits.mean((-1, -2)) * self.scale,)

    def term(self, sums):
        return Term(*sums)


class Bare(Net):
    """A network with a parameter that no layer draws."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(objectives={"gap": RateConstraint(SPEC, epsilon=0.1)}), "'gap'.*RateConstraint"),
        (dict(objectives={"scaled": Scaled(SPEC)}), "'scaled'.*Scaled"),
        (dict(combination="UPGrad"), "combination.*GradientAggregation for 2 models"),
        (dict(network=nn.Sequential(nn.SyncBatchNorm(5))), "'0', SyncBatchNorm"),
        (
            dict(network=nn.InstanceNorm1d(5, track_running_stats=True)),
            r"'\(the network\)', InstanceNorm1d",
        ),
        (dict(network=nn.Sequential(nn.GRU(5, 5))), "'0', GRU"),
        (dict(network=nn.Sequential(nn.LSTMCell(5, 5))), "'0', LSTMCell"),
        (dict(network=[Net()]), "1 networks and 2 strengths"),
        (dict(network=[Net(), MLP(5, [])]), "parameters differ"),
        (dict(network=[MLP(5, [2, 3]), MLP(5, [3, 2])]), "buffers differ"),
        (dict(network=[Net(0.1), Net(0.5)]), "layers or their options differ"),
        (dict(network=[nn.Sequential(nn.Tanh()), nn.Sequential(nn.ReLU())]), "options differ"),
        (dict(network=[Net(), Net().requires_grad_(False)]), "parameters differ"),
        (dict(strength=[]), "strength: found"),
        (dict(strength=2.0), "strength: found 2.0"),
        (dict(strength=[-1.0, 1.0]), "strength: found"),
        (dict(strength={"parity": [1.0, 2.0]}), "strength.*'parity'"),
        (dict(strength={"task": [1.0], "parity": [1.0, 2.0]}), "strength: found"),
        (dict(strength={}), "strength: found"),
        (dict(objectives=objectives("max"), strength={"task": [1.0, 1.0]}), "none for 'parity'"),
        (dict(learning_rate=[1e-3]), "learning_rate.*2 greater than 0"),
        (dict(learning_rate=[1e-3, 0.0]), "learning_rate.*2 greater than 0"),
        (dict(seeds=[1]), "1 seeds and 2 strengths"),
        (dict(network=Bare(), seeds=[1, 2]), r"network, seeds.*'\(itself\)', Bare"),
    ],
)
def test_what_cannot_be_stacked_is_refused_by_name(options, message):
    defaults = dict(network=Net(), strength=(0.0, 1.0))
    if "combination" in options:
        pytest.importorskip("torchjd")
        options = dict(combination=GradientAggregation(options["combination"]))
    with pytest.raises(ArgumentError, match=message):
        FrontModule(groups=SPEC, **(defaults | options))


def test_each_monitor_refuses_the_other_kind_of_module(tmp_path):
    front = FrontModule(Net(), SPEC, strength=(0.0, 1.0))
    with pytest.raises(SetupError, match="FrontMonitor"):
        quiet_trainer(tmp_path, callbacks=[FairnessMonitor()]).fit(front, *loaders())
    with pytest.raises(SetupError, match="FairnessMonitor"):
        quiet_trainer(tmp_path, callbacks=[FrontMonitor()]).fit(FairModule(Net(), SPEC), *loaders())
