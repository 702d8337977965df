import copy
import pickle

import cvxpy as cp
import pytest
import torch
from fair_batches import CRITERIA, GROUPS, table

from fairlightning.convex.projection import FairProjection
from fairlightning.exceptions import ArgumentError
from fairlightning.objectives import ParityPenalty, ProjectionPenalty, Step


def test_layer_checks_its_arguments():
    p, sensitive, target = table()
    with pytest.raises(ArgumentError, match="epsilon"):
        FairProjection(GROUPS, epsilon=-1)
    with pytest.raises(ArgumentError, match="did you mean 'sex'"):
        FairProjection(GROUPS, attributes=["sexx"])
    with pytest.raises(ArgumentError, match="solver"):
        FairProjection(GROUPS, solver="newton", constraints=lambda x, _: [])
    with pytest.raises(ArgumentError, match="newton"):
        FairProjection(GROUPS, solver="newton", parameters={"cap": ()})
    with pytest.raises(ArgumentError, match="newton"):
        FairProjection(GROUPS, solver_args={"solve_method": "SCS"})
    with pytest.raises(ArgumentError, match="target"):
        FairProjection(GROUPS, criterion="equal_opportunity")(p, sensitive)
    with pytest.raises(ArgumentError, match="target"):
        FairProjection(GROUPS)(p, sensitive, target + 1)
    with pytest.raises(ArgumentError, match="sensitive"):
        FairProjection(GROUPS)(p, sensitive[:5], target)
    with pytest.raises(ArgumentError, match="parameters"):
        FairProjection(GROUPS)(p, sensitive, parameters={"cap": torch.tensor(0.5)})


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("intersections", [False, True])
def test_both_solvers_of_the_layer_agree(criterion, intersections):
    p, sensitive, target = table()
    options = {"criterion": criterion, "intersections": intersections, "epsilon": 0.04}
    newton = FairProjection(GROUPS, **options)
    general = FairProjection(GROUPS, solver="cvxpylayers", **options)
    weight = 0.5 + torch.rand(len(p), generator=torch.Generator().manual_seed(5))
    weight[:3] = 0
    found = newton(p, sensitive, target, weight=weight)
    expected = general(p, sensitive, target, weight=weight)
    assert (found - expected).abs().max() < 1e-6
    rows = {"target": target, "sensitive": sensitive}
    seen = Step(logits=found.logit()[:, None], row_weight=weight, **rows)
    parity = {"criterion": criterion, "intersections": intersections}
    for attributes in [None] if intersections else [["sex"], ["race"]]:
        gap = ParityPenalty(GROUPS, attributes=attributes, **parity)
        assert gap(seen).value < 0.04 + 1e-8
    given = Step(logits=p.logit()[:, None], **rows)
    penalty = ProjectionPenalty(GROUPS, epsilon=0.04, distance="squared", **parity)
    assert newton.penalty(p, sensitive, target) == pytest.approx(penalty(given).value.item())
    models = torch.stack([p, p.square()])
    assert (newton(models, sensitive, target) - general(models, sensitive, target)).abs().max() < (
        1e-6
    )


def test_constraints_of_ones_own():
    p, sensitive, _ = table()
    layer = FairProjection(
        GROUPS,
        epsilon=0.05,
        constraints=lambda x, known: [
            cp.abs(x - known["probabilities"]) <= known["reach"],
            cp.sum(x) <= known["budget"],
        ],
        parameters={"reach": ("N",), "budget": ()},
    )
    values = {"reach": torch.full((len(p),), 0.25), "budget": 0.95 * p.sum()}
    p.requires_grad_()
    found = layer.project(p, sensitive, parameters=values)
    assert found.residual < 1e-6
    assert found.shift is None
    assert (found.value - p).abs().max() <= 0.25 + 1e-6
    assert found.value.sum() <= 0.95 * p.sum() + 1e-5
    unbound = FairProjection(GROUPS, epsilon=0.05)(p, sensitive)
    assert unbound.sum() > 0.95 * p.sum() + 0.1
    found.value.square().sum().backward()
    assert p.grad.isfinite().all()
    with pytest.raises(ArgumentError, match="constraints"):
        layer(p, sensitive, parameters=values | {"budget": torch.tensor(-1.0)})
    with pytest.raises(ArgumentError, match="parameters"):
        layer(p, sensitive)


def test_penalty_with_constraints_that_depend_on_the_probabilities():
    p, sensitive, _ = table(16)
    layer = FairProjection(
        GROUPS,
        epsilon=0.05,
        attributes=["sex"],
        constraints=lambda x, known: [x[0] <= 0.5 * known["probabilities"][0]],
    )
    slope = torch.autograd.functional.jacobian(lambda p: layer.penalty(p, sensitive), p)[0]
    step = 1e-4 * torch.eye(16, dtype=p.dtype)[0]
    ahead, behind = (layer.penalty(p + s * step, sensitive) for s in (1, -1))
    assert slope == pytest.approx(((ahead - behind) / 2e-4).item(), rel=1e-3)


def test_programs_that_cannot_be_compiled_or_named():
    p, sensitive, _ = table(20)
    with pytest.raises(ArgumentError, match="DPP"):
        FairProjection(GROUPS, constraints=lambda x, _: [cp.square(x) >= 0.1])(p, sensitive)
    with pytest.raises(ArgumentError, match="parameters"):
        FairProjection(GROUPS, constraints=lambda x, _: [], parameters={"rates": (2,)})
    with pytest.raises(ArgumentError, match="exactly 0 or 1"):
        FairProjection(GROUPS, solver="cvxpylayers", distance="kl")(p.round(), sensitive)


@pytest.mark.parametrize(
    "solver_args",
    [{"solve_method": "SCS", "max_iters": 4}, {"solve_method": "Clarabel", "max_iter": 3}],
)
def test_truncated_solutions_are_refused(solver_args):
    p, sensitive, _ = table()
    layer = FairProjection(GROUPS, solver="cvxpylayers", solver_args=solver_args)
    with pytest.raises(ArgumentError, match="constraints: found"):
        layer(p, sensitive)


def test_programs_are_kept_by_shape_and_never_copied():
    p, sensitive, _ = table(24)
    layer = FairProjection(GROUPS, solver="cvxpylayers")
    program = layer.program
    expected = layer(p, sensitive)
    kept = program._layer(24, (2, 3))
    layer(p, sensitive)
    assert program._layer(24, (2, 3)) is kept
    for rows in range(10, 15):
        layer(p[:rows], sensitive[:rows])
    assert len(program._layers) == 4
    assert not list(layer.children())
    assert not layer.state_dict()
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.allclose(copied(p, sensitive), expected)
