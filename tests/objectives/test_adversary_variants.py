"""The adversary's variants: several heads, a term of its own, standardised, projected."""

import numpy as np
import pytest
import torch
from torch import nn

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.groups import GroupSpec
from fairlightning.objectives import Adversary, Fairness, RateConstraint, Step, TaskProjection

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})


def rows(n=200, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=random, dtype=torch.float64)
    sensitive = torch.stack(
        [(x[:, 0] > 0).long(), torch.randint(-1, 3, (n,), generator=random)], dim=1
    )
    return x, (x[:, 0] + x[:, 1] > 0).long(), sensitive


def gradients(combination=None, strength=0.7, **options):
    """Gradients of network and adversary from the one loss; the same weights every time."""
    torch.manual_seed(1)
    x, target, sensitive = rows()
    body, top = nn.Sequential(nn.Linear(4, 5), nn.Tanh()).double(), nn.Linear(5, 1).double()
    fairness = Fairness(GROUPS, strength=strength, combination=combination)
    fairness.add("adversarial", Adversary(GROUPS, in_features=5, hidden=(6,), **options).double())
    h = body(x)
    network = [*body.parameters(), *top.parameters()]
    task = nn.functional.binary_cross_entropy_with_logits(top(h)[:, 0], target.double())
    step = Step(top(h), target, sensitive, representation=h, parameters=network)
    loss = fairness(task, step)
    private = list(fairness.parameters())
    found = torch.autograd.grad(loss, network + private, retain_graph=True)
    adversary = fairness.objectives["adversarial"]
    ours = torch.autograd.grad(task, network, retain_graph=True, materialize_grads=True)
    fixed = adversary._losses(h, step, adversary.head)
    loss_a = (fixed[0] / fixed[1]).mean()
    theirs = torch.autograd.grad(loss_a, network, materialize_grads=True)
    parts = found[: len(network)], ours, theirs
    flat = [torch.cat([g.flatten() for g in part]) for part in parts]
    return *flat, found[len(network) :]


@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds", "equal_opportunity"])
def test_a_separate_term_has_the_gradients_of_reversal(criterion):
    reversed_, *_, head = gradients(criterion=criterion, heads=2)
    separate, task, adversary, same = gradients(criterion=criterion, heads=2, separate=True)
    torch.testing.assert_close(separate, reversed_)
    torch.testing.assert_close(separate, task - 0.7 * adversary)
    for one, other in zip(head, same, strict=True):
        torch.testing.assert_close(one, other)


def test_projection_is_the_update_of_zhang_et_al():
    found, task, adversary, head = gradients(TaskProjection(), separate=True)
    unit = adversary / adversary.norm()
    torch.testing.assert_close(found, task - (task @ unit) * unit - 0.7 * adversary)
    assert (task @ unit).abs() > 1e-3
    for one, other in zip(head, gradients()[3], strict=True):
        torch.testing.assert_close(one, other)


def test_projection_refuses_what_weighs_itself():
    fairness = Fairness(GROUPS, combination=TaskProjection())
    with pytest.raises(ArgumentError, match="pass separate=True"):
        fairness.add("adversarial", Adversary(GROUPS, in_features=5))
    with pytest.raises(ArgumentError, match="a penalty in place of a constraint"):
        fairness.add("bound", RateConstraint(GROUPS, epsilon=0.1))
    with pytest.raises(ArgumentError, match="trained together"):
        Fairness(GROUPS, strength=[0, 1]).add(
            "adversarial", Adversary(GROUPS, in_features=5, separate=True)
        )


def test_several_heads_are_the_mean_of_their_losses():
    x, target, sensitive = rows()
    step = Step(target=target, sensitive=sensitive, representation=x)
    several = Adversary(GROUPS, in_features=4, heads=3).double()
    alone = []
    for part in several.head.parts:
        one = Adversary(GROUPS, in_features=4).double()
        one.head = part
        alone.append(one(step).own)
    torch.testing.assert_close(several(step).own, torch.stack(alone).mean())
    assert len({loss.item() for loss in alone}) == 3


def test_a_standardised_adversary_sees_what_varies_little(monkeypatch):
    x, target, sensitive = rows()
    adversary = Adversary(GROUPS, in_features=4, standardise=True).double()
    losses = [
        adversary(Step(target=target, sensitive=sensitive, representation=part)).own
        for part in (x, x * torch.tensor([1e-3, 1.0, 10.0, 1e3]) + 5)
    ]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)
    fairness = Fairness(GROUPS)
    fairness.add("adversarial", adversary)
    monkeypatch.setattr("fairlightning.objectives.fairness.world_size", lambda: 2)
    with pytest.raises(SetupError, match="2 ranks"):
        fairness(x.mean(), Step(target=target, sensitive=sensitive, representation=x))


@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds", "equal_opportunity"])
def test_blind_loss_is_what_the_best_constant_guess_reaches(criterion):
    x, target, sensitive = rows(400)
    weight = 0.5 + torch.rand(400, dtype=torch.float64)
    adversary = Adversary(GROUPS, in_features=4, criterion=criterion).double()
    step = Step(target=target, sensitive=sensitive, representation=0 * x, row_weight=weight)
    found = adversary.blind_loss(adversary.counts(step)).item()
    # The oracle: the head without features, trained until it can do no better.
    optimizer = torch.optim.LBFGS(adversary.parameters(), max_iter=200)

    def closure():
        optimizer.zero_grad()
        loss = adversary(step).own
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() == pytest.approx(found, abs=1e-4)
    assert found > 0.1 * np.log(2)
