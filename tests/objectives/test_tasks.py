"""Penalties and adversary on several classes, regression and continuous attributes."""

import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import Rates, parity_gap
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    Adversary,
    BoundedGroupLoss,
    CalibrationPenalty,
    DependencePenalty,
    Fairness,
    GroupDRO,
    ParityPenalty,
    ProjectionPenalty,
    RateConstraint,
    Step,
)
from fairlightning.objectives.dependence import MEASURES

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})
AGE = GroupSpec({"sex": ["F", "M"], "age": ["young", "old"]}, continuous=["age"])


def rows(task, count=90, classes=3, models=(), seed=0):
    random = torch.Generator().manual_seed(seed)
    outputs = classes if task == "multiclass" else 1
    logits = torch.randn(*models, count, outputs, generator=random, dtype=torch.float64)
    codes = [torch.randint(-1, size, (count,), generator=random) for size in (2, 3)]
    target = torch.randint(0, classes, (count,), generator=random)
    if task == "regression":
        target = torch.randn(count, generator=random, dtype=torch.float64)
    return Step(logits, target, torch.stack(codes, 1), task=task)


def gap_of(values, groups, count, rows=None):
    """Largest difference of mean values between groups, by definition."""
    inside = torch.ones_like(groups, dtype=torch.bool) if rows is None else rows
    means = [values[inside & (groups == g)].mean() for g in range(count)]
    return max(means) - min(means)


def expected_gap(criterion, step, axis, count):
    group, target = step.sensitive[:, axis], step.target
    if step.task == "regression":
        found = {
            "demographic_parity": step.logits[:, 0],
            "balanced_residuals": step.logits[:, 0] - target,
            "accuracy_parity": (step.logits[:, 0] - target).abs(),
        }
        return gap_of(found[criterion], group, count)
    p = step.logits.softmax(-1)
    if criterion == "accuracy_parity":
        return gap_of(p.gather(1, target[:, None])[:, 0], group, count)
    gaps = []
    for c in range(p.shape[1]):
        label = target == c
        if criterion == "demographic_parity":
            gaps.append(gap_of(p[:, c], group, count))
        if criterion in ("equal_opportunity", "equalized_odds"):
            gaps.append(gap_of(p[:, c], group, count, label))
        if criterion == "equalized_odds":
            gaps.append(gap_of(p[:, c], group, count, ~label))
        if criterion == "predictive_parity":
            precision = [
                (p[:, c] * label)[group == g].sum() / p[group == g, c].sum() for g in range(count)
            ]
            gaps.append(max(precision) - min(precision))
    return max(gaps)


CASES = [
    *(("multiclass", c) for c in ("demographic_parity", "equal_opportunity", "equalized_odds")),
    *(("multiclass", c) for c in ("predictive_parity", "accuracy_parity")),
    *(("regression", c) for c in ("demographic_parity", "balanced_residuals", "accuracy_parity")),
]


@pytest.mark.parametrize(("task", "criterion"), CASES)
def test_parity_by_definition_in_pieces_and_for_several_models(task, criterion):
    batch = rows(task, models=(2,))
    penalty = ParityPenalty(GROUPS, criterion=criterion)
    found = penalty(batch).value
    for k in range(2):
        one = batch._replace(logits=batch.logits[k])
        both = [expected_gap(criterion, one, axis, size) for axis, size in ((0, 2), (1, 3))]
        assert torch.allclose(found[k], sum(both) / 2)
        pieces = [
            penalty.sums(Step(one.logits[s], one.target[s], one.sensitive[s], task=task))
            for s in (slice(0, 31), slice(31, 90))
        ]
        whole = [sum(parts) for parts in zip(*pieces, strict=True)]
        assert torch.allclose(penalty.term(whole).value, found[k])
    crossed = ParityPenalty(GROUPS, criterion=criterion, gap="squared", intersections=True)
    logits = batch.logits[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: crossed(batch._replace(logits=x)).value, (logits,), atol=1e-6
    )


def ordinal_gap(criterion, step, axis, count):
    """Largest gap of the probabilities to reach a class, by definition."""
    group, p, gaps = step.sensitive[:, axis], step.logits.softmax(-1), []
    for k in (1, 2):
        reached, label = p[:, k:].sum(-1), step.target >= k
        conditions = {
            "demographic_parity": [None],
            "equal_opportunity": [label],
            "equalized_odds": [label, ~label],
        }
        if criterion == "predictive_parity":
            precision = [
                (reached * label)[group == g].sum() / reached[group == g].sum()
                for g in range(count)
            ]
            gaps.append(max(precision) - min(precision))
        else:
            gaps += [gap_of(reached, group, count, rows) for rows in conditions[criterion]]
    return max(gaps)


@pytest.mark.parametrize(
    "criterion", ["demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity"]
)
def test_ordered_classes_are_compared_by_who_reaches_them(criterion):
    batch = rows("multiclass", models=(2,))
    fairness = Fairness(GROUPS, task=Task("multiclass", ("low", "middle", "high"), ordered=True))
    fairness.add("parity", ParityPenalty(GROUPS, criterion=criterion))
    for k in range(2):
        one = batch._replace(logits=batch.logits[k])
        both = [ordinal_gap(criterion, one, axis, size) for axis, size in ((0, 2), (1, 3))]
        fairness(torch.tensor(0.0, dtype=torch.float64), one)
        assert torch.allclose(fairness.last.losses.parts["parity"], sum(both) / 2)
    alone = ParityPenalty(GROUPS, criterion=criterion)(batch._replace(ordered=True)).value
    assert torch.allclose(alone[1], fairness.last.losses.parts["parity"])
    crossed = ParityPenalty(GROUPS, criterion=criterion, gap="squared", intersections=True)
    logits = one.logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: crossed(one._replace(logits=x, ordered=True)).value, (logits,), atol=1e-6
    )


def test_a_shift_to_the_next_class_is_no_ordinal_gap_where_classes_swap_far():
    # F: half low, half high; M: all middle. No class is alike, but the shares that reach one differ
    # by half at most, where classes without an order differ by a whole.
    sure = 50 * torch.eye(3, dtype=torch.float64)
    logits = sure[torch.tensor([0, 2, 1, 1])]
    group, target = torch.tensor([[0], [0], [1], [1]]), torch.zeros(4, dtype=torch.long)
    step = Step(logits, target, group, task="multiclass")
    penalty = ParityPenalty(GroupSpec({"sex": ["F", "M"]}))
    assert penalty(step).value.item() == pytest.approx(1.0)
    assert penalty(step._replace(ordered=True)).value.item() == pytest.approx(0.5)


def test_two_classes_are_the_binary_target():
    batch = rows("binary", classes=2)
    both = torch.cat([torch.zeros_like(batch.logits), batch.logits], -1)
    pair = batch._replace(logits=both, task="multiclass")
    for criterion in ("demographic_parity", "equalized_odds", "accuracy_parity"):
        penalty = ParityPenalty(GROUPS, criterion=criterion)
        assert torch.allclose(penalty(pair).value, penalty(batch).value)
    for measure in set(MEASURES) - {"mutual_information"}:
        penalty = DependencePenalty(GROUPS, measure=measure)
        assert torch.allclose(penalty(pair).value, penalty(batch).value, atol=1e-9), measure
    for made in (CalibrationPenalty(GROUPS), GroupDRO(GROUPS), BoundedGroupLoss(GROUPS, zeta=0.1)):
        assert torch.allclose(made(pair).value, made(batch).value)


@pytest.mark.parametrize("measure", MEASURES)
def test_dependence_averages_over_classes(measure):
    batch = rows("multiclass", models=(2,))
    penalty = DependencePenalty(GROUPS, measure=measure)
    p = batch.logits.softmax(-1)
    each = [
        penalty(batch._replace(logits=p[..., c : c + 1].logit(), task="binary")).value
        for c in range(3)
    ]
    assert torch.allclose(penalty(batch).value, sum(each) / 3, atol=1e-9)
    if measure != "mutual_information":
        regression = rows("regression")
        assert penalty(regression).value > 0
        doubled = regression._replace(target=2 * regression.target)
        assert torch.allclose(penalty(doubled).value, penalty(regression).value)


def aged(count=400, models=(), unknown=0.2):
    random = torch.Generator().manual_seed(1)
    age = torch.randn(count, generator=random, dtype=torch.float64)
    noise = torch.randn(*models, count, generator=random, dtype=torch.float64)
    age[torch.rand(count, generator=random) < unknown] = torch.nan
    sensitive = torch.stack([torch.randint(0, 2, (count,), generator=random), age > 0], 1).long()
    target = torch.randint(0, 2, (count,), generator=random)
    return Step(noise.unsqueeze(-1), target, sensitive, continuous=age.unsqueeze(-1))


@pytest.mark.parametrize("measure", ["correlation", "hsic", "hgr"])
def test_continuous_attributes_by_definition(measure):
    batch = aged(models=(2,))
    penalty = DependencePenalty(AGE, measure=measure, attributes=["age"])
    term = penalty(batch)
    age = batch.continuous[:, 0]
    known = ~age.isnan()
    assert term.support["age"].tolist() == [[known.sum().item()]]
    scores = batch.logits[..., 0].sigmoid()[:, known]
    age = age[known]
    for k in range(2):
        if measure == "correlation":
            expected = torch.corrcoef(torch.stack([scores[k], age]))[0, 1].square()
        elif measure == "hsic":
            n = len(age)
            center = torch.eye(n, dtype=torch.float64) - 1 / n
            kernels = [
                (-torch.cdist(x[:, None], x[:, None]).square() / (2 * s**2)).exp()
                for x, s in ((scores[k], 0.25), (age, 1.0))
            ]
            expected = (kernels[0] @ center @ kernels[1] @ center).trace() / n**2
        else:
            centres = torch.linspace(0, 1, 6), torch.linspace(-2.5, 2.5, 6)
            bins = [
                (1 - (x.clamp(c[0], c[-1]) - c[:, None]).abs() / (c[1] - c[0])).clamp_min(0)
                for x, c in zip((scores[k], age), centres, strict=True)
            ]
            joint = torch.einsum("un,vn->uv", *bins) / len(age)
            apart = joint.sum(1, keepdim=True) * joint.sum(0)
            expected = (joint.square() / apart.clamp_min(1e-300)).sum() - 1
        assert torch.allclose(term.value[k], expected), measure
    both = DependencePenalty(AGE, measure=measure)
    sex = DependencePenalty(AGE, measure=measure, attributes=["sex"])
    assert torch.allclose(both(batch).value, (sex(batch).value + term.value) / 2)
    odds = DependencePenalty(AGE, measure=measure, criterion="equalized_odds")
    logits = batch.logits[0, :40].clone().requires_grad_()
    part = Step(logits, *(x[:40] for x in batch[1:3]), continuous=batch.continuous[:40])
    assert torch.autograd.gradcheck(lambda x: odds(part._replace(logits=x)).value, (logits,))
    nobody = part._replace(continuous=torch.full_like(part.continuous, torch.nan))
    (gradient,) = torch.autograd.grad(penalty(nobody).value, logits)
    assert penalty(nobody).value == 0
    assert (gradient == 0).all()


def test_descent_makes_scores_independent_of_the_value():
    random = torch.Generator().manual_seed(0)
    age = torch.randn(300, 1, generator=random)
    # No correlation, and yet the score follows from the age.
    logits = (age.square() - 1).requires_grad_()
    batch = Step(logits, (age[:, 0] > 0).long(), torch.zeros(300, 2).long(), continuous=age)
    found = {m: DependencePenalty(AGE, measure=m, attributes=["age"]) for m in ("hsic", "hgr")}
    optimizer = torch.optim.Adam([logits], lr=0.1)
    before = {m: penalty(batch).value.item() for m, penalty in found.items()}
    for _ in range(100):
        optimizer.zero_grad()
        sum(penalty(batch).value for penalty in found.values()).backward()
        optimizer.step()
    assert all(found[m](batch).value < value / 5 for m, value in before.items())


def test_adversary_guesses_values_and_sees_classes():
    batch = aged()
    adversary = Adversary(AGE, in_features=1, feed="logits", attributes=["age"]).double()
    known = ~batch.continuous[:, 0].isnan()
    error = adversary.head(batch.logits)[known] - batch.continuous[known]
    term = adversary(batch)
    assert torch.allclose(term.own, error.square().mean() / 2)
    assert term.support["age"] == known.sum()
    both = Adversary(AGE, in_features=1, feed="logits").double()
    assert both(batch).support.keys() == {"sex", "age"}
    several = rows("multiclass")
    sizes = {"logits": 3, "representation": 5, "target": 3}
    conditional = Adversary.build(GROUPS, sizes, feed="logits", criterion="equalized_odds").double()
    assert conditional.head[0].in_features == 6
    assert conditional(several).own > 0
    amounts = Adversary.build(
        GROUPS, {"logits": 1, "target": 1}, feed="logits", criterion="equalized_odds"
    ).double()
    assert amounts(rows("regression")).own > 0


def test_fairness_refuses_tasks_by_name_and_standardises_amounts():
    for objective in (
        RateConstraint(GROUPS, epsilon=0.1),
        ProjectionPenalty(GROUPS),
        ParityPenalty(GROUPS, criterion="equal_opportunity"),
        ParityPenalty(GROUPS, gap="ratio"),
        DependencePenalty(GROUPS, measure="mutual_information"),
        CalibrationPenalty(GROUPS),
    ):
        fairness = Fairness(GROUPS, task="regression")
        with pytest.raises(ArgumentError, match=f"'regression' for {type(objective).__name__}"):
            fairness.add("it", objective)
    for made in (DependencePenalty, Adversary, ProjectionPenalty, RateConstraint):
        options = {"epsilon": 0.1} if made is RateConstraint else {}
        options |= {"in_features": 1} if made is Adversary else {}
        with pytest.raises(ArgumentError, match=f"'predictive_parity' for {made.__name__}"):
            made(GROUPS, criterion="predictive_parity", **options)
    with pytest.raises(ArgumentError, match="continuous"):
        DependencePenalty(AGE, measure="mmd")
    batch = rows("regression")
    plain = ParityPenalty(GROUPS)(batch).value
    scaled = Fairness(GROUPS, task=Task("regression", center=50.0, scale=10.0))
    scaled.add("parity", ParityPenalty(GROUPS))
    raw = batch._replace(logits=10 * batch.logits + 50, target=10 * batch.target + 50)
    scaled(torch.tensor(0.0), raw)
    assert torch.allclose(scaled.last.losses.parts["parity"], plain)
    assert torch.equal(scaled.last.step.logits, raw.logits)
    for task, wrong in (("multiclass", rows("regression")), ("regression", rows("multiclass"))):
        with pytest.raises(ArgumentError, match="logits: found shape"):
            Fairness(GROUPS, task=task).eval()(torch.tensor(0.0), wrong)


@pytest.mark.parametrize("measure", ["correlation", "hgr", "hsic", "mmd"])
def test_measures_with_a_scale_of_their_own_refuse_amounts_in_raw_units(measure):
    batch = rows("regression")
    hours = batch._replace(logits=5 * batch.logits + 35, target=5 * batch.target + 35)

    def look(task, batch):
        fairness = Fairness(GROUPS, task=task)
        fairness.add("dependence", DependencePenalty(GROUPS, measure=measure))
        return fairness(torch.tensor(0.0), batch)

    assert torch.allclose(
        look("regression", batch), look(Task("regression", center=35.0, scale=5.0), hours)
    )
    with pytest.raises(ArgumentError, match=r"target: found values from 2.* center=mean"):
        look("regression", hours)
    with pytest.raises(ArgumentError, match="mean 0"):
        look("regression", batch._replace(target=1e4 * batch.target))


def test_continuous_values_are_finite_and_standardised():
    fairness = Fairness(AGE).eval()
    batch = aged()

    def look(values):
        fairness(torch.tensor(0.0), batch._replace(continuous=values))

    ages = batch.continuous
    look(ages)
    look(ages[..., 0])
    look(ages.exp().square())  # skewed, as incomes are
    look(torch.full_like(ages, torch.nan))
    with pytest.raises(ArgumentError, match=r"continuous: found values from 1.* mean 0"):
        look(13 * ages.abs() + 17)
    with pytest.raises(ArgumentError, match=r"found values from .* to inf"):
        look(torch.where(ages > 2, torch.inf, ages))
    few = Step(batch.logits[:4], *(x[:4] for x in batch[1:3]), continuous=ages[:4] + 40)
    fairness(torch.tensor(0.0), few)  # too few to tell


def test_four_fifths_is_what_the_ratio_lacks():
    rates = Rates(torch.tensor([[0.2, 0.5, 0.9]]), torch.tensor([[5.0, 5.0, 0.0]]))
    assert parity_gap(rates, "ratio").item() == pytest.approx(0.8 - 0.4)
    kept = Rates(torch.tensor([[0.45, 0.5]]), torch.tensor([[5.0, 5.0]]))
    assert parity_gap(kept, "ratio") == 0
    assert parity_gap(Rates(torch.zeros(1, 2), torch.ones(1, 2)), "ratio") == 0


BEYOND = {
    "classes": (ParityPenalty(GROUPS, criterion="predictive_parity"), rows("multiclass")),
    "calibration": (CalibrationPenalty(GROUPS, debiased=False), rows("multiclass")),
    "hsic": (DependencePenalty(AGE, measure="hsic"), aged(60)),
    "hgr": (DependencePenalty(AGE, measure="hgr", criterion="equalized_odds"), aged(60)),
    "adversary": (Adversary(AGE, in_features=1, feed="logits").double(), aged(60)),
}


@pytest.mark.parametrize("name", BEYOND)
def test_compiles_maps_over_models_and_takes_row_weights(name):
    torch.compiler.reset()
    penalty, batch = BEYOND[name]

    def value(logits):
        return penalty(batch._replace(logits=logits)).shown

    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(batch.logits), value(batch.logits))
    models = torch.stack([batch.logits, 1 - batch.logits])
    looped = torch.stack([value(logits) for logits in models])
    assert torch.allclose(torch.vmap(value)(models), looped)
    assert torch.allclose(value(models), looped)
    count = torch.arange(len(batch.target)) % 3
    fields = {
        name: part.repeat_interleave(count, 0)
        for name, part in batch._asdict().items()
        if isinstance(part, torch.Tensor)
    }
    repeated = batch._replace(**fields)
    weighted = batch._replace(row_weight=count.double())
    assert torch.allclose(penalty(weighted).shown, penalty(repeated).shown)
