"""Members that differ in more than λ, each still the model that it would be alone."""

from functools import partial

import pytest
import torch
from front_trainings import SPEC, batches, fit, largest_difference, networks, objectives
from helpers import Net, make_batch, quiet_trainer
from torch import nn

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError
from fairlightning.front import FrontModule, FrontMonitor
from fairlightning.functional.preferences import simplex_grid
from fairlightning.module import FairModule
from fairlightning.objectives import (
    Adversary,
    AugmentedChebyshev,
    Chebyshev,
    EpsilonConstraint,
    ParityPenalty,
    SmoothChebyshev,
    WeightedSum,
)

MEMBERS = 4


def assert_same(tmp_path, front, alone, epochs=5):
    """Train the front and each of the modules alone; all weights must agree."""
    before = front.double().export(0).state_dict()
    fit(front, tmp_path, max_epochs=epochs)
    singles = [fit(module, tmp_path, max_epochs=epochs) for module in alone]
    assert largest_difference(front, [single.network for single in singles]) < 1e-9
    moved = singles[0].network.state_dict()
    assert max((moved[name] - value).abs().max() for name, value in before.items()) > 1e-3
    return singles


def test_grid_of_weights_is_that_of_the_simplex():
    grid = simplex_grid(["a", "b", "c"], 5)
    points = set(zip(*grid.values(), strict=True))
    expected = {(i / 5, j / 5, (5 - i - j) / 5) for i in range(6) for j in range(6 - i)}
    assert points == expected and len(grid["a"]) == len(expected) == 21
    assert simplex_grid(["task"], 3) == {"task": [1.0]}


@pytest.mark.parametrize(
    ("names", "steps", "message"),
    [([], 2, "objectives"), (["a", "a"], 2, "objectives"), (["a"], 0, "steps")],
)
def test_grid_refuses(names, steps, message):
    with pytest.raises(ValueError, match=message):
        simplex_grid(names, steps)


def test_weights_of_several_objectives_and_the_task(tmp_path):
    """Members with weight 0 for an objective go without it, so each has its own criterion."""
    grid = simplex_grid(["task", "parity", "adversary", "complexity"], 2)
    strength = {name: [weights[k] for k in (1, 4, 5, 8)] for name, weights in grid.items()}
    made = partial(objectives, "all")
    front = FrontModule(networks(), SPEC, strength=strength, objectives=made())
    assert front.fairness.strength == {name: tuple(row) for name, row in strength.items()}
    alone = []
    for k, network in enumerate(networks()):
        own = made()
        for name, objective in own.items():
            objective.full_weight *= strength[name][k]
        combination = WeightedSum(task=strength["task"][k])
        alone.append(FairModule(network, SPEC, objectives=own, combination=combination))
    assert_same(tmp_path, front, alone)
    front.fairness.strength = {name: [1.0] * MEMBERS for name in strength}
    assert front.fairness.set_factor("parity", 0.5) == (0.5,) * MEMBERS


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.AdamW, fused=True, weight_decay=0.1),
        partial(torch.optim.Adam, amsgrad=True),
        partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.01),
    ],
    ids=["adamw", "adam", "sgd"],
)
def test_learning_rates(tmp_path, make):
    rates = [1e-3, 3e-2, 1e-2, 5e-3]
    options = dict(
        optimizer=make,
        scheduler=lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, steps
        ),
    )
    front = FrontModule(
        networks(),
        SPEC,
        strength=[1.0] * MEMBERS,
        objectives=objectives("adversary"),
        learning_rate=rates,
        **options,
    )
    alone = [
        FairModule(network, SPEC, objectives=objectives("adversary"), learning_rate=rate, **options)
        for network, rate in zip(networks(), rates, strict=True)
    ]
    assert_same(tmp_path, front, alone)


def test_equal_learning_rates_cost_nothing():
    front = FrontModule(Net(), SPEC, strength=[0.0, 1.0], learning_rate=[1e-2, 1e-2])
    optimizer = front.configure_optimizers()
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


def test_seeds(tmp_path):
    seeds = [5, 6, 7, 5]
    strength = [1.0, 1.0, 1.0, 3.0]
    front = FrontModule(
        Net(), SPEC, strength=strength, objectives=objectives("adversary"), seeds=seeds
    )
    heads = front.fairness.objectives["adversary"].head
    assert not torch.equal(heads.member(0)[0].weight, heads.member(1)[0].weight)
    alone = []
    for seed, one in zip(seeds, strength, strict=True):
        torch.manual_seed(seed)
        network = Net()
        torch.manual_seed(seed)
        adversary = Adversary(SPEC, in_features=9, feed="both")
        alone.append(FairModule(network, SPEC, strength=one, objectives={"adversary": adversary}))
    assert_same(tmp_path, front, alone)


def test_seeds_leave_given_networks_and_the_random_state_alone():
    given = networks()
    state = torch.get_rng_state()
    front = FrontModule(
        given, SPEC, strength=[1.0] * MEMBERS, objectives=objectives("max"), seeds=range(MEMBERS)
    )
    assert largest_difference(front, given) == 0
    torch.set_rng_state(state)
    FrontModule(Net(), SPEC, strength=[1.0, 1.0], seeds=[1, 2])
    drawn = torch.rand(1)
    torch.set_rng_state(state)
    Net()
    assert torch.equal(torch.rand(1), drawn)


class Normed(nn.Module):
    def __init__(self, momentum=0.1):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(5, momentum=momentum),
            nn.Linear(5, 8),
            nn.BatchNorm1d(8, momentum=momentum),
            nn.Tanh(),
        )
        self.head = nn.Linear(8, 1)

    def forward(self, inputs):
        h = self.body(inputs[0])
        return self.head(h), h


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_of_batch_norm(tmp_path, momentum):
    make = partial(Normed, momentum)
    strength = [0.0, 0.5, 1.0, 3.0]
    front = FrontModule(networks(make), SPEC, strength=strength, objectives=objectives("max"))
    alone = [
        FairModule(network, SPEC, strength=one, objectives=objectives("max"))
        for network, one in zip(networks(make), strength, strict=True)
    ]
    singles = assert_same(
        tmp_path, front, alone, 10
    )  # running statistics are in the state that is compared
    means = front.network.module.body[2].running_mean
    assert means.shape == (MEMBERS, 8) and not torch.allclose(means[0], means[3])
    rows = next(iter(batches())).inputs
    shown = front.eval()(rows)
    for k, single in enumerate(singles):
        assert torch.allclose(front.export(k).eval()(rows)[0], shown[k], atol=1e-12)
        assert torch.allclose(single.eval()(rows), shown[k], atol=1e-8)


SCALARISATIONS = {
    "chebyshev": partial(Chebyshev, reference={"task": 0.3}),
    "augmented": partial(AugmentedChebyshev, reference={"task": 0.3}),
    "smooth": partial(SmoothChebyshev, task=0.5),
    "bounded": partial(EpsilonConstraint, {"parity": 0.1, "complexity": 1.0}),
    "quadratic": partial(
        EpsilonConstraint, {"task": 0.5, "complexity": 1.0}, minimise="parity", penalty="quadratic"
    ),
}


def two_penalties():
    return {**objectives("max"), **objectives("complexity")}


@pytest.mark.parametrize("name", SCALARISATIONS)
def test_scalarisations(tmp_path, name):
    strength = [0.3, 1.0, 3.0, 10.0]
    make = SCALARISATIONS[name]
    front = FrontModule(
        networks(), SPEC, strength=strength, objectives=two_penalties(), combination=make()
    )
    alone = [
        FairModule(network, SPEC, strength=one, objectives=two_penalties(), combination=make())
        for network, one in zip(networks(), strength, strict=True)
    ]
    assert_same(tmp_path, front, alone)


def test_bounds_and_task_weights_of_members_under_scalarisations(tmp_path):
    bounds, task = [0.02, 0.05, 0.1, 0.2], [1.0, 0.5, 0.25, 2.0]
    front = FrontModule(
        networks(),
        SPEC,
        strength={"task": task, "parity": [3.0] * MEMBERS},
        objectives=objectives("max"),
        combination=EpsilonConstraint({"parity": bounds}),
    )
    alone = [
        FairModule(
            network,
            SPEC,
            strength=3.0,
            objectives=objectives("max"),
            combination=EpsilonConstraint({"parity": bound}, task=weight),
        )
        for network, bound, weight in zip(networks(), bounds, task, strict=True)
    ]
    assert_same(tmp_path, front, alone)
    front.fairness.combination.bounds["parity"] = [0.1, 0.2]
    with pytest.raises(ValueError, match="bounds: found 2 for 'parity'"):
        front.training_step(next(iter(batches())), 0)


def test_chebyshev_with_task_weights(tmp_path):
    grid = simplex_grid(["task", "parity"], MEMBERS - 1)
    front = FrontModule(
        networks(), SPEC, strength=grid, objectives=objectives("max"), combination=SmoothChebyshev()
    )
    alone = [
        FairModule(
            network,
            SPEC,
            strength=parity,
            objectives=objectives("max"),
            combination=SmoothChebyshev(task=task),
        )
        for network, task, parity in zip(networks(), *grid.values(), strict=True)
    ]
    assert_same(tmp_path, front, alone)


class Recording(FrontModule):
    """Saves the gradient that the optimizer would see, and the figures of validation."""

    def on_after_backward(self):
        if self.trainer.is_global_zero:
            grads = {name: p.grad.clone() for name, p in self.named_parameters()}
            torch.save(grads, f"{self.trainer.default_root_dir}/grads.pt")

    def on_fit_end(self):
        figures = {k: float(v) for k, v in self.trainer.callback_metrics.items()}
        torch.save(figures, f"{self.trainer.default_root_dir}/{self.global_rank}.pt")


def test_two_ranks_are_one_process_on_the_joined_batch(tmp_path):
    data = make_batch(64, seed=4)
    sensitive = data.sensitive.clone()
    sensitive[:32, 0] = (torch.arange(32) < 3).long()  # ranks see other shares of the groups
    data = data._replace(inputs=(data.inputs[0].double(), data.inputs[1]), sensitive=sensitive)
    strength = {"task": [1.0, 1.0, 0.5], "parity": [0.0, 1.0, 3.0], "adversary": [1.0, 0.0, 2.0]}
    grads, figures, weights = {}, {}, {}
    for devices in (1, 2):
        torch.manual_seed(0)
        module = Recording(
            Net(),
            SPEC,
            strength=strength,
            objectives={
                "parity": ParityPenalty(SPEC, criterion="equalized_odds"),
                "adversary": Adversary(SPEC, in_features=8),
            },
            learning_rate=[1e-2, 1e-3, 5e-3],
            seeds=[1, 2, 3],
        ).double()
        root = tmp_path / str(devices)
        root.mkdir()
        trainer = quiet_trainer(
            root,
            max_epochs=3,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
            callbacks=[LambdaRamp(), FrontMonitor(["val"])],
        )
        trainer.fit(module, BatchLoader(data, 64 // devices), BatchLoader(data, 16))
        grads[devices] = torch.load(root / "grads.pt")
        figures[devices] = [torch.load(root / f"{rank}.pt") for rank in range(devices)]
        weights[devices] = module.state_dict()
    for name, alone in grads[1].items():
        assert torch.allclose(grads[2][name], alone, rtol=1e-6, atol=1e-10), name
    (alone,) = figures[1]
    assert "val/fairness/demographic_parity_difference/sex/member=2" in alone
    assert "val/loss/adversary/member=1" in alone
    for found in figures[2]:
        assert found == pytest.approx(alone, abs=1e-6)
    for name, value in weights[1].items():
        assert torch.allclose(weights[2][name], value, atol=1e-8), name


def test_bf16_and_accumulation_are_those_of_each_member(tmp_path):
    strength = [0.0, 1.0]
    options = dict(
        precision="bf16-mixed", accumulate_grad_batches=2, gradient_clip_val=1.0, max_epochs=4
    )
    sgd = dict(optimizer=torch.optim.SGD, learning_rate=0.05)

    def trained(module):
        trainer = quiet_trainer(tmp_path, callbacks=[LambdaRamp()], **options)
        trainer.fit(module, BatchLoader(make_batch(256), 32))
        assert trainer.global_step == 16
        return module

    made = partial(objectives, "all")
    front = FrontModule(networks()[:2], SPEC, strength=strength, objectives=made(), **sgd)
    start = [front.export(k).state_dict() for k in range(2)]
    trained(front)
    for k, (network, one) in enumerate(zip(networks(), strength, strict=False)):
        single = trained(FairModule(network, SPEC, strength=one, objectives=made(), **sgd))
        found, alone = front.export(k).state_dict(), single.network.state_dict()
        way = torch.cat([(alone[name] - start[k][name]).flatten() for name in alone])
        apart = torch.cat([(alone[name] - found[name]).flatten() for name in alone])
        assert way.norm() > 0.05
        # Products of matrices are rounded to bfloat16 in another order.
        assert apart.norm() < 0.1 * way.norm()


def test_monitor_of_members_with_objectives_of_their_own(tmp_path):
    strength = {"task": [1.0, 0.5], "parity": [0.0, 1.0], "complexity": [1.0, 0.0]}
    front = FrontModule(networks()[:2], SPEC, strength=strength, objectives=two_penalties())
    loader = BatchLoader(make_batch(100, seed=9), 50)
    trainer = quiet_trainer(tmp_path, callbacks=[FrontMonitor()])
    (found,) = trainer.validate(front, loader, verbose=False)
    own = two_penalties()
    own["parity"].full_weight, own["complexity"].full_weight = 1.0, 0.0
    single = FairModule(front.export(1), SPEC, objectives=own, combination=WeightedSum(task=0.5))
    trainer = quiet_trainer(tmp_path, callbacks=[FairnessMonitor(table=False)])
    (alone,) = trainer.validate(single, loader, verbose=False)
    for name in ("val/loss/task", "val/loss/parity", "val/accuracy"):
        assert found[f"{name}/member=1"] == pytest.approx(alone[name], abs=1e-6)
    total = found["val/loss/total"]
    parts = [
        strength["task"][k] * found[f"val/loss/task/member={k}"]
        + strength["parity"][k] * found[f"val/loss/parity/member={k}"]
        + 1e-2 * strength["complexity"][k] * found[f"val/loss/complexity/member={k}"]
        for k in range(2)
    ]
    assert total == pytest.approx(sum(parts) / 2, abs=1e-6)


def test_an_optimizer_that_does_not_scale_with_its_rate_is_refused():
    front = FrontModule(
        Net(), SPEC, strength=[0.0, 1.0], learning_rate=[1e-3, 1e-2], optimizer=torch.optim.Rprop
    )
    with pytest.raises(ArgumentError, match="Rprop"):
        front.configure_optimizers()
