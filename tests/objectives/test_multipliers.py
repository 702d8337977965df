"""Multipliers against known duals, and against Cooper's."""

import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    AugmentedLagrangian,
    DualAscent,
    GroupDRO,
    NuPI,
    RateConstraint,
    Step,
)

RULES = {
    "dual ascent": lambda: DualAscent(0.1),
    "augmented Lagrangian": lambda: AugmentedLagrangian(penalty=2.0, learning_rate=0.5),
    "PI": lambda: NuPI(0.1, proportional=3.0),
    "smoothed PI": lambda: NuPI(0.1, proportional=3.0, smoothing=0.5),
}
ONE = torch.ones((), dtype=torch.float64)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_reach_the_multipliers_of_a_convex_program(rule):
    random = np.random.default_rng(0)
    centre, matrix, bound = (
        random.normal(size=6),
        random.normal(size=(4, 6)),
        np.array([-1, 0, 1, 9]),
    )
    x = cp.Variable(6)
    rows = matrix @ x <= bound
    cp.Problem(cp.Minimize(cp.sum_squares(x - centre) / 2), [rows]).solve(solver=cp.CLARABEL)
    assert (rows.dual_value > 1e-3).any() and (rows.dual_value < 1e-6).any()

    multipliers = rule()
    multipliers.allocate(4)
    multipliers.double()
    g, h, a = (torch.as_tensor(part, dtype=torch.float64) for part in (matrix, bound, centre))
    theta = torch.zeros(6, dtype=torch.float64)
    for _ in range(6_000):
        theta = theta - 0.05 * (theta - a + g.T @ multipliers.effective(g @ theta - h))
        multipliers.step(g @ theta - h, torch.ones(4, dtype=torch.bool), ONE)
    assert multipliers.value.numpy() == pytest.approx(rows.dual_value, abs=1e-4)
    assert theta.numpy() == pytest.approx(x.value, abs=1e-4)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_is_not_seen_stays_and_nothing_is_negative(rule):
    multipliers = rule()
    multipliers.allocate(3)
    seen = torch.tensor([True, False, True])
    for sign in (1.0, -0.2, -5.0):
        multipliers.step(torch.tensor([0.5, 9.0, 0.1]) * sign, seen, torch.ones(()))
        assert multipliers.value[1] == 0
        assert (multipliers.value >= 0).all()
    multipliers.step(torch.full((3,), 0.3), seen, torch.ones(()))
    kept = multipliers.value.clone()
    assert (kept[seen] > 0).all()
    multipliers.step(torch.full((3,), 0.3), torch.zeros(3, dtype=torch.bool), torch.ones(()))
    assert torch.equal(multipliers.value, kept)


def cooper_steps(kind, violations):
    """Weights that the network sees, and multipliers after each step, by Cooper."""
    cooper = pytest.importorskip("cooper")
    multiplier = cooper.multipliers.DenseMultiplier(num_constraints=2)
    options, optimizer = {}, torch.optim.SGD(multiplier.parameters(), lr=0.1, maximize=True)
    formulation = cooper.formulations.Lagrangian
    if kind == "augmented":
        penalty = cooper.penalty_coefficients.DensePenaltyCoefficient(init=torch.tensor(2.0))
        formulation = cooper.formulations.AugmentedLagrangian
        options["penalty_coefficient"] = penalty
        optimizer = torch.optim.SGD(multiplier.parameters(), lr=2.0, maximize=True)
    elif kind == "pi":
        nupi = cooper.optim.torch_optimizers.nupi_optimizer
        optimizer = nupi.nuPI(
            multiplier.parameters(),
            lr=0.1,
            Kp=torch.tensor([3.0]),
            Ki=torch.tensor([1.0]),
            ema_nu=0.5,
            init_type=nupi.nuPIInitType.ZEROS,
            maximize=True,
        )
    constraint = cooper.Constraint(
        cooper.ConstraintType.INEQUALITY, formulation, multiplier=multiplier, **options
    )
    found = []
    for violation in violations:
        seen = violation.clone().requires_grad_()
        state = cooper.ConstraintState(violation=seen, strict_violation=violation)
        primal = constraint.compute_contribution_to_lagrangian(state, "primal")
        (weight,) = torch.autograd.grad(primal.lagrangian_contribution, seen)
        optimizer.zero_grad()
        constraint.compute_contribution_to_lagrangian(
            state, "dual"
        ).lagrangian_contribution.backward()
        optimizer.step()
        multiplier.post_step_()
        found.append(torch.stack([weight, multiplier.weight.detach()]))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("lagrangian", lambda: DualAscent(0.1)),
        ("augmented", lambda: AugmentedLagrangian(penalty=2.0, learning_rate=1.0)),
        ("pi", lambda: NuPI(0.1, proportional=3.0, smoothing=0.5)),
    ],
)
def test_equal_those_of_cooper(kind, rule):
    violations = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    expected = cooper_steps(kind, violations)
    multipliers = rule()
    multipliers.allocate(2)
    found = []
    for violation in violations:
        weight = multipliers.effective(violation).clone()
        multipliers.step(violation, torch.ones(2, dtype=torch.bool), torch.ones(()))
        found.append(torch.stack([weight, multipliers.value]))
    assert torch.allclose(torch.stack(found), expected, atol=1e-6)


LEARNING = {
    "rate constraint": lambda groups: RateConstraint(groups, epsilon=0.05),
    "group weights": lambda groups: GroupDRO(groups, step_size=1e-3),
}


@pytest.mark.parametrize("make", LEARNING.values(), ids=LEARNING)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_grows_by_small_steps_is_not_rounded_where_the_module_is_cast(make, dtype):
    groups = GroupSpec({"sex": ["F", "M"]})
    exact = make(groups)
    cast = copy.deepcopy(exact).to(dtype)
    cast = pickle.loads(pickle.dumps(cast))
    random = torch.Generator().manual_seed(0)
    for _ in range(400):
        sex = torch.randint(0, 2, (32, 1), generator=random)
        target = torch.randint(0, 2, (32,), generator=random)
        step = Step(sex * 2.0 - 0.5, target, sex)  # logits that every type holds exactly
        exact.update(exact.sums(step))
        cast.update(cast.sums(step._replace(logits=step.logits.to(dtype))))
    learned = {name: part for name, part in exact.state_dict().items() if name != "weight"}
    assert any(part.amax() > 0.51 for part in learned.values())
    for name, part in learned.items():
        assert torch.allclose(cast.state_dict()[name], part, rtol=1e-5), name

    resumed = make(groups).to(dtype)
    resumed.load_state_dict(cast.state_dict())
    for name, part in cast.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], part), name
    assert cast.double().state_dict().keys() == exact.state_dict().keys()
    assert all(part.dtype == torch.float64 for part in cast.buffers() if part.is_floating_point())
    assert all(part.device.type == "meta" for part in cast.to("meta", dtype).buffers())


def test_mistakes_have_named_errors():
    for make in (lambda: DualAscent(0.0), lambda: AugmentedLagrangian(-1.0), lambda: NuPI(1, -1)):
        with pytest.raises(ArgumentError):
            make()
    with pytest.raises(ArgumentError, match="smoothing"):
        NuPI(smoothing=1.0)
    shared = DualAscent()
    groups = GroupSpec({"sex": ["F", "M"]})
    RateConstraint(groups, epsilon=0.1, multipliers=shared)
    with pytest.raises(ArgumentError, match="new DualAscent"):
        RateConstraint(groups, epsilon=0.1, multipliers=shared)
