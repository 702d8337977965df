import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlightning.convex.thresholds import adjusted_thresholds
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec


def rows(count, groups, seed, levels=None, unknown=True):
    random = np.random.default_rng(seed)
    group = random.integers(-1 if unknown else 0, groups, count)
    y = (random.uniform(size=count) < 0.3 + 0.2 * (group == 0)).astype(int)
    score = random.normal(size=count) + y + 0.5 * group
    score = 1 / (1 + np.exp(-score))
    if levels:
        score = np.round(score * levels) / levels
    weight = random.uniform(0, 2, count).round(1)
    return score, y, group, weight


def value(selected, y, weight, aim):
    right = weight * (selected == (y == 1))
    if aim == "accuracy":
        return right.sum() / weight.sum()
    return sum(right[y == k].sum() / weight[y == k].sum() for k in (0, 1)) / 2


def gap(selected, y, group, weight):
    rates = []
    for g in np.unique(group[group >= 0]):
        w = weight * ((group == g) & (y == 1))
        if w.sum() > 0:
            rates.append((w * selected).sum() / w.sum())
    return max(rates) - min(rates) if rates else 0.0


def brute_force(score, y, group, weight, groups, epsilon, aim, shared, default):
    """Every combination of thresholds; unknown rows at the default."""
    cuts = [*np.unique(score), 2.0]
    if shared:
        choices = [(cut,) * groups for cut in cuts]
    else:
        choices = itertools.product(cuts, repeat=groups)
    best = -1.0
    for choice in choices:
        table = np.array([*choice, choice[0] if shared else default])
        selected = score >= table[group]
        if gap(selected, y, group, weight) <= epsilon + 1e-12:
            best = max(best, value(selected, y, weight, aim))
    return best


@given(
    st.integers(2, 14),
    st.integers(2, 3),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    st.sampled_from(["accuracy", "balanced_accuracy"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_other_thresholds_are_better(count, groups, seed, epsilon, aim, shared, weighted):
    score, y, group, weight = rows(count, groups, seed, levels=6)
    weight = weight if weighted else np.ones(count)
    mass = [weight[y == k].sum() for k in (0, 1)]
    if sum(mass) == 0 or (aim == "balanced_accuracy" and min(mass) == 0):
        return
    spec = GroupSpec({"g": range(groups)})
    found = adjusted_thresholds(
        torch.tensor(score),
        torch.tensor(y),
        torch.tensor(group)[:, None],
        spec,
        epsilon=epsilon,
        aim=aim,
        shared=shared,
        weight=torch.tensor(weight) if weighted else None,
    )
    selected = found.select(torch.tensor(score), torch.tensor(group)).numpy()
    assert gap(selected, y, group, weight) <= epsilon + 1e-9
    assert found.gap == pytest.approx(gap(selected, y, group, weight), abs=1e-12)
    assert found.value == pytest.approx(value(selected, y, weight, aim))
    assert found.value == pytest.approx(
        brute_force(score, y, group, weight, groups, epsilon, aim, shared, found.default)
    )
    if not shared:
        overall = max(value(score >= cut, y, weight, aim) for cut in [*score, 2.0])
        assert value(score >= found.default, y, weight, aim) == pytest.approx(overall)
    if shared:
        assert (found.select(torch.tensor(score)).numpy() == selected).all()


def test_groups_without_positives_or_rows_are_named():
    spec = GroupSpec({"g": ["a", "b", "c", "d"]})
    score = torch.tensor([0.1, 0.6, 0.4, 0.9, 0.8, 0.95])
    y = torch.tensor([0, 1, 0, 1, 0, 0])
    group = torch.tensor([[0], [0], [1], [1], [2], [2]])
    found = adjusted_thresholds(score, y, group, spec, epsilon=0.0)
    assert found.unconstrained == ("g=c", "g=d")
    assert found.value == 1.0
    assert found.true_positive_rate.isnan().tolist() == [False, False, True, True]
    # Nobody of c is selected, all of whom have label 0.
    assert found.select(score, group[:, 0]).tolist() == [False, True, False, True, False, False]
    assert found.threshold[3] == found.default
    unknown = torch.full((6,), -1)
    assert (found.select(score, unknown) == (score.double() >= found.default)).all()
    with pytest.raises(ArgumentError, match="group: found None"):
        found.select(score)


@pytest.mark.parametrize(
    ("score", "group", "named"),
    [
        (0.5, -2, "group: found torch.int64 from -2"),
        (0.5, 2, "group: found torch.int64 from 2"),
        (0.5, 0.0, "group: found torch.float32"),
        (torch.nan, 0, "scores: found"),
    ],
)
def test_scores_and_ids_that_cannot_be_decided_are_named(score, group, named):
    score_of, y = torch.tensor([0.1, 0.6, 0.4, 0.9]), torch.tensor([0, 1, 0, 1])
    found = adjusted_thresholds(
        score_of, y, torch.tensor([[0], [0], [1], [1]]), GroupSpec({"g": "ab"})
    )
    with pytest.raises(ArgumentError, match=named):
        found.select(torch.tensor([score]), torch.tensor([group]))


def test_rows_of_weight_0_are_as_those_left_out():
    score, y, group, _ = (torch.as_tensor(each) for each in rows(90, 3, 0, unknown=False))
    spec, kept, group = GroupSpec({"g": range(3)}), group != 2, group[:, None]
    weighed = adjusted_thresholds(score, y, group, spec, weight=kept.double())
    left_out = adjusted_thresholds(score[kept], y[kept], group[kept], spec)
    assert torch.equal(weighed.threshold, left_out.threshold)
    assert weighed.threshold[2] == weighed.default
    assert weighed.unconstrained == ("g=2",)


def test_many_rows_are_fast_and_the_constraint_costs_accuracy():
    score, y, group, _ = rows(100_000, 5, 0, unknown=False)
    data = (torch.tensor(score), torch.tensor(y), torch.tensor(group)[:, None])
    spec = GroupSpec({"g": range(5)})
    tight = adjusted_thresholds(*data, spec, epsilon=0.01)
    loose = adjusted_thresholds(*data, spec, epsilon=1.0)
    shared = adjusted_thresholds(*data, spec, epsilon=0.01, shared=True)
    assert tight.gap <= 0.01 + 1e-12
    assert loose.gap > 0.05
    assert loose.value > tight.value >= shared.value


def test_neighbouring_floats_and_scores_of_one_are_parted():
    top = np.nextafter(1.0, 0)
    score = torch.tensor([1.0, top, top, 1.0])
    y, group = torch.tensor([1, 0, 0, 1]), torch.tensor([[0], [0], [1], [1]])
    found = adjusted_thresholds(score, y, group, GroupSpec({"g": [0, 1]}))
    assert found.value == 1.0
    none = adjusted_thresholds(score, torch.zeros(4), group, GroupSpec({"g": [0, 1]}))
    assert not none.select(score, group[:, 0]).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(epsilon=-0.1), "epsilon: found -0.1"),
        (dict(aim="auc"), "aim"),
        (dict(scores=torch.tensor([float("nan"), 0.5])), "not finite"),
        (dict(scores=torch.tensor([0.5])), "scores"),
        (dict(target=torch.tensor([1, 1]), aim="balanced_accuracy"), "both labels"),
        (dict(weight=torch.zeros(2)), "total weight above 0"),
        (dict(partition=["age"]), "attribute"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    options = dict(
        scores=torch.tensor([0.2, 0.5]),
        target=torch.tensor([0, 1]),
        sensitive=torch.tensor([[0], [1]]),
        groups=GroupSpec({"g": [0, 1]}),
    )
    with pytest.raises(ArgumentError, match=message):
        adjusted_thresholds(**(options | wrong))
