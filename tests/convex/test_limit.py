"""The limit line against linear programs over rows, brute force, fairlearn and draws."""

import itertools

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlightning.convex import adjusted_thresholds, limit_line
from fairlightning.convex.limit import LIMIT_CRITERIA
from fairlightning.data import adult
from fairlightning.exceptions import ArgumentError
from fairlightning.functional.front_distance import front_distance
from fairlightning.functional.pareto import hypervolume
from fairlightning.groups import GroupSpec

BOUNDS = (0.0, 0.05, 0.2, 0.5, 1.0)


def rows(count, groups, seed, levels=None, unknown=True):
    """Scores, labels, groups and weights, in which every group has both labels."""
    random = np.random.default_rng(seed)
    group = random.integers(-1 if unknown else 0, groups, count)
    y = (random.uniform(size=count) < 0.3 + 0.3 * (group == 0)).astype(int)
    group = np.concatenate([group, np.arange(groups), np.arange(groups)])
    y = np.concatenate([y, np.zeros(groups, int), np.ones(groups, int)])
    score = 1 / (1 + np.exp(-(random.normal(size=len(y)) + y + 0.5 * group)))
    if levels:
        score = np.round(score * levels) / levels
    return score, y, group, random.uniform(0.1, 2, len(y)).round(1)


def tensors(*columns):
    return [torch.from_numpy(np.asarray(column)) for column in columns]


def conditions(criterion, y):
    """What a criterion averages: for each of its rates the rows, and the value of a selection."""
    all_rows = np.ones(len(y), bool)
    return {
        "demographic_parity": [(all_rows, lambda p: p)],
        "equal_opportunity": [(y == 1, lambda p: p)],
        "equalized_odds": [(y == 1, lambda p: p), (y == 0, lambda p: p)],
        "accuracy_parity": [(all_rows, lambda p: p * y + (1 - p) * (1 - y))],
    }[criterion]


def gap(p, y, group, weight, criterion):
    gaps = []
    for inside, value in conditions(criterion, y):
        found = []
        for g in np.unique(group[group >= 0]):
            w = weight * (inside & (group == g))
            if w.sum() > 0:
                found.append((w * value(p)).sum() / w.sum())
        gaps.append(max(found) - min(found))
    return max(gaps)


def accuracy(p, y, weight):
    return (weight * np.where(y == 1, p, 1 - p)).sum() / weight.sum()


def by_rows(score, y, group, weight, criterion, bound):
    """Best accuracy of all probabilities that rise with the score within every group."""
    p = cp.Variable(len(y))
    limits = [p >= 0, p <= 1]
    for g in np.unique(group):
        order = np.flatnonzero(group == g)[np.argsort(score[group == g], kind="stable")]
        for low, high in itertools.pairwise(order):
            same = score[low] == score[high]
            limits.append(p[low] == p[high] if same else p[low] <= p[high])
    for inside, value in conditions(criterion, y):
        mean = cp.Variable()
        for g in np.unique(group[group >= 0]):
            w = weight * (inside & (group == g))
            if w.sum() > 0:
                rate = (w / w.sum()) @ (
                    value(p)
                    if criterion != "accuracy_parity"
                    else cp.multiply(p, 2 * y - 1) + 1 - y
                )
                limits += [rate >= mean, rate <= mean + bound]
    gain = (weight / weight.sum()) @ (cp.multiply(p, 2 * y - 1) + 1 - y)
    problem = cp.Problem(cp.Maximize(gain), limits)
    problem.solve(solver=cp.HIGHS if "HIGHS" in cp.installed_solvers() else cp.CLARABEL)
    return problem.value


@pytest.mark.parametrize("criterion", LIMIT_CRITERIA)
@pytest.mark.parametrize(("seed", "groups", "levels"), [(1, 2, None), (2, 3, 5), (3, 3, None)])
def test_it_is_the_best_of_all_monotone_probabilities(criterion, seed, groups, levels):
    score, y, group, weight = rows(40, groups, seed, levels)
    line = limit_line(*tensors(score, y, group), criterion, BOUNDS, weight=torch.from_numpy(weight))
    probability = line.selection(*tensors(score, group)).numpy()
    for p, point, bound in zip(probability, line.points, BOUNDS, strict=True):
        expected = by_rows(score, y, group, weight, criterion, bound)
        assert point[0] == pytest.approx(expected, abs=1e-6)
        assert point[0] == pytest.approx(accuracy(p, y, weight), abs=1e-9)
        assert point[1] == pytest.approx(gap(p, y, group, weight, criterion), abs=1e-9)
        assert point[1] <= bound + 1e-6
    # More is allowed with every step, and mixing two policies is allowed: rising, and concave.
    steps = np.diff(line.points[:, 0]) / np.diff(BOUNDS)
    assert (steps >= -1e-6).all() and (np.diff(steps) <= 1e-5).all()


@given(st.integers(0, 8), st.integers(0, 10**6), st.sampled_from(LIMIT_CRITERIA))
@settings(max_examples=40, deadline=None)
def test_no_group_thresholds_nor_mixtures_of_two_do_better(count, seed, criterion):
    score, y, group, _ = rows(count, 2, seed, levels=4, unknown=False)
    weight = np.ones(len(y))
    cuts = [*np.unique(score), 2.0]
    decided = [
        np.where(group == 0, score >= a, score >= b).astype(float)
        for a, b in itertools.product(cuts, repeat=2)
    ]
    mixed = [0.7 * one + 0.3 * two for one, two in itertools.combinations(decided[::2], 2)]
    line = limit_line(*tensors(score, y, group), criterion, BOUNDS)
    points = [
        (accuracy(p, y, weight), gap(p, y, group, weight, criterion)) for p in decided + mixed
    ]
    for (best, _), bound in zip(line.points, BOUNDS, strict=True):
        assert best >= max((a for a, g in points if g <= bound), default=0.0) - 1e-6


@pytest.fixture(scope="module")
def people():
    """Rows of Adult with the scores of a plain logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    data = adult()
    data.setup()
    parts = {stage: data.batch(stage) for stage in ("train", "validation", "test")}
    fitted = parts["train"].inputs[0].double()[:4000]
    scaler = StandardScaler().fit(fitted)
    model = LogisticRegression().fit(scaler.transform(fitted), parts["train"].target[:4000])
    sex = list(data.groups.names).index("sex")
    return {
        stage: (
            torch.from_numpy(model.predict_proba(scaler.transform(b.inputs[0].double()))[:, 1]),
            b.target,
            b.sensitive[:, sex],
        )
        for stage, b in parts.items()
    }


@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds"])
def test_without_a_gap_it_is_fairlearns_optimum(people, criterion):
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Scores(ClassifierMixin, BaseEstimator):
        def fit(self, *_):
            self.classes_, self.fitted_ = [0, 1], True
            return self

        def predict_proba(self, x):
            return np.column_stack([1 - x[:, 0], x[:, 0]])

    score, y, sex = (column.numpy() for column in people["validation"])
    optimum = ThresholdOptimizer(
        estimator=Scores().fit(),
        constraints=criterion,
        objective="accuracy_score",
        prefit=True,
        predict_method="predict_proba",
        grid_size=2000,
    )
    optimum.fit(score[:, None], y, sensitive_features=sex)
    p = optimum._pmf_predict(score[:, None], sensitive_features=sex)[:, 1]
    line = limit_line(*people["validation"], criterion, [0.0])
    best = accuracy(p, y, np.ones(len(y)))
    # Theirs searches a grid, and for equalized odds the true positive rates of the smaller hull.
    assert best - 1e-6 <= line.points[0, 0] <= best + 2e-3
    assert line.points[0, 1] < 1e-6


def test_chosen_on_validation_and_applied_to_test(people):
    line = limit_line(*people["validation"])
    assert len(line.bounds) == 41 and line.bounds[0] == 0.0
    assert line.bounds[-1] == pytest.approx(line.points[-1, 1], abs=1e-6)
    assert np.allclose(line.apply(*people["validation"]), line.points)
    score, y, sex = people["test"]
    points = line.apply(score, y, sex)
    assert (np.abs(points - line.points) < 0.04).all()
    # Drawn decisions have the expected figures.
    random = torch.Generator().manual_seed(0)
    p = line.selection(score, sex)[10]
    drawn = torch.stack([torch.rand(len(p), generator=random) < p for _ in range(100)]).double()
    right = (drawn == y).double().mean().item()
    rates = [drawn[:, sex == g].mean().item() for g in (0, 1)]
    assert right == pytest.approx(points[10, 0], abs=0.002)
    assert abs(rates[0] - rates[1]) == pytest.approx(points[10, 1], abs=0.004)


def test_it_is_above_deterministic_thresholds(people):
    score, y, sex = people["validation"]
    spec = GroupSpec({"sex": ["a", "b"]})
    bounds = [0.0, 0.02, 0.05, 0.2]
    line = limit_line(score, y, sex, "equal_opportunity", bounds)
    for bound, (best, _) in zip(bounds, line.points, strict=True):
        one = adjusted_thresholds(score, y, sex[:, None], spec, epsilon=bound)
        assert one.value <= best + 1e-7
        assert bound == 0.0 or best - one.value < 0.003


def test_unknown_new_and_absent_groups():
    score, y = torch.tensor([0.2, 0.8, 0.3, 0.9, 0.4, 0.6]), torch.tensor([0, 1] * 3)
    group = torch.tensor([0, 0, 2, 2, -1, -1])
    line = limit_line(score, y, group, bounds=[0.0])
    assert line.points.tolist() == [[1.0, 0.0]]
    # Group 1 had no rows: the best threshold of all; a new group: that of the unknown ones.
    other = line.selection(torch.tensor([0.45, 0.55]), torch.tensor([1, 1]))
    new = line.selection(torch.tensor([0.45, 0.55]), torch.tensor([7, -1]))
    assert other.tolist() == new.tolist() == [[0.0, 1.0]]
    # A group without positives has no part in a gap of true positive rates.
    none = limit_line(
        score,
        torch.tensor([0, 1, 0, 1, 0, 0]),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        "equal_opportunity",
        [0.0],
    )
    assert none.points.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(criterion="predictive_parity"), "criterion"),
        (dict(bounds=[0.1, -0.1]), "bounds"),
        (dict(bounds=[]), "bounds"),
        (dict(scores=torch.tensor([0.5, float("nan")])), "not finite"),
        (dict(group=torch.tensor([0, -2])), "group"),
        (dict(group=torch.tensor([0.0, 1.0])), "group"),
        (dict(group=torch.tensor([0, 0])), "fewer than two groups with a selection rate"),
        (dict(criterion="equal_opportunity"), "fewer than two groups with a true positive rate"),
        (dict(weight=torch.zeros(2)), "total of 0"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    options = dict(
        scores=torch.tensor([0.2, 0.5]), target=torch.tensor([0, 1]), group=torch.tensor([0, 1])
    )
    with pytest.raises(ArgumentError, match=message):
        limit_line(**(options | wrong))


def test_distance_of_a_front():
    line = np.array([[0.30, 0.0], [0.2, 0.1], [0.15, 0.2]])
    assert front_distance(line, line, [0.4, 0.2], [0.2, 0.0]).difference == 0.0
    front = [[0.25, 0.1], [0.16, 0.2], [0.5, 0.0]]
    found = front_distance(front, line, [0.4, 0.2], [0.2, 0.0])
    assert found.share == pytest.approx(hypervolume(front, [0.4, 0.2]) / 0.04)
    assert found.limit == pytest.approx(0.75)
    assert found.difference == pytest.approx(0.75 - 0.375)
    assert found.bounds.tolist() == [0.0, 0.1, 0.2]
    assert found.excess == pytest.approx([0.2, 0.05, 0.01])
    with pytest.raises(ArgumentError, match="costs: found 3"):
        front_distance([[0.1] * 3], line, [0.4, 0.2], [0.2, 0.0])
    with pytest.raises(ArgumentError, match="worst, best"):
        front_distance(front, line, [0.4, 0.2], [0.2, 0.3])
