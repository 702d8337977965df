import copy
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fairlightning.convex.cone import ConeProjection
from fairlightning.convex.projection import FairProjection
from fairlightning.exceptions import ArgumentError
from fairlightning.functional import group_rates
from fairlightning.functional.projection import (
    Cells,
    fair_projection,
    parity_cells,
    projection_distance,
)
from fairlightning.groups import GroupSpec

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})
CRITERIA = ["demographic_parity", "equal_opportunity", "equalized_odds"]


def one_partition(rows, groups, seed=0, spread=1.5, lean=0.6, dtype=torch.float64):
    """Probabilities that lean on the group, and the cells of one attribute."""
    random = torch.Generator().manual_seed(seed)
    group = torch.randint(0, groups, (rows,), generator=random)
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64) + lean * group
    return torch.sigmoid(logit).to(dtype), Cells(group[None], (groups,))


def table(rows=60, seed=0, spread=2.0):
    random = torch.Generator().manual_seed(seed)
    sensitive = torch.stack(
        [torch.randint(-1, size, (rows,), generator=random) for size in GROUPS.sizes], 1
    )
    target = torch.randint(0, 2, (rows,), generator=random)
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64)
    return torch.sigmoid(logit + sensitive[:, 0] - sensitive[:, 1]), sensitive, target


def cell_rates(value, cells, weight=None):
    """Rates of every block, as the metrics define them."""
    total, found = sum(cells.blocks), []
    for ids in cells.ids:
        rates = group_rates(value, ids, total, weight=weight)
        found.append((rates.rate, rates.present))
    return found


def largest_gap(value, cells, weight=None):
    gaps, first = [0.0], 0
    for size in cells.blocks:
        block = slice(first, first + size)
        for rate, present in cell_rates(value, cells, weight):
            seen = rate[block][present[block]]
            if len(seen):
                gaps.append((seen.max() - seen.min()).item())
        first += size
    return max(gaps)


def by_cvxpy(p, cells, epsilon, distance="squared", weight=None, **solver):
    """The program as it is defined, with a constraint for every pair of cells."""
    p = p.numpy()
    weight = np.ones(len(p)) if weight is None else weight.numpy()
    x = cp.Variable(len(p))
    constraints, first = [x >= 0, x <= 1], 0
    for size in cells.blocks:
        means = []
        for cell in range(first, first + size):
            inside = weight * (cells.ids == cell).any(0).numpy()
            if inside.sum() > 0:
                means.append(inside @ x / inside.sum())
        constraints += [a - b <= epsilon for a in means for b in means if a is not b]
        first += size
    counted = np.where(weight > 0, weight, 1.0)
    if distance == "squared":
        goal = cp.sum(cp.multiply(counted, cp.square(x - p)))
    else:
        terms = cp.rel_entr(x, p) + cp.rel_entr(1 - x, 1 - p)
        goal = cp.sum(cp.multiply(counted, terms))
    cp.Problem(cp.Minimize(goal), constraints).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13, **solver
    )
    return torch.from_numpy(x.value)


def value_and_gradient(project, p, direction):
    p = p.clone().requires_grad_()
    value = project(p).value
    (grad,) = torch.autograd.grad((value * direction).sum(), p)
    return value.detach(), grad


@pytest.mark.parametrize("distance", ["squared", "kl"])
@pytest.mark.parametrize("groups", [2, 6])
def test_values_and_gradients_equal_those_of_cvxpylayers(groups, distance):
    p, cells = one_partition(256, groups)
    direction = torch.randn(256, generator=torch.Generator().manual_seed(1), dtype=p.dtype)
    program = ConeProjection(distance=distance)
    value, grad = value_and_gradient(
        lambda p: fair_projection(p, cells, 0.02, distance=distance), p, direction
    )
    general, general_grad = value_and_gradient(lambda p: program(p, cells, 0.02), p, direction)
    assert (value - p).abs().max() > 0.01
    assert (value - general).abs().max() < 1e-6
    assert (grad - general_grad).abs().max() < 1e-4


@pytest.mark.parametrize("distance", ["squared", "kl"])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("weighted", [False, True])
def test_several_attributes_equal_the_program_with_all_pairs(criterion, distance, weighted):
    p, sensitive, target = table()
    weight = None
    if weighted:
        weight = torch.rand(len(p), generator=torch.Generator().manual_seed(3)).double()
        weight[:5] = 0
    cells = parity_cells(criterion, target, sensitive, GROUPS, [("sex",), ("race",)])
    found = fair_projection(p, cells, 0.03, weight=weight, distance=distance)
    expected = by_cvxpy(p, cells, 0.03, distance, weight)
    assert (found.value - expected).abs().max() < 1e-6
    assert largest_gap(p, cells, weight) > 0.03
    assert largest_gap(found.value, cells, weight) < 0.03 + 1e-8
    if weighted:
        assert (found.value[:5] == p[:5]).all()


@given(
    st.integers(1, 40),
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    st.sampled_from([0.3, 2.0, 8.0, 40.0]),
    st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_any_pattern_of_groups_is_projected_to_the_optimum(rows, sizes, epsilon, spread, seed):
    random = torch.Generator().manual_seed(seed)
    ids, first = [], 0
    for size in sizes:
        group = torch.randint(-1, size, (rows,), generator=random)
        ids.append(torch.where(group < 0, -1, group + first))
        first += size
    cells = Cells(torch.stack(ids), tuple(sizes))
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64)
    p = torch.sigmoid(logit + spread * (cells.ids[0] % 2))
    found = fair_projection(p, cells, epsilon)
    assert largest_gap(found.value, cells) <= epsilon + 1e-8
    assert found.value.min() >= 0
    assert found.value.max() <= 1
    free = (cells.ids < 0).all(0)
    assert (found.value[free] == p[free]).all()
    # No feasible point is nearer: a certificate that does not come from the solver. The dual value
    # of its shifts is a lower bound, so that the distance is the least where the two agree.
    member = (cells.ids[:, None] == torch.arange(first)[:, None]).any(0).double()
    shift = found.shift.reshape(-1)
    pushed = shift @ member
    moved = (p - pushed).clamp(0, 1)
    lagrangian = ((moved - p).square() / 2 + moved * pushed).sum()
    bound = lagrangian - (member.sum(1) * shift.abs()).sum() * epsilon / 2
    assert abs(bound - (found.value - p).square().sum() / 2) < 1e-7
    multiplier = member.sum(1) * shift
    assert all(abs(part.sum()) < 1e-8 for part in multiplier.split(list(sizes)))
    again = fair_projection(found.value, cells, epsilon + 1e-8).value
    assert (again - found.value).abs().max() < 1e-9


def test_a_feasible_batch_is_not_changed_and_its_gradient_passes():
    p, cells = one_partition(50, 3)
    p.requires_grad_()
    found = fair_projection(p, cells, 0.9)
    assert (found.value == p).all()
    assert found.residual == 0
    assert (found.shift == 0).all()
    found.value.sum().backward()
    assert (p.grad == 1).all()


@pytest.mark.parametrize("distance", ["squared", "kl"])
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
@pytest.mark.parametrize("shape", [(), (2,)])
@pytest.mark.parametrize("partitions", [[("race",)], [("sex",), ("race",)]])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradcheck(distance, epsilon, shape, partitions, weighted):
    p, sensitive, target = table(24, spread=1.5 if shape else 3.0)
    p = (p * torch.linspace(0.7, 1, 2, dtype=p.dtype)[:, None]) if shape else p
    cells = parity_cells("equalized_odds", target, sensitive, GROUPS, partitions)
    p.requires_grad_()
    weight = torch.linspace(0.2, 3, 24, dtype=p.dtype) if weighted else None

    def value(p):
        return fair_projection(p, cells, epsilon, weight=weight, distance=distance).value

    def penalty(p):
        return projection_distance(p, value(p), weight=weight, distance=distance)

    assert (value(p) - p).abs().max() > 0.01

    assert gradcheck(value, (p,))
    assert gradcheck(lambda p: value(p).square().mean(-1), (p,))
    numeric = torch.zeros_like(p)
    with torch.no_grad():
        for i in range(p.numel()):
            step = torch.zeros(p.numel(), dtype=p.dtype)
            step[i] = 1e-6
            ahead, behind = (penalty(p + s * step.view_as(p)).sum() for s in (1, -1))
            numeric.view(-1)[i] = (ahead - behind) / 2e-6
    (grad,) = torch.autograd.grad(penalty(p).sum(), p)
    assert torch.allclose(grad, numeric, atol=1e-7)


def test_clipped_rows_have_no_gradient_and_the_rest_is_right():
    p = torch.tensor([0.01, 0.02, 0.9, 0.1, 0.05, 0.3], dtype=torch.float64, requires_grad=True)
    cells = Cells(torch.tensor([[0, 0, 0, 1, 1, 1]]), (2,))
    value = fair_projection(p, cells, 0.0).value
    assert (value[:2] == 0).all()
    (grad,) = torch.autograd.grad(value[2], p)
    assert (grad[:2] == 0).all()
    assert gradcheck(lambda p: fair_projection(p, cells, 0.0).value, (p,), eps=1e-7)


def test_equal_rates_stay_equal_in_the_gradient():
    p = torch.tensor([0.25, 0.5, 0.375], dtype=torch.float64, requires_grad=True)
    cells = Cells(torch.tensor([[0, 0, 1]]), (2,))

    def value(p):
        return fair_projection(p, cells, 0.0).value

    assert (value(p) == p).all()
    assert gradcheck(value, (p,))
    (grad,) = torch.autograd.grad(value(p)[2], p)
    assert torch.allclose(grad, torch.full((3,), 1 / 3, dtype=torch.float64))


def test_models_together_equal_models_alone():
    cells = one_partition(40, 4)[1]
    p = torch.stack([one_partition(40, 4, seed=s, spread=s)[0] for s in range(1, 7)]).view(2, 3, 40)
    together = fair_projection(p, cells, 0.02)
    assert together.shift.shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            alone = fair_projection(p[i, j], cells, 0.02).value
            assert (together.value[i, j] - alone).abs().max() < 1e-10


def test_a_row_of_weight_two_is_two_rows():
    p, cells = one_partition(30, 3)
    weight = torch.ones(30, dtype=torch.float64)
    weight[:10] = 2
    twice = torch.cat([p, p[:10]])
    doubled = Cells(torch.cat([cells.ids, cells.ids[:, :10]], 1), cells.blocks)
    expected = fair_projection(twice, doubled, 0.01).value[:30]
    found = fair_projection(p, cells, 0.01, weight=weight).value
    assert (found - expected).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_short_types_are_projected_in_float64(dtype):
    p, cells = one_partition(4096, 3, dtype=dtype)
    p.requires_grad_()
    found = fair_projection(p, cells, 0.01)
    exact = fair_projection(p.detach().double(), cells, 0.01)
    assert found.value.dtype == torch.float32
    assert found.residual < 1e-12
    assert (found.value - exact.value).abs().max() < 1e-7
    assert largest_gap(found.value.double(), cells) < 0.01 + 1e-7
    found.value.sum().backward()
    assert p.grad.dtype == dtype
    assert p.grad.isfinite().all()


def test_autocast_does_not_reach_in():
    p, cells = one_partition(512, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fair_projection(p, cells, 0.01).value
    assert torch.equal(found, fair_projection(p, cells, 0.01).value)


@pytest.mark.parametrize(
    ("ids", "p"),
    [
        ([[0]], [0.3]),  # one row
        ([[-1, -1]], [0.3, 0.9]),  # all unknown
        ([[1, 1]], [0.3, 0.9]),  # only one group
        ([[]], []),  # no row
    ],
)
@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_nothing_to_compare_changes_nothing(ids, p, distance):
    p = torch.tensor(p, requires_grad=True)
    cells = Cells(torch.tensor(ids, dtype=torch.long), (3,))
    value = fair_projection(p, cells, 0.0, distance=distance).value
    assert torch.allclose(value, p)
    value.sum().backward()
    assert torch.allclose(p.grad, torch.ones_like(p))


def test_absent_groups_and_groups_of_one_row_are_safe():
    p = torch.tensor([0.9, 0.1, 0.2], dtype=torch.float64)
    value = fair_projection(p, Cells(torch.tensor([[0, 3, 3]]), (5,)), 0.0).value
    # With one row of group 0 and two of group 3: shifts of 2 to 1, up to equal means.
    assert torch.allclose(value, torch.tensor([0.4, 0.35, 0.45], dtype=torch.float64))


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_distance_is_zero_on_the_fair_set_only(distance):
    p, cells = one_partition(64, 3)
    value = fair_projection(p, cells, 0.02, distance=distance).value
    away = projection_distance(p, value, distance=distance)
    again = fair_projection(value, cells, 0.02, distance=distance).value
    assert away > 1e-4
    assert abs(projection_distance(value, again, distance=distance)) < 1e-12
    saturated = torch.tensor([0.0, 1.0, 0.4], requires_grad=True)
    fair = saturated.detach()
    penalty = projection_distance(saturated, fair, distance=distance)
    penalty.backward()
    assert penalty == 0
    assert (saturated.grad == 0).all()
    nothing = torch.zeros(0)
    assert projection_distance(nothing, nothing, distance=distance) == 0


def test_penalty_descent_reaches_the_fair_set():
    p, sensitive, target = table(80)
    layer = FairProjection(GROUPS, epsilon=0.02, criterion="equal_opportunity")
    logits = p.logit().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    start = layer.penalty(p, sensitive, target).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = layer.penalty(torch.sigmoid(logits), sensitive, target)
        loss.backward()
        optimizer.step()
    assert loss.item() < start / 1000


def test_kl_says_when_saturated_probabilities_leave_no_solution():
    cells = Cells(torch.tensor([[0, 0, 1, 1]]), (2,))
    with pytest.raises(ArgumentError, match="kl cannot move"):
        fair_projection(torch.tensor([1.0, 1.0, 0.0, 0.0]), cells, 0.1, distance="kl")
    # The squared distance can; and kl can as long as other rows can move.
    assert fair_projection(torch.tensor([1.0, 1.0, 0.0, 0.0]), cells, 0.1).residual < 1e-9
    value = fair_projection(torch.tensor([1.0, 0.5, 0.0, 0.4]), cells, 0.1, distance="kl").value
    assert value[0] == 1
    assert value[2] == 0


GOOD = {
    "probabilities": torch.tensor([0.2, 0.4, 0.9]),
    "cells": Cells(torch.tensor([[0, 1, 1]]), (2,)),
    "epsilon": 0.1,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epsilon": -0.1}, "epsilon: found -0.1"),
        ({"epsilon": float("nan")}, "epsilon: found nan"),
        ({"probabilities": torch.tensor([0.2, float("nan"), 0.9])}, "probabilities: found NaN"),
        ({"probabilities": torch.tensor([0.2, 1.5, 0.9])}, "from 0 to 1.5"),
        ({"probabilities": torch.tensor([-2.0, 0.5, 0.9])}, "from -2 to 1"),
        ({"probabilities": torch.tensor([0, 1, 1])}, "floating-point"),
        ({"probabilities": torch.tensor(0.3)}, "floating-point"),
        ({"cells": Cells(torch.tensor([0, 1, 1]), (2,))}, "cells.ids"),
        ({"cells": Cells(torch.zeros(0, 3).long(), ())}, "cells.ids"),
        ({"cells": Cells(torch.tensor([[0, 1]]), (2,))}, "cells.ids"),
        ({"cells": Cells(torch.tensor([[0, 1, 2]]), (2,))}, "found cell 2"),
        ({"weight": torch.tensor([1.0, -1.0, 1.0])}, "weight"),
        ({"weight": torch.ones(2)}, "weight"),
        ({"distance": "squred"}, "did you mean 'squared'"),
    ],
)
def test_errors_name_the_cause(wrong, message):
    arguments = GOOD | wrong
    with pytest.raises(ArgumentError, match=message):
        fair_projection(**arguments)
    if "distance" not in wrong:
        with pytest.raises(ArgumentError, match=message):
            ConeProjection()(**arguments)


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
