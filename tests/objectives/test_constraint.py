"""Rate constraints: what they measure, and how they answer."""

import pytest
import torch
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)

from fairlightning.data import adult
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    DualAscent,
    Fairness,
    RateConstraint,
    Step,
    WeightedSum,
)

TWO = GroupSpec({"sex": ["F", "M"]})


@pytest.fixture(scope="module")
def table():
    """Adult's test rows with scores that depend on label and age."""
    data = adult(seed=0)
    data.setup()
    batch = data.batch("test")
    noise = torch.randn(len(batch.target), generator=torch.Generator().manual_seed(0))
    logits = 2.0 * batch.target - 1.5 + batch.inputs[0][:, 0] + noise
    return data.groups, Step(logits.unsqueeze(-1), batch.target, batch.sensitive)


def frame(metric, groups, step, name):
    kept = step.sensitive[:, groups.names.index(name)] >= 0
    decided = (step.logits[:, 0] >= 0).long()
    return MetricFrame(
        metrics=metric,
        y_true=step.target[kept],
        y_pred=decided[kept],
        sensitive_features=step.sensitive[kept, groups.names.index(name)],
    )


GAPS = {
    "demographic_parity": demographic_parity_difference,
    "equal_opportunity": equal_opportunity_difference,
    "equalized_odds": equalized_odds_difference,
}


@pytest.mark.parametrize("criterion", GAPS)
@pytest.mark.parametrize("name", ["sex", "race"])
def test_strict_gap_is_that_of_fairlearn(table, criterion, name):
    groups, step = table
    options = dict(criterion=criterion, epsilon=0.05, margin=0.01, attributes=[name])
    strict = RateConstraint(groups, **options).eval()(step).strict
    sex = step.sensitive[:, groups.names.index(name)]
    decided = (step.logits[:, 0] >= 0).long()
    expected = GAPS[criterion](step.target, decided, sensitive_features=sex)
    assert strict.value.item() == pytest.approx(expected, abs=1e-6)
    assert strict.worst.item() == pytest.approx(expected - 0.04, abs=1e-6)
    assert strict.seen.all()


RATES = {
    "selection_rate": selection_rate,
    "true_positive_rate": true_positive_rate,
    "false_positive_rate": false_positive_rate,
}


def test_a_row_without_a_decision_is_not_taken_for_rejected():
    logits = torch.tensor([[1.0], [-1.0], [torch.nan], [-2.0]])
    step = Step(logits, torch.zeros(4).long(), torch.tensor([[0], [0], [1], [1]]))
    strict = RateConstraint(TWO, epsilon=0.9).eval()(step).strict
    assert strict.worst.isnan() and strict.value.isnan()


@pytest.mark.parametrize("rate", RATES)
def test_strict_bounds_are_those_of_fairlearn(table, rate):
    groups, step = table
    expected = frame(RATES[rate], groups, step, "race")
    least = RateConstraint(groups, rate=rate, at_least=0.5, attributes=["race"]).eval()(step).strict
    most = RateConstraint(groups, rate=rate, at_most=0.5, attributes=["race"]).eval()(step).strict
    assert least.value.item() == pytest.approx(expected.group_min(), abs=1e-6)
    assert least.worst.item() == pytest.approx(0.5 - expected.group_min(), abs=1e-6)
    assert most.value.item() == pytest.approx(expected.group_max(), abs=1e-6)
    assert most.worst.item() == pytest.approx(expected.group_max() - 0.5, abs=1e-6)
    assert len(least.violation) == len(expected.by_group)


def test_four_fifths_is_the_ratio_of_fairlearn(table):
    groups, step = table
    rule = RateConstraint(groups, rate="selection_rate", ratio=0.8, attributes=["race"])
    strict = rule.eval()(step).strict
    expected = demographic_parity_ratio(
        step.target,
        (step.logits[:, 0] >= 0).long(),
        sensitive_features=step.sensitive[:, groups.names.index("race")],
    )
    assert strict.value.item() == pytest.approx(expected, abs=1e-6)
    assert (strict.worst > 0) == (expected < 0.8)


def rows(selected):
    """Ten rows per group, of which so many are selected; logits near the threshold."""
    logits = torch.cat([torch.where(torch.arange(10) < count, 0.5, -0.5) for count in selected])
    group = torch.arange(len(selected)).repeat_interleave(10).unsqueeze(1)
    return Step(logits.unsqueeze(1), torch.ones(len(logits), dtype=torch.long), group)


def test_value_is_multipliers_times_soft_violations_and_its_gradient_pushes_together():
    constraint = RateConstraint(
        TWO, epsilon=0.1, multipliers=DualAscent(1.0), memory=None, temperature=0.5
    )
    step = rows([8, 4])
    constraint.update(constraint.sums(step))
    assert torch.allclose(constraint.multipliers.value, torch.tensor([0.3, 0.0]))
    logits = step.logits.clone().requires_grad_()
    value = constraint(Step(logits, step.target, step.sensitive)).value
    soft = torch.sigmoid(step.logits[:, 0] / 0.5)
    expected = 0.3 * (soft[:10].mean() - soft[10:].mean() - 0.1)
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[:10] > 0).all() and (gradient[10:] < 0).all()


def test_one_sided_constraints_push_one_way():
    step = rows([8, 4])
    for options, low, high in (
        (dict(at_least=0.6), 0.0, 0.2),
        (dict(at_most=0.6), 0.2, 0.0),
    ):
        constraint = RateConstraint(
            TWO, rate="true_positive_rate", multipliers=DualAscent(1.0), memory=None, **options
        )
        constraint.update(constraint.sums(step))
        found = constraint.multipliers.value
        assert torch.allclose(found, torch.tensor([low, high])), options


def test_absent_group_moves_no_multiplier_and_the_memory_keeps_its_rate():
    groups = GroupSpec({"race": ["a", "b", "c"]})
    constraint = RateConstraint(groups, epsilon=0.0, multipliers=DualAscent(1.0), memory=100.0)
    constraint.update(constraint.sums(rows([8, 4])))
    names = [(i, j) for i in range(3) for j in range(3) if i != j]
    moved = {pair for pair, v in zip(names, constraint.multipliers.value, strict=True) if v > 0}
    assert moved == {(1, 0)} or moved == {(0, 1)}
    strict = constraint.strict()
    assert strict.seen.tolist() == [2 not in pair for pair in names]
    term = constraint(rows([8, 4]))
    assert term.support["race"][0, 2] == 0
    # The third group comes once, and is remembered when it is absent again.
    constraint.update(constraint.sums(rows([5, 5, 10])))
    constraint.update(constraint.sums(rows([5, 5])))
    assert constraint.strict().seen.all()
    assert constraint.strict().value.item() == pytest.approx(0.5, abs=0.2)
    assert constraint.eval()(rows([5, 5])).strict.value == 0


def test_nothing_known_is_said_and_changes_nothing():
    constraint = RateConstraint(TWO, epsilon=0.1)
    step = rows([8, 4])
    nobody = Step(step.logits, step.target, torch.full_like(step.sensitive, -1))
    constraint.update(constraint.sums(nobody))
    strict = constraint.strict()
    assert not strict.seen.any() and strict.worst == -torch.inf
    assert (constraint.multipliers.value == 0).all()


def test_forward_and_evaluation_change_no_buffer():
    constraint = RateConstraint(TWO, epsilon=0.1)
    constraint.update(constraint.sums(rows([8, 4])))
    before = {name: value.clone() for name, value in constraint.state_dict().items()}
    for mode in (True, False):
        constraint.train(mode)(rows([9, 1]))
    for name, value in constraint.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_steps_count_rows_so_that_the_batch_size_does_not_matter():
    large = RateConstraint(TWO, epsilon=0.0, multipliers=DualAscent(1.0), memory=1_000.0)
    small = RateConstraint(TWO, epsilon=0.0, multipliers=DualAscent(1.0), memory=1_000.0)
    sums = large.sums(rows([8, 4]))
    for _ in range(10):
        large.update([sums[0] * 10])
        for _ in range(10):
            small.update(sums)
    assert large.multiplier > 0.1
    assert small.multiplier.item() == pytest.approx(large.multiplier.item(), rel=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(), "no bound"),
        (dict(epsilon=0.1, ratio=0.8), "epsilon and ratio"),
        (dict(epsilon=0.1, rate="selection_rate"), "criterion with epsilon"),
        (dict(at_least=0.1), "rate with at_least"),
        (dict(criterion="equalized_odds", rate="selection_rate", ratio=0.8), "rate with"),
        (dict(rate="selection", ratio=0.8), "did you mean 'selection_rate'"),
        (dict(criterion="parity", epsilon=0.1), "demographic_parity"),
        (dict(epsilon=-0.1), "epsilon"),
        (dict(epsilon=0.01, margin=0.02), "margin 0.02"),
        (dict(rate="selection_rate", at_least=0.95, margin=0.1), "margin 0.1"),
        (dict(epsilon=0.1, memory=0), "memory"),
        (dict(epsilon=0.1, temperature=0.0), "temperature"),
        (dict(epsilon=0.1, threshold=1.0), "threshold"),
        (dict(epsilon=0.1, attributes=["age"]), "age"),
    ],
)
def test_mistakes_have_named_errors(options, words):
    with pytest.raises(ArgumentError, match=words):
        RateConstraint(TWO, **options)


class EqualWeights(WeightedSum):
    """A rule that sets every weight itself."""

    replaces_weights = True

    def total(self, task_loss, terms, weights):
        return super().total(task_loss, terms, {name: torch.ones(()) for name in terms})


def test_rules_that_replace_weights_refuse_constraints_by_name():
    fairness = Fairness(TWO, combination=EqualWeights())
    with pytest.raises(ArgumentError, match="EqualWeights with the constraint 'parity'"):
        fairness.add("parity", RateConstraint(TWO, epsilon=0.1))
