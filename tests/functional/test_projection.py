import pytest
import torch
from fair_batches import CRITERIA, GROUPS, by_cvxpy, largest_gap, one_partition, table
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fairlightning.convex.cone import ConeProjection
from fairlightning.exceptions import ArgumentError
from fairlightning.functional.projection import (
    Cells,
    fair_projection,
    parity_cells,
    projection_distance,
)


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


def drawn(rows, sizes, spread, seed):
    random = torch.Generator().manual_seed(seed)
    ids, first = [], 0
    for size in sizes:
        group = torch.randint(-1, size, (rows,), generator=random)
        ids.append(torch.where(group < 0, -1, group + first))
        first += size
    cells = Cells(torch.stack(ids), tuple(sizes))
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64)
    return torch.sigmoid(logit + spread * (cells.ids[0] % 2)), cells


def members(cells):
    ids = torch.arange(sum(cells.blocks))
    return (cells.ids[:, None] == ids[:, None]).any(0).double()


@given(
    st.integers(1, 40),
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    st.sampled_from([0.3, 2.0, 8.0, 40.0]),
    st.integers(0, 10**6),
)
@example(8, [5, 3, 5], 0.01, 40.0, 2)  # long flat slopes of the dual
@example(4, [4, 4], 0.01, 0.3, 36139)  # huge shifts that cancel
@example(4, [5, 3, 4], 0.01, 8.0, 746435)
@settings(max_examples=100, deadline=None)
def test_any_pattern_of_groups_is_projected_to_the_optimum(rows, sizes, epsilon, spread, seed):
    p, cells = drawn(rows, sizes, spread, seed)
    found = fair_projection(p, cells, epsilon)
    assert largest_gap(found.value, cells) <= epsilon + 1e-8
    assert found.value.min() >= 0
    assert found.value.max() <= 1
    free = (cells.ids < 0).all(0)
    assert (found.value[free] == p[free]).all()
    # No feasible point is nearer: a certificate that does not come from the solver. The dual value
    # of its shifts is a lower bound, so that the distance is the least where the two agree.
    member, shift = members(cells), found.shift.reshape(-1)
    pushed = shift @ member
    moved = (p - pushed).clamp(0, 1)
    lagrangian = ((moved - p).square() / 2 + moved * pushed).sum()
    bound = lagrangian - (member.sum(1) * shift.abs()).sum() * epsilon / 2
    assert abs(bound - (found.value - p).square().sum() / 2) < 1e-7
    multiplier = member.sum(1) * shift
    assert all(abs(part.sum()) < 1e-8 for part in multiplier.split(list(sizes)))
    again = fair_projection(found.value, cells, epsilon + 1e-8).value
    assert (again - found.value).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("rows", "sizes", "epsilon", "seed"),
    [
        (16, [4, 2, 5], 0.01, 820483),
        (26, [4], 0.0, 905509),
        (25, [2, 3], 0.01, 676786),
        (9, [4], 0.1, 527467),
        (27, [3, 5, 5], 0.01, 856601),
    ],
)
def test_kl_projects_saturated_scores_to_the_optimum(rows, sizes, epsilon, seed):
    p, cells = drawn(rows, sizes, 40.0, seed)
    found = fair_projection(p, cells, epsilon, distance="kl")
    assert largest_gap(found.value, cells) <= epsilon + 1e-8
    member, shift = members(cells), found.shift.reshape(-1)
    pushed = shift @ member
    # log(p·e^-s + 1 - p) is the least divergence plus s·x; in a form for shifts of hundreds.
    lagrangian = -torch.logaddexp(p.log() - pushed, (-p).log1p()).sum()
    bound = lagrangian - (member.sum(1) * shift.abs()).sum() * epsilon / 2
    distance = projection_distance(p, found.value, distance="kl") * rows
    assert abs(bound - distance) < 1e-6


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
@pytest.mark.parametrize("partitions", [[("race",)], [("sex",), ("race",)]])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradcheck(distance, epsilon, partitions, weighted):
    shape = (2,) if weighted else ()
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
    # The penalty leaves the gradient of the projection out. All perturbations are models together.
    step = 1e-6 * torch.eye(p.numel(), dtype=p.dtype).view(-1, *p.shape)
    numeric = (penalty(p + step) - penalty(p - step)).detach() / 2e-6
    numeric = numeric.sum(-1) if shape else numeric
    (grad,) = torch.autograd.grad(penalty(p).sum(), p)
    assert torch.allclose(grad.flatten(), numeric, atol=1e-7)


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
        ({"cells": Cells(torch.zeros(0, 3).long(), (2,))}, "cells.ids"),
        ({"cells": Cells(torch.tensor([[0, 1]]), (2,))}, "cells.ids"),
        ({"cells": Cells(torch.tensor([[0, 1, 2]]), (2,))}, "found cells 0 to 2"),
        ({"cells": Cells(torch.tensor([[0, 1, -2]]), (2,))}, "found cells -2 to 1"),
        ({"cells": Cells(torch.tensor([[0.0, 1, 1]]), (2,))}, "cells.ids"),
        ({"cells": Cells(torch.tensor([[0, 1, 1]]), (0, 2))}, "cells.blocks"),
        ({"cells": Cells(torch.tensor([[-1, -1, -1]]), ())}, "cells.blocks"),
        ({"weight": torch.tensor([1.0, float("inf"), 1.0])}, "weight.*finite"),
        ({"probabilities": torch.ones(3, device="meta")}, "meta device"),
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


def test_no_models_and_no_rows():
    cells = Cells(torch.zeros(1, 3, dtype=torch.long), (2,))
    assert fair_projection(torch.zeros(0, 3), cells, 0.1).value.shape == (0, 3)
    nobody = Cells(torch.zeros(1, 0, dtype=torch.long), (2,))
    assert fair_projection(torch.zeros(4, 0), nobody, 0.1).value.shape == (4, 0)
    empty = torch.zeros(2, 0, requires_grad=True)
    distance = projection_distance(empty, fair_projection(empty, nobody, 0.1).value)
    distance.sum().backward()
    assert distance.tolist() == [0, 0]


def test_compiled_code_steps_out_and_gives_the_same():
    torch.compiler.reset()
    p, cells = one_partition(64, 3)

    def loss(p):
        return (fair_projection(2 * p / 2, cells, 0.02).value * p).sum()

    compiled = torch.compile(loss, backend="aot_eager")
    p.requires_grad_()
    assert torch.allclose(compiled(p), loss(p))
    ours, theirs = (torch.autograd.grad(f(p), p)[0] for f in (compiled, loss))
    assert torch.allclose(ours, theirs)
