"""The solver against cvxpy on the whole program, and its certificate against both."""

import itertools

import numpy as np
import pytest
import torch
from linear_problems import adult_batch, by_cvxpy, eight_groups, objective, problem

from fairlightning.convex.constraints import LogitBounds, LogitParity
from fairlightning.convex.linear import LinearBatch, fit_linear
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.groups import GroupSpec

CRITERIA = ["demographic_parity", "equal_opportunity", "equalized_odds"]
LOSSES = ["logistic", "squared_hinge", "hinge"]


def agrees(result, optimum):
    """The objective is that of cvxpy, and between the optimum and its lower bound."""
    assert result.objective == pytest.approx(optimum, rel=1e-5)
    assert result.bound <= optimum * (1 + 1e-7)
    assert result.violation <= 1e-6
    return True


@pytest.mark.parametrize("groups", [2, 8])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", [{"epsilon_logit": 0.1}, {"penalty": 0.05}])
def test_every_criterion_agrees_with_cvxpy(groups, loss, criterion, kind):
    batch, spec = problem(groups)
    asked = [LogitParity(criterion, **kind)]
    free = fit_linear(batch, loss=loss, l2=1e-3, tolerance=1e-6)
    result = fit_linear(batch, groups=spec, constraints=asked, loss=loss, l2=1e-3, tolerance=1e-6)
    assert result.status == "optimal"
    assert agrees(result, by_cvxpy(batch, spec, asked, loss)[0])
    assert result.objective > free.objective * (1 + 1e-4)  # the constraint binds


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("regularisation", [(1e-3, 1e-2), (0.0, 1e-2), (1e-3, 0.0)])
def test_l1_l2_and_weights_agree_with_cvxpy(loss, regularisation):
    batch, spec = problem(8, weighted=True)
    l2, l1 = regularisation
    options = dict(loss=loss, l2=l2, l1=l1, class_weight=(1.0, 2.5))
    asked = [LogitParity("equalized_odds", epsilon_logit=0.2)]
    result = fit_linear(batch, groups=spec, constraints=asked, tolerance=1e-6, **options)
    assert result.status == "optimal"
    assert agrees(result, by_cvxpy(batch, spec, asked, **options)[0])
    if l1:
        assert (np.abs(result.coefficients) < 1e-6).any()


def test_several_constraints_of_all_kinds_at_once():
    batch, spec = adult_batch(attributes=("sex", "race"))
    asked = [
        LogitParity("demographic_parity", epsilon_logit=0.2, attributes=["sex"]),
        LogitParity("equalized_odds", penalty=0.02),
        LogitParity("demographic_parity", epsilon_logit=1.5, intersections=True),
        LogitBounds(at_least=-0.8, attributes=["sex"]),
    ]
    result = fit_linear(batch, groups=spec, constraints=asked, l2=1e-3)
    assert agrees(result, by_cvxpy(batch, spec, asked)[0])
    names = [value.name for value in result.constraints]
    assert len(set(names)) == len(names)
    assert "demographic_parity/sex & race" in names
    assert "logit_bounds/equal_opportunity/sex=Female" in names
    by_name = {value.name: value for value in result.constraints}
    assert by_name["logit_bounds/equal_opportunity/sex=Female"].value >= -0.8 - 1e-7


def test_unregularised_logistic_regression_agrees_with_cvxpy():
    batch, spec = eight_groups()
    asked = [LogitParity(epsilon_logit=0.3)]
    result = fit_linear(batch, groups=spec, constraints=asked, l2=0.0)
    assert result.status == "optimal"
    assert agrees(result, by_cvxpy(batch, spec, asked, l2=0.0)[0])


def test_covariance_form():
    batch, spec = problem(2)
    asked = [LogitParity(epsilon_logit=0.05, form="covariance")]
    result = fit_linear(batch, groups=spec, constraints=asked, l2=1e-3)
    z = batch.sensitive[:, 0].double()
    logit = result.decision(batch.inputs)
    covariance = ((z - z.mean()) * logit).mean().abs().item()
    assert covariance == pytest.approx(0.05, abs=1e-7)
    assert result.constraints[0].value == pytest.approx(covariance, abs=1e-9)
    # Cov = p(1 − p)·gap for two groups.
    share = z.mean().item() * (1 - z.mean().item())
    gap = fit_linear(
        batch, groups=spec, constraints=[LogitParity(epsilon_logit=0.05 / share)], l2=1e-3
    )
    assert gap.objective == pytest.approx(result.objective, rel=1e-7)
    many, eight = eight_groups()
    result = fit_linear(many, groups=eight, constraints=asked, l2=1e-3)
    logit = result.decision(many.inputs)
    known = many.sensitive[:, 0] >= 0
    for group in range(8):
        z = (many.sensitive[known, 0] == group).double()
        assert ((z - z.mean()) * logit[known]).mean().abs() <= 0.05 + 1e-7


@pytest.mark.parametrize("loss", LOSSES)
def test_the_certificate_bounds_the_suboptimality_after_every_pass(loss):
    batch, spec = problem(8)
    asked = [LogitParity("equalized_odds", epsilon_logit=0.1), LogitParity(penalty=0.1)]
    options = dict(groups=spec, constraints=asked, loss=loss, l2=1e-3)
    exact = fit_linear(batch, **options, tolerance=1e-9)
    optimum = by_cvxpy(batch, spec, asked, loss)[0]
    assert exact.bound <= optimum + 1e-8
    for value, bound in exact.history:
        assert bound <= optimum + 1e-8
        assert value >= exact.bound
    early = fit_linear(batch, **options, max_passes=len(exact.history) // 2)
    assert early.status == "running"
    assert early.duality_gap >= early.objective - optimum - 1e-8


def test_kkt_conditions_hold_at_the_solution():
    batch, spec = problem(2)
    asked = [LogitParity(epsilon_logit=0.1)]
    result = fit_linear(batch, groups=spec, constraints=asked, l2=1e-3, tolerance=1e-12)
    (value,) = result.constraints
    theta = torch.tensor(result.theta, requires_grad=True)
    sign = 2.0 * batch.target - 1
    logit = batch.inputs @ theta[:-1] + theta[-1]
    sex = batch.sensitive[:, 0]
    gap = logit[sex == 1].mean() - logit[sex == 0].mean()
    loss = torch.nn.functional.softplus(-sign * logit).mean() + 5e-4 * theta[:-1].square().sum()
    (gradient,) = torch.autograd.grad(loss + value.multiplier * gap.abs(), theta)
    assert gradient.abs().max() < 1e-7
    assert value.value == pytest.approx(value.upper, abs=1e-9)
    assert value.multiplier > 0.01


@pytest.mark.parametrize("kind", ["gap", "bounds"])
def test_multipliers_are_the_slope_of_the_objective_in_the_bound(kind):
    batch, spec = problem(8)

    def solved(bound):
        if kind == "gap":
            asked = [LogitParity("equal_opportunity", epsilon_logit=bound)]
        else:
            asked = [LogitBounds(at_least=bound + 1.6)]
        return fit_linear(batch, groups=spec, constraints=asked, l2=1e-3, tolerance=1e-12)

    low, here, high = (solved(0.4 + shift) for shift in (-1e-4, 0, 1e-4))
    slope = (high.objective - low.objective) / 2e-4
    total = sum(value.multiplier for value in here.constraints)
    assert total == pytest.approx(abs(slope), rel=1e-3)
    assert total > 1e-3


def test_zero_epsilon_gives_equal_means():
    batch, spec = problem(8)
    asked = [LogitParity("equalized_odds", epsilon_logit=0.0)]
    result = fit_linear(batch, groups=spec, constraints=asked, l2=1e-3)
    assert result.status == "optimal"
    assert max(value.value for value in result.constraints) < 1e-8
    assert agrees(result, by_cvxpy(batch, spec, asked)[0])


def test_a_large_penalty_is_a_hard_constraint_and_none_is_none():
    batch, spec = problem(2)
    hard = fit_linear(batch, groups=spec, constraints=[LogitParity(epsilon_logit=0.0)], l2=1e-3)
    soft = fit_linear(batch, groups=spec, constraints=[LogitParity(penalty=10.0)], l2=1e-3)
    assert soft.objective == pytest.approx(hard.objective, rel=1e-7)
    free = fit_linear(batch, l2=1e-3)
    none = fit_linear(batch, groups=spec, constraints=[LogitParity(penalty=0.0)], l2=1e-3)
    loose = fit_linear(batch, groups=spec, constraints=[LogitParity(epsilon_logit=50.0)], l2=1e-3)
    assert none.objective == pytest.approx(free.objective, rel=1e-7)
    assert loose.objective == pytest.approx(free.objective, rel=1e-7)
    assert loose.constraints[0].multiplier < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_row_weights_are_repeated_rows(loss):
    batch, spec = eight_groups(rows=600)
    count = torch.arange(600) % 3
    repeated = LinearBatch(*(part.repeat_interleave(count, 0) for part in batch[:3]))
    weighted = batch._replace(weight=count.double())
    asked = [LogitParity("equalized_odds", epsilon_logit=0.1)]
    options = dict(groups=spec, constraints=asked, loss=loss, l2=1e-3, tolerance=1e-7)
    first, second = fit_linear(weighted, **options), fit_linear(repeated, **options)
    assert first.objective == pytest.approx(second.objective, rel=1e-6)
    assert first.left_out == second.left_out


@pytest.mark.parametrize("loss", LOSSES)
def test_a_stream_is_the_whole(loss):
    batch, spec = problem(8)
    cuts = [0, 1, 700, 701, 2000]
    stream = [LinearBatch(*(part[a:b] for part in batch[:3])) for a, b in itertools.pairwise(cuts)]
    asked = [LogitParity("equalized_odds", epsilon_logit=0.1)]
    options = dict(groups=spec, constraints=asked, loss=loss, l2=1e-3, tolerance=1e-7)
    whole, parts = fit_linear(batch, **options), fit_linear(stream, **options)
    assert parts.objective == pytest.approx(whole.objective, rel=1e-7)
    if loss != "hinge":
        assert parts.coefficients == pytest.approx(whole.coefficients, abs=1e-5)


def test_a_start_saves_passes_and_a_bad_one_does_no_harm():
    batch, spec = adult_batch()
    options = dict(groups=spec, constraints=[LogitParity(epsilon_logit=0.1)], l2=1e-3)
    found = fit_linear(batch, **options)
    near = fit_linear(batch, **(options | dict(l2=1.1e-3)), start=found.theta)
    assert near.passes < found.passes
    for start in (100 * np.ones_like(found.theta), np.zeros_like(found.theta)):
        again = fit_linear(batch, **options, start=start)
        assert again.objective == pytest.approx(found.objective, rel=1e-7)
        assert again.status == "optimal"


def test_label_codings_agree():
    batch, spec = problem(2)
    options = dict(groups=spec, constraints=[LogitParity("equalized_odds", epsilon_logit=0.1)])
    first = fit_linear(batch, **options)
    second = fit_linear(batch._replace(target=2 * batch.target - 1), **options)
    assert first.objective == second.objective
    with pytest.raises(ArgumentError, match="target: found labels"):
        fit_linear(batch._replace(target=batch.target + 1), **options)


def test_absent_groups_are_left_out_and_named():
    batch, _ = problem(8)
    spec = GroupSpec({"group": range(10)})
    target = torch.where(batch.sensitive[:, 0] == 3, 0, batch.target)
    asked = [LogitParity("equal_opportunity", epsilon_logit=0.1)]
    result = fit_linear(batch._replace(target=target), groups=spec, constraints=asked)
    assert result.left_out == (
        "equal_opportunity: group=3 (label=1)",
        "equal_opportunity: group=8 (label=1)",
        "equal_opportunity: group=9 (label=1)",
    )
    known = (batch.sensitive[:, 0] != 3) & (batch.sensitive[:, 0] >= 0) & (target == 1)
    logit = result.decision(batch.inputs)[known]
    group = batch.sensitive[known, 0]
    rates = [logit[group == g].mean().item() for g in group.unique()]
    assert max(rates) - min(rates) == pytest.approx(0.1, abs=1e-7)
    one = batch._replace(sensitive=torch.zeros_like(batch.sensitive))
    with pytest.raises(ArgumentError, match="fewer than two groups"):
        fit_linear(one, groups=spec, constraints=asked)


def test_contradictory_constraints_are_named():
    batch, spec = adult_batch(attributes=("sex", "race"))
    asked = [
        LogitParity("equalized_odds", epsilon_logit=0.3, attributes=["sex"]),
        LogitBounds(at_least=1.0, criterion="demographic_parity", attributes=["sex"]),
        LogitBounds(at_most=0.5, criterion="demographic_parity", attributes=["race"]),
    ]
    with pytest.raises(ArgumentError, match="no coefficients satisfy together") as raised:
        fit_linear(batch, groups=spec, constraints=asked)
    assert "logit_bounds/demographic_parity/sex=" in str(raised.value)
    assert "logit_bounds/demographic_parity/race=" in str(raised.value)
    assert "equalized_odds" not in str(raised.value).split("expected")[0]


def separable(rows=200):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=random, dtype=torch.float64).repeat(2, 1)
    # The same rows in both groups: no coefficients open a gap.
    group = torch.arange(2).repeat_interleave(rows)[:, None]
    return LinearBatch(x, (x[:, 1] > 0).long(), group), GroupSpec({"g": [0, 1]})


def test_a_constraint_can_bound_what_is_separable_without_it():
    batch, spec = separable()
    shifted = batch.inputs + 0.3 * batch.sensitive * torch.tensor([0.0, 1.0, 0.0])
    shifted = batch._replace(inputs=shifted, target=(shifted[:, 1] > 0).long())
    result = fit_linear(shifted, groups=spec, constraints=[LogitParity(epsilon_logit=0.1)], l2=0.0)
    assert result.status == "optimal"
    with pytest.raises(ArgumentError, match="separable labels"):
        fit_linear(shifted, l2=0.0)


@pytest.mark.parametrize("asked", [[], [LogitParity(epsilon_logit=0.1)]])
def test_an_unbounded_problem_names_the_direction(asked):
    batch, spec = separable()
    with pytest.raises(ArgumentError, match=r"l2: found 0 with separable labels.*column 1"):
        fit_linear(batch, groups=spec, constraints=asked, l2=0.0)
    # A single rare column that tells the label is enough; hinges reach their minimum.
    rare = eight_groups()[0]
    flag = torch.zeros(2000, 1, dtype=torch.float64)
    flag[int(rare.target.nonzero()[0])] = 1
    rare = rare._replace(inputs=torch.cat([rare.inputs, flag], 1))
    with pytest.raises(ArgumentError, match=r"column 12\b"):
        fit_linear(rare, l2=0.0)
    for loss in ("squared_hinge", "hinge"):
        result = fit_linear(batch, groups=spec, constraints=asked, l2=1e-9, loss=loss)
        assert result.objective < 0.2
    assert fit_linear(batch, l2=1e-4).status == "optimal"


def test_one_label_only_is_unbounded_without_regularisation_of_the_intercept():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ArgumentError, match=r"separable labels.*intercept"):
        fit_linear(LinearBatch(x, torch.ones(20)), l2=0.0)


def test_float32_and_columns_of_zeros_are_fine():
    batch, spec = adult_batch(rows=3000)
    padded = torch.cat([batch.inputs, torch.zeros(3000, 2)], 1)
    asked = [LogitParity(epsilon_logit=0.1)]
    exact = fit_linear(batch, groups=spec, constraints=asked)
    short = fit_linear(
        batch._replace(inputs=padded.float()), groups=spec, constraints=asked, l2=1e-4
    )
    assert short.objective == pytest.approx(exact.objective, rel=1e-6)
    assert (short.coefficients[-2:] == 0).all()


class Changing:
    def __init__(self, batch):
        self.batch, self.times = batch, 0

    def __iter__(self):
        self.times += 1
        yield LinearBatch(*(part[self.times :] for part in self.batch[:3]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(loss="hinged"), "did you mean 'hinge'"),
        (dict(l2=-1.0), "l2: found -1.0"),
        (dict(l1=float("nan")), "l1: found nan"),
        (dict(class_weight=(1.0, -1.0)), "class_weight"),
        (dict(tolerance=0.0), "tolerance"),
        (dict(groups=None), "groups: found None"),
        (dict(constraints=[dict(criterion="parity", epsilon_logit=0.1)]), "criterion"),
        (dict(constraints=[dict(epsilon_logit=-0.1)]), "epsilon_logit: found -0.1"),
        (dict(constraints=[dict(epsilon_logit=0.1, penalty=1.0)]), "exactly one"),
        (dict(constraints=[dict()]), "exactly one"),
        (dict(constraints=[dict(at_least=1.0, at_most=0.0)]), "at_least, at_most"),
        (dict(constraints=[dict(epsilon_logit=0.1, attributes=["age"])]), "attribute"),
        (dict(constraints=dict(epsilon_logit=0.1)), "constraints: found 'epsilon_logit'"),
        (dict(constraints=[dict(epsilon=0.1)]), "did you mean 'epsilon_logit'"),
        (dict(constraints=[dict(at_least=1.0, penalty=1.0)]), "LogitBounds: found 'penalty'"),
        (dict(max_passes=0), "max_passes: found 0"),
        (dict(start=np.full(13, np.nan)), "start: found"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    batch, spec = eight_groups(rows=50)
    options = dict(groups=spec, constraints=[LogitParity(epsilon_logit=0.1)])
    with pytest.raises(ArgumentError, match=message):
        fit_linear(batch, **(options | wrong))


def test_wrong_rows_are_named():
    batch, spec = eight_groups(rows=50)
    options = dict(groups=spec, constraints=[LogitParity(epsilon_logit=0.1)])
    broken = batch.inputs.clone()
    broken[3, 1] = float("nan")
    for change, message in [
        (dict(inputs=broken), "not finite"),
        (dict(inputs=batch.inputs[:, 0]), "shape"),
        (dict(sensitive=None), "sensitive: found None"),
        (dict(sensitive=batch.sensitive + 1), "sensitive: found codes"),
        (dict(weight=-torch.ones(50)), "weight: found weights"),
        (dict(weight=torch.zeros(50)), "total weight of 0.0"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            fit_linear(batch._replace(**change), **options)
    with pytest.raises(SetupError, match="other rows than in the first pass"):
        fit_linear(Changing(batch), **options)
    with pytest.raises(ArgumentError, match="a generator"):
        fit_linear((part for part in [batch]), **options)
    with pytest.raises(ArgumentError, match="no rows"):
        fit_linear([], **options)


def test_a_result_without_a_proof_has_the_constraints_of_its_coefficients():
    batch, spec = problem(2)
    result = fit_linear(batch, groups=spec, constraints=[dict(at_least=1.0)], max_passes=1)
    assert result.status == "running"
    logit, positive = result.decision(batch.inputs), batch.target == 1
    for sex, found in enumerate(result.constraints):
        mean = logit[positive & (batch.sensitive[:, 0] == sex)].mean().item()
        assert found.value == pytest.approx(mean)
    assert len(result.constraints) == 2


def test_text_says_what_is_proved():
    batch, spec = problem(2)
    asked = [LogitParity(epsilon_logit=0.1), LogitParity("equal_opportunity", penalty=0.01)]
    text = str(fit_linear(batch, groups=spec, constraints=asked, l2=1e-3))
    assert "optimal after" in text
    assert "demographic_parity/sex: logit gap 0.1 (at most 0.1)" in text
    assert "equal_opportunity/sex: logit gap" in text
    assert "penalised" in text


def test_objective_is_what_it_says():
    batch, _ = problem(2, weighted=True)
    for loss in LOSSES:
        result = fit_linear(batch, loss=loss, l2=1e-3, l1=1e-3, tolerance=1e-5)
        value = objective(batch, result.coefficients, result.intercept, loss, l1=1e-3)
        assert result.objective == pytest.approx(value, rel=1e-12)
