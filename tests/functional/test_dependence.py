import itertools

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from sklearn.metrics import mutual_info_score
from torch.autograd import gradcheck

from fairlightning.functional.continuous import pearson_from_sums, product_moments
from fairlightning.functional.dependence import (
    correlation,
    correlation_from_sums,
    covariance,
    hsic,
    mmd,
    mutual_information,
    wasserstein,
)

GROUPS = 4
MEASURES = [correlation, covariance, hsic, mmd, mutual_information, wasserstein]
each = pytest.mark.parametrize("measure", MEASURES)


def table(rows=50, models=()):
    """Scores whose distribution differs by group; some rows unknown, group 2 absent."""
    group = torch.randint(-1, GROUPS, (rows,))
    group[:4] = torch.tensor([-1, 0, 1, 3])
    group = torch.where(group == 2, 3, group)
    logits = torch.randn(*models, rows, dtype=torch.float64) + group
    return torch.sigmoid(logits), group


def known(scores, group):
    keep = group.numpy() >= 0
    return scores.numpy()[keep], group.numpy()[keep]


def pairs(scores, group):
    """Scores of both groups, of every pair of groups that are there."""
    x, g = known(scores, group)
    return [(x[g == a], x[g == b]) for a, b in itertools.combinations(np.unique(g), 2)]


def kernel(a, b, bandwidth):
    return np.exp(-((a - b) ** 2) / (2 * bandwidth**2))


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
def test_hsic_is_the_trace_of_centred_kernels(bandwidth):
    scores, group = table()
    x, g = known(scores, group)
    n = len(x)
    ours, theirs = np.empty((n, n)), np.empty((n, n))
    for i in range(n):
        for j in range(n):
            ours[i, j] = kernel(x[i], x[j], bandwidth)
            theirs[i, j] = g[i] == g[j]
    centre = np.eye(n) - 1 / n
    expected = np.trace(ours @ centre @ theirs @ centre) / n**2
    assert expected > 1e-4
    assert hsic(scores, group, GROUPS, bandwidth=bandwidth).item() == pytest.approx(expected)


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
def test_mmd_is_the_mean_over_pairs_of_mean_kernels(bandwidth):
    scores, group = table()

    def mean(left, right):
        return np.mean([kernel(a, b, bandwidth) for a in left for b in right])

    found = [mean(a, a) + mean(b, b) - 2 * mean(a, b) for a, b in pairs(scores, group)]
    assert len(found) == 3
    expected = pytest.approx(np.mean(found))
    assert mmd(scores, group, GROUPS, bandwidth=bandwidth).item() == expected


def test_wasserstein_1_is_scipys():
    scores, group = table()
    expected = np.mean([wasserstein_distance(a, b) for a, b in pairs(scores, group)])
    assert wasserstein(scores, group, GROUPS).item() == pytest.approx(expected)


def test_wasserstein_2_of_groups_of_one_size_pairs_their_sorted_rows():
    scores, group = torch.rand(60, dtype=torch.float64), torch.arange(60) % 3
    found = [np.mean((np.sort(a) - np.sort(b)) ** 2) for a, b in pairs(scores, group)]
    assert wasserstein(scores, group, 3, order=2).item() == pytest.approx(np.mean(found))


def test_wasserstein_2_of_shifted_groups_is_the_squared_shift():
    base = torch.rand(7, dtype=torch.float64)
    scores = torch.cat([base, base.repeat(3) + 0.3])
    group = torch.tensor([0] * 7 + [1] * 21)
    assert wasserstein(scores, group, 2, order=2).item() == pytest.approx(0.09)
    assert wasserstein(scores, group, 2).item() == pytest.approx(0.3)


def test_wasserstein_weighs_rows_as_scipy_does():
    scores, group = table()
    weight = torch.rand(50, dtype=torch.float64)
    found = []
    for a, b in itertools.combinations([0, 1, 3], 2):
        first, second = group == a, group == b
        parts = (scores[first], scores[second], weight[first], weight[second])
        found.append(wasserstein_distance(*(part.numpy() for part in parts)))
    expected = pytest.approx(np.mean(found))
    assert wasserstein(scores, group, GROUPS, weight=weight).item() == expected


def test_covariance_and_correlation_are_numpys():
    scores, group = table()
    x, g = known(scores, group)
    expected = [np.cov(x, g == number, bias=True)[0, 1] for number in range(GROUPS)]
    assert covariance(scores, group, GROUPS).tolist() == pytest.approx(expected)
    two = torch.where(group > 1, -1, group)
    expected = np.corrcoef(*known(scores, two))[0, 1] ** 2
    assert correlation(scores, two, GROUPS).item() == pytest.approx(expected)


def test_correlation_of_several_groups_is_what_a_regression_on_them_explains():
    scores, group = table()
    x, g = known(scores, group)
    design = np.eye(GROUPS)[g]
    fitted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    expected = np.var(fitted) / np.var(x)
    assert correlation(scores, group, GROUPS).item() == pytest.approx(expected)


def test_correlation_keeps_its_digits_far_from_zero_and_never_exceeds_1():
    group = torch.arange(1000) % 2
    scores = 30 * (torch.randn(1000) + 0.4 * group)
    near, far = correlation(scores, group, 2), correlation(scores + 1e5, group, 2)
    assert far.item() == pytest.approx(near.item(), rel=1e-3)
    # Sums that have lost all digits of the variance.
    total, mass, square = torch.tensor([1e6, 1e6 + 1]), torch.ones(2), torch.full((2,), 1e12)
    assert correlation_from_sums(total, mass, square) <= 1
    moments = product_moments(scores + 1e6, group * 1.0, torch.ones(1000))
    assert pearson_from_sums(moments.sum(-1)) <= 1


def test_mutual_information_of_decisions_is_sklearns():
    scores, group = table()
    decision = (scores > 0.6).double()
    expected = mutual_info_score(*known(decision, group))
    assert expected > 0.01
    assert mutual_information(decision, group, GROUPS).item() == pytest.approx(expected)


def test_mutual_information_of_scores_is_that_of_a_table_of_expected_decisions():
    scores, group = table()
    x, g = known(scores, group)
    one = np.array([x[g == number].sum() for number in (0, 1, 3)])
    counts = np.stack([one, np.bincount(g)[[0, 1, 3]] - one])
    # scikit-learn counts in integers.
    expected = mutual_info_score(None, None, contingency=(counts * 1e7).round())
    assert mutual_information(scores, group, GROUPS).item() == pytest.approx(expected, rel=1e-5)


@each
def test_weight_equals_repeated_rows(measure):
    scores, group = table()
    count = torch.arange(50) % 3
    repeated = (part.repeat_interleave(count) for part in (scores, group))
    found = measure(scores, group, GROUPS, weight=count.double())
    assert torch.allclose(found, measure(*repeated, GROUPS))


@each
def test_absent_and_unknown_rows_change_nothing(measure):
    scores, group = table()
    found = measure(scores, group, GROUPS)
    other = measure(torch.where(group < 0, 0.5, scores), group, GROUPS)
    assert torch.allclose(found, other, atol=0)
    without = measure(scores[group >= 0], group[group >= 0].clamp_max(2), 3)
    assert torch.allclose(found[[0, 1, 3]] if measure is covariance else found, without)


@each
def test_models_together_equal_a_loop_and_vmap(measure):
    scores, group = table(models=(2, 3))
    looped = torch.stack([measure(one, group, GROUPS) for one in scores.flatten(0, 1)])
    together = measure(scores, group, GROUPS)
    assert torch.allclose(together.flatten(0, 1), looped)
    mapped = torch.vmap(lambda one: measure(one, group, GROUPS))(scores)
    assert torch.allclose(mapped, together)


@each
def test_gradients(measure):
    scores, group = table(25)
    assert gradcheck(lambda x: measure(x, group, GROUPS), scores.requires_grad_())


@each
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_constant_scores_depend_on_nothing_and_leave_a_finite_gradient(measure, score):
    scores = torch.full((50,), score, requires_grad=True)
    found = measure(scores, table()[1], GROUPS).sum()
    found.backward()
    assert abs(found.item()) < 1e-6
    assert torch.isfinite(scores.grad).all()


@each
def test_half_precision_is_summed_in_float32(measure):
    scores, group = table(3000)
    low = scores.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = measure(low, group, GROUPS)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), measure(low.double(), group, GROUPS), atol=1e-4)


def test_order_2_compiles_and_has_gradients():
    torch.compiler.reset()
    scores, group = table(25)

    def measure(x):
        return wasserstein(x, group, GROUPS, order=2)

    assert gradcheck(measure, scores.clone().requires_grad_())
    compiled = torch.compile(measure, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(scores), measure(scores))
