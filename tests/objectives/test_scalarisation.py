"""Scalarisations: definitions, gradients, leading axes, and what they find on a known front."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.autograd import gradcheck

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.scalarisation import (
    augmented_chebyshev,
    bound_penalty,
    chebyshev,
    smooth_chebyshev,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    Adversary,
    AugmentedChebyshev,
    Chebyshev,
    EpsilonConstraint,
    Fairness,
    ParityPenalty,
    RateConstraint,
    SmoothChebyshev,
    Step,
)
from fairlightning.objectives.base import Term
from fairlightning.objectives.combination import mean_task_loss

GROUPS = GroupSpec({"sex": ["F", "M"]})
RULES = {
    "chebyshev": chebyshev,
    "augmented": lambda *a: augmented_chebyshev(*a, augmentation=0.1),
    "smooth": lambda *a: smooth_chebyshev(*a, temperature=0.2),
    "exact": bound_penalty,
    "quadratic": lambda *a: bound_penalty(*a, penalty="quadratic"),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
MODULES = [Chebyshev(), AugmentedChebyshev(), SmoothChebyshev(), EpsilonConstraint({"parity": 0.1})]


def numbers(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=random, dtype=torch.float64)


@rules
def test_leading_axes_are_models(rule):
    values, weights, reference = numbers(4, 3), numbers(4, 3, seed=1), 0.1 * numbers(4, 3, seed=2)
    together = rule(values, weights, reference)
    apart = torch.stack([rule(*row) for row in zip(values, weights, reference, strict=True)])
    assert together.shape == (4,)
    torch.testing.assert_close(together, apart)
    mapped = torch.vmap(rule)(values, weights, reference)
    torch.testing.assert_close(together, mapped)


@rules
def test_gradients(rule):
    weights, reference = numbers(3, seed=1), 0.1 * numbers(3, seed=2)
    values = numbers(3).requires_grad_()
    assert gradcheck(lambda v: rule(v, weights, reference), (values,))


@given(st.lists(st.floats(0, 10), min_size=2, max_size=5), st.floats(0.01, 5))
def test_smooth_maximum_is_within_its_bounds(values, temperature):
    losses = torch.tensor(values, dtype=torch.float64)
    unit, zero = torch.ones_like(losses), torch.zeros_like(losses)
    hard = chebyshev(losses, unit, zero)
    soft = smooth_chebyshev(losses, unit, zero, temperature=temperature)
    assert hard - 1e-9 <= soft <= hard + temperature * math.log(len(values)) + 1e-9


def test_only_the_largest_loss_gets_a_gradient():
    values = torch.tensor([0.5, 0.2, 0.1], requires_grad=True)
    chebyshev(values, torch.tensor([1.0, 2.0, 10.0]), torch.zeros(3)).backward()
    assert values.grad.tolist() == [0.0, 0.0, 10.0]


def concave_front(x):
    """Two losses of one number whose front bulges: f2 = sqrt(1 − f1²)."""
    x = min(max(float(x), 0.0), 1.0)
    return np.array([math.sin(x * math.pi / 2), math.cos(x * math.pi / 2)])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_chebyshev_reaches_the_middle_of_a_front_that_is_not_convex(share):
    weights = torch.tensor([share, 1 - share], dtype=torch.float64)

    def best(scalar):
        grid = np.linspace(0, 1, 4001)
        return grid[np.argmin([scalar(torch.from_numpy(concave_front(x))) for x in grid])]

    found = best(lambda v: chebyshev(v, weights, torch.zeros(2, dtype=torch.float64)))
    # Where the weighted losses are equal: share·sin = (1 − share)·cos.
    assert found == pytest.approx(math.atan2(1 - share, share) * 2 / math.pi, abs=1e-3)
    summed = best(lambda v: (weights * v).sum())
    assert summed in (0.0, 1.0)


def test_augmentation_rules_out_what_is_only_weakly_optimal():
    # The second point is as bad at its worst, and better for the rest.
    points = torch.tensor([[1.0, 0.8], [1.0, 0.2]])
    unit, zero = torch.ones(2), torch.zeros(2)
    assert chebyshev(points, unit, zero).unique().numel() == 1
    assert augmented_chebyshev(points, unit, zero, augmentation=0.05).argmin() == 1


@pytest.mark.parametrize(("weight", "met"), [(0.5, False), (3.0, True)])
def test_exact_penalty_meets_the_bound_from_the_multiplier_on(weight, met):
    # min (x − 1)² subject to x ≤ 0.25; its multiplier is 2·(1 − 0.25) = 1.5.
    oracle = minimize(
        lambda x: (x[0] - 1) ** 2,
        [0.0],
        constraints={"type": "ineq", "fun": lambda x: 0.25 - x[0]},
    ).x[0]
    x = torch.linspace(0, 1, 10001, dtype=torch.float64)
    bounds, weights = torch.tensor([0.25]).double(), torch.tensor([weight]).double()
    found = x[((x - 1) ** 2 + bound_penalty(x[:, None], weights, bounds)).argmin()].item()
    assert (found == pytest.approx(oracle, abs=1e-3)) == met
    soft = bound_penalty(x[:, None], weights, bounds, penalty="quadratic")
    # (x − 1)² + w (x − ε)²/2 has its minimum at (2 + w ε)/(2 + w), beyond the bound.
    assert x[((x - 1) ** 2 + soft).argmin()].item() == pytest.approx(
        (2 + weight * 0.25) / (2 + weight), abs=1e-3
    )


def batch(rows=80, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 1, generator=random)
    sex = torch.arange(rows) % 2
    logits = logits + sex[:, None]
    target = torch.randint(0, 2, (rows,), generator=random)
    return Step(logits.requires_grad_(), target, sex[:, None])


@pytest.mark.parametrize("rule", MODULES, ids=lambda rule: type(rule).__name__)
def test_ramps_and_strength_move_the_preference(rule):
    fairness = Fairness(GROUPS, strength=2.0, combination=rule)
    fairness.add("parity", ParityPenalty(GROUPS, weight=3.0))
    step = batch()
    task = step.logits.square().mean()
    gap = fairness.objectives["parity"](step).value
    for factor in (0.1, 1.0):
        fairness.set_factor("parity", factor)
        λ = 2.0 * 3.0 * factor
        loss = fairness(task, step)
        pair, weights = torch.stack([task, gap]), torch.tensor([1.0, λ])
        if isinstance(rule, EpsilonConstraint):
            expected = task + λ * (gap - 0.1).clamp_min(0)
        else:
            expected = rule.scalarised(pair, weights, torch.zeros(2))
        torch.testing.assert_close(loss, expected)
        found = torch.autograd.grad(loss, step.logits, retain_graph=True)[0]
        wanted = torch.autograd.grad(expected, step.logits, retain_graph=True)[0]
        torch.testing.assert_close(found, wanted)
        assert fairness.last.losses.total == loss.detach()
    chosen = fairness.objectives["parity"].weight
    assert chosen.item() == 6.0
    assert not chosen.requires_grad


@pytest.mark.parametrize("rule", [Chebyshev, AugmentedChebyshev, SmoothChebyshev])
def test_members_without_an_objective_minimise_the_task_below_its_reference_too(rule):
    task = torch.full((3,), 0.3, requires_grad=True)
    parity = {"parity": Term(torch.full((3,), 0.2))}
    weights = {"task": torch.tensor([1.0, 1.0, 0.0]), "parity": torch.tensor([0.0, 5.0, 0.0])}
    rule(reference={"task": 0.5})(task, parity, weights).loss.sum().backward()
    assert task.grad[0] >= 0.99
    assert task.grad[1] < 0.1  # the gap is what is worst
    assert task.grad[2] == 0  # nothing to minimise


def test_terms_of_several_models():
    terms = {"parity": Term(torch.tensor([0.1, 0.9]))}
    rule = Chebyshev(task=2.0, reference={"task": 0.1})
    losses = rule(torch.tensor([0.4, 0.3]), terms, {"parity": torch.tensor(1.0)})
    torch.testing.assert_close(losses.loss, torch.tensor([0.6, 0.9]))


def test_own_losses_stay_at_full_strength():
    terms = {"head": Term(torch.tensor(0.1), own=torch.tensor(0.7))}
    losses = Chebyshev()(torch.tensor(0.4), terms, {"head": torch.tensor(1.0)})
    assert losses.loss.item() == pytest.approx(0.4 + 0.7)
    assert losses.total.item() == pytest.approx(0.4)


@pytest.mark.parametrize("rule", MODULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(
    "objective",
    [RateConstraint(GROUPS, epsilon=0.1), Adversary(GROUPS, in_features=1, feed="logits")],
    ids=["constraint", "adversary"],
)
def test_what_weighs_itself_is_refused_by_name(rule, objective):
    with pytest.raises(ArgumentError, match=f"{type(rule).__name__} with the .* 'fair'"):
        Fairness(GROUPS, combination=rule).add("fair", objective)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Chebyshev(task=-1), "task"),
        (lambda: AugmentedChebyshev(augmentation=-0.1), "augmentation"),
        (lambda: SmoothChebyshev(temperature=0), "temperature"),
        (lambda: SmoothChebyshev(temperature=math.inf), "temperature"),
        (lambda: Chebyshev(task=math.inf), "task: found inf"),
        (lambda: Chebyshev(reference={"task": math.nan}), r"reference\['task'\]: found nan"),
        (lambda: EpsilonConstraint({"parity": math.nan}), r"bounds\['parity'\]: found nan"),
        (lambda: EpsilonConstraint({"parity": [0.1, math.nan]}), "bounds.*found nan"),
        (lambda: EpsilonConstraint({"parity": "0.05"}), "bounds.*found '0.05'"),
        (lambda: Fairness(GROUPS, strength=math.inf), "strength: found inf"),
        (lambda: EpsilonConstraint({}, penalty="exat"), "did you mean 'exact'"),
    ],
)
def test_mistakes_have_named_errors(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Chebyshev(reference={"partiy": 0.1}), "reference: found the names partiy"),
        (EpsilonConstraint({}), "bounds: found none for parity"),
        (EpsilonConstraint({"parity": 0.1, "age": 0.1}), "bounds: found the names age"),
        (EpsilonConstraint({"task": 0.1}, minimise="party"), "did you mean 'parity'"),
    ],
)
def test_names_that_do_not_fit_the_terms_are_refused(rule, words):
    terms, weights = {"parity": Term(torch.tensor(0.1))}, {"parity": torch.tensor(1.0)}
    with pytest.raises(ArgumentError, match=words):
        rule(torch.tensor(0.4), terms, weights)


def test_a_task_loss_over_rows_without_weight_is_zero():
    losses = torch.ones(2, dtype=torch.float64, requires_grad=True)
    found = mean_task_loss(losses, torch.zeros(2))
    (gradient,) = torch.autograd.grad(100 * found, losses)
    assert found == 0
    assert (gradient == 0).all()
