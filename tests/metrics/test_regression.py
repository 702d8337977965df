"""Regression per group against numpy, scikit-learn and scipy."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import two_processes
from scipy import stats
from sklearn import metrics as sklearn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import distribution as dn
from fairlightning.functional import regression as fn
from fairlightning.functional.criteria import rates_difference
from fairlightning.functional.moments import (
    overall_moments,
    partition_moments,
    segment_moments,
    standard_errors,
)
from fairlightning.groups import GroupSpec
from fairlightning.metrics.records import Change, Key
from fairlightning.metrics.regression import (
    ExactGroupDistribution,
    GroupDistribution,
    GroupRegression,
)
from fairlightning.metrics.stage import INTERVALS
from fairlightning.metrics.tasks import stage_metrics

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})
RACE = GroupSpec({"race": ["a", "b", "c"]})
TRAPS = pytest.mark.parametrize(
    ("codes", "support"),
    [
        ([0, 2, 0, 2], [2, 0, 2]),
        ([1, 1, 1, 1], [0, 4, 0]),
        ([-1, -1, -1, -1], [0, 0, 0]),
        ([2], [0, 0, 1]),
        ([], [0, 0, 0]),
    ],
    ids=["gap in the ids", "only group 1", "all unknown", "one row", "empty batch"],
)


def batch(rows=200, seed=0, offset=0.0, groups=GROUPS):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randn(rows, generator=rng, dtype=torch.float64) + offset
    codes = [torch.randint(-1, size, (rows,), generator=rng) for size in groups.sizes]
    noise = torch.randn(rows, generator=rng, dtype=torch.float64)
    return target + noise + 0.3 * codes[0], target, torch.stack(codes, dim=1)


def pieces(rows, cuts=(0, 7, 7, 120, 200)):
    return [tuple(column[a:b] for column in rows) for a, b in pairwise(cuts)]


def fed(metric, *batches):
    for rows in batches:
        metric.update(*rows)
    return metric


def regression(*batches, groups=GROUPS):
    return fed(GroupRegression(groups), *batches)


def assert_close(first, second, tolerance=1e-12):
    pairs = zip(first, second, strict=True)
    assert all(torch.allclose(a.double(), b.double(), tolerance, tolerance) for a, b in pairs)


@st.composite
def samples(draw, max_rows=40):
    rows = draw(st.integers(0, max_rows))

    def column(values, dtype=np.float64):
        drawn = draw(st.lists(values, min_size=rows, max_size=rows))
        return torch.tensor(np.array(drawn, dtype=dtype))

    # Few different values, so that they tie.
    value = st.sampled_from([-3.0, -0.25, 0.0, 0.25, 0.26, 1.0, 7.5]) | st.floats(-10, 10)
    sensitive = [column(st.integers(-1, size - 1), np.int64) for size in GROUPS.sizes]
    weight = column(st.floats(0.01, 50)) if draw(st.booleans()) else None
    return column(value), column(value), torch.stack(sensitive, dim=1), weight


@settings(max_examples=60, deadline=None)
@given(samples())
def test_figures_are_those_of_numpy_and_sklearn(rows):
    prediction, target, sensitive, weight = rows
    metric = GroupRegression(GROUPS)
    for part in (slice(0, len(target) // 2), slice(len(target) // 2, None)):
        metric.update(
            prediction[part],
            target[part],
            sensitive[part],
            None if weight is None else weight[part],
        )
    for partition in GROUPS.partitions:
        moments = metric.of_partition(partition)
        group = GROUPS.group_ids(sensitive, partition)
        assert len(group) - moments.counts.sum() == (group < 0).sum()
        found = {name: figure(moments) for name, figure in fn.FIGURES.items()}
        for g in range(GROUPS.num_groups(partition)):
            mine = group == g
            assert {int(rates.support[g]) for rates in found.values()} == {int(mine.sum())}
            if not mine.any():
                continue
            p, t = prediction[mine].numpy(), target[mine].numpy()
            w = np.ones(len(p)) if weight is None else weight[mine].numpy()
            expected = {
                "mean_prediction": np.average(p, weights=w),
                "mean_target": np.average(t, weights=w),
                "mean_residual": np.average(p - t, weights=w),
                "mean_absolute_error": sklearn.mean_absolute_error(t, p, sample_weight=w),
                "root_mean_squared_error": sklearn.root_mean_squared_error(t, p, sample_weight=w),
            }
            for name, value in expected.items():
                assert found[name].rate[g] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e12])
def test_digits_survive_far_from_zero(offset):
    rows = batch(5000, offset=offset)
    moments = regression(*pieces(rows, (0, 100, 1300, 5000))).of_partition(("sex",))
    group = GROUPS.group_ids(rows[2], ("sex",))
    # The oracle works on what is left when the offset is taken away, which is exact.
    prediction, residual = rows[0] - offset, rows[0] - rows[1]
    for g in range(2):
        p, r = prediction[group == g].numpy(), residual[group == g].numpy()
        scale = max(abs(offset), 1) * 1e-15
        assert fn.mean_prediction(moments).rate[g] - offset == pytest.approx(p.mean(), abs=scale)
        assert fn.mean_residual(moments).rate[g] == pytest.approx(r.mean(), rel=1e-12)
        rmse = fn.root_mean_squared_error(moments).rate[g]
        assert rmse == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-12)
        # Where sums of squares would have lost all digits of the variance.
        error = fn.figure_errors(moments, "mean_prediction")[g]
        assert error == pytest.approx(stats.sem(p), rel=max(1e-12, abs(offset) * 1e-17))
        assert fn.figure_errors(moments, "mean_residual")[g] == pytest.approx(stats.sem(r))


def test_standard_errors():
    prediction, target, sensitive = batch(400)
    moments = regression((prediction, target, sensitive)).of_partition(("race",))
    group = GROUPS.group_ids(sensitive, ("race",))
    for g in range(3):
        r = (prediction - target)[group == g].numpy()
        assert fn.figure_errors(moments, "mean_absolute_error")[g] == pytest.approx(
            stats.sem(np.abs(r))
        )
        expected = stats.sem(r**2) / (2 * np.sqrt(np.mean(r**2)))
        assert fn.figure_errors(moments, "root_mean_squared_error")[g] == pytest.approx(expected)
    values, segment = torch.tensor([[3.0, 5.0, 5.0, 9.0]]), torch.tensor([0, 0, 0, 1])
    # A weight of 2 on all rows changes nothing; rows of no weight are no rows.
    for weight in (torch.full((4,), 2.0), None):
        error = standard_errors(segment_moments(values, segment, 3, weight), 0)
        assert error[0] == pytest.approx(stats.sem([3, 5, 5]))
        assert error[1:].tolist() == [torch.inf, torch.inf]
    weight = torch.tensor([1.0, 1.0, 0.0, 0.1])
    error = standard_errors(segment_moments(values, segment, 3, weight), 0)
    assert error[0] == pytest.approx(stats.sem([3, 5]))
    assert error[1:].tolist() == [torch.inf, torch.inf]


def test_gaps_and_the_worst_group():
    prediction = torch.tensor([1.0, 2.0, 0.0, 9.0])
    metric = regression((prediction, torch.ones(4), torch.tensor([0, 0, 2, -1])), groups=RACE)
    moments = metric.of_partition(("race",))
    assert fn.mean_residual(moments).rate[[0, 2]].tolist() == [0.5, -1.0]
    assert rates_difference(fn.mean_residual(moments)) == (1.5, 1)
    assert fn.worst_figure(moments, "mean_residual") == (-1.0, 2, 1)
    assert fn.worst_figure(moments, "mean_absolute_error") == (1.0, 2, 1)
    with pytest.raises(ArgumentError, match="one of mean_residual"):
        fn.worst_figure(moments, "mean_prediction")
    with pytest.raises(ArgumentError, match="did you mean 'mean_target'"):
        fn.figure_errors(moments, "mean_targets")
    everyone = overall_moments(metric.compute())
    assert fn.mean_prediction(everyone) == (3.0, 4)


@pytest.mark.parametrize("error", ["mean_absolute_error", "root_mean_squared_error"])
def test_errors_should_go_down_also_those_of_the_worst_group(error):
    for metric in (error, f"worst_group_{error}"):
        assert Change(Key("test", metric, None, None), 5.0, 15.0, 100, 100).better is False
    assert Change(Key("test", "worst_group_accuracy", None, None), 0.5, 0.8, 100, 100).better


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("codes", [[0, 0, 0, 1], [0, 1, 1, -1], [0, 0, 0, 0]])
def test_a_group_of_one_row_leaves_the_gap_without_an_upper_limit(codes):
    metrics = stage_metrics("regression", RACE, "test")
    target = torch.tensor([1.0, 2.5, 3.0, 3.5])
    metrics.update(torch.tensor([1.0, 2.0, 3.0, 4.0]), target, torch.tensor(codes).unsqueeze(1))
    gaps = [r for r in metrics.records(intervals=INTERVALS) if r.metric.endswith("_difference")]
    assert {r.high for r in gaps} == {None}
    assert all(r.value is None or r.low == 0 for r in gaps)
    assert any(r.value for r in gaps) == (1 in codes)


@TRAPS
def test_absent_groups_keep_their_slots(codes, support):
    rows = len(codes)
    prediction, sensitive = torch.arange(4.0)[:rows], torch.tensor(codes).long()
    moments = regression((prediction, torch.zeros(rows), sensitive), groups=RACE)
    moments = moments.of_partition(("race",))
    two = sum(n > 0 for n in support) > 1
    for name, figure in fn.FIGURES.items():
        rates = figure(moments)
        assert rates.support.tolist() == support
        assert rates.rate.isfinite().all()
        assert not fn.figure_errors(moments, name).isnan().any()
        difference = rates_difference(rates)
        assert difference.value.isfinite()
        assert (difference.support > 0) == two
    worst = fn.worst_figure(moments, "mean_absolute_error")
    assert (worst.group >= 0) == any(support)
    for metric in (GroupDistribution(RACE, low=0, high=4), ExactGroupDistribution(RACE)):
        metric.update(prediction, sensitive)
        exact = isinstance(metric, ExactGroupDistribution)
        distances = metric.compute()["race"] if exact else metric.distances(("race",))
        for distance in distances:
            assert torch.equal(distance.support.diagonal(), torch.tensor(support))
            assert distance.value.isfinite().all()
            assert distance.error.isfinite().all()
            assert (distance.largest().support > 0) == two


def test_pieces_merge_to_the_whole():
    rows = batch()
    whole, parts = regression(rows).compute(), pieces(rows)
    assert_close(regression(*parts).compute(), whole)
    merged = regression(*parts[:2])
    merged.merge_state(regression(*parts[2:]))
    assert_close(merged.compute(), whole)
    shuffled = torch.randperm(200)
    assert_close(regression(tuple(column[shuffled] for column in rows)).compute(), whole)
    stepwise = GroupRegression(GROUPS)
    for part in parts:
        assert_close(stepwise(*part), regression(part).compute())
    assert_close(stepwise.compute(), whole)


def test_reset_pickle_and_cast():
    metric = regression(batch())
    copy = pickle.loads(pickle.dumps(metric))
    assert_close(fed(copy, batch(seed=1)).compute(), regression(batch(), batch(seed=1)).compute())
    metric.reset()
    assert metric.sums.count_nonzero() == 0
    metric.to(torch.bfloat16)
    metric.update(*batch(), weight=torch.full((200,), 0.1))
    assert metric.compute().mean.dtype == torch.float64
    assert metric.compute().mass.sum() == pytest.approx(200 * 0.1)


def test_several_models_stack():
    prediction, target, sensitive = batch()
    cell = GROUPS.cell_ids(sensitive)
    both = torch.stack([prediction, prediction + 1])
    both[1, 3] = torch.nan
    stacked = fn.regression_moments(both, target, cell, GROUPS.num_cells)
    for model in range(2):
        one = fn.regression_moments(both[model], target, cell, GROUPS.num_cells)
        assert_close([part[model] for part in stacked], one)
    groups = partition_moments(stacked, GROUPS, ("race",))
    assert rates_difference(fn.mean_residual(groups)).value.shape == (2,)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_undefined_rows_leave_nothing_to_trust(value):
    prediction, target, sensitive = batch()
    prediction[5], sensitive[5] = value, torch.tensor([1, -1])
    metric = regression((prediction, target, sensitive))
    assert metric.compute().undefined.sum() == 1
    sex, race = (metric.of_partition((name,)) for name in GROUPS.names)
    for figure in fn.FIGURES.values():
        assert figure(sex).support.tolist() == [0, 0]
        assert figure(sex).rate.isfinite().all()
        # The row is of no known race.
        assert figure(race).support.all()
    exact = fed(ExactGroupDistribution(GROUPS), (prediction, sensitive)).compute()
    binned = fed(GroupDistribution(GROUPS, low=-5, high=5), (prediction, sensitive))
    for distances in (exact["sex"], binned.distances(("sex",))):
        assert not distances.wasserstein.support.any()
    for distances in (exact["race"], binned.distances(("race",))):
        assert distances.kolmogorov_smirnov.support.all()
        assert distances.wasserstein.value.isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": torch.zeros(5).long()}, "prediction.*int64"),
        ({"prediction": torch.zeros(5, 2)}, "prediction.*2"),
        ({"target": torch.zeros(4)}, "target.*4"),
        ({"sensitive": torch.tensor([[2, 0]] * 5)}, "sensitive"),
        ({"weight": torch.tensor([1.0, 1, -1, 1, 1])}, "weight.*-1.0"),
        ({"weight": torch.tensor([1.0, 1, torch.inf, 1, 1])}, "weight.*to inf"),
    ],
)
def test_wrong_rows_are_refused(change, words):
    rows = dict(zip(("prediction", "target", "sensitive"), batch(5), strict=True)) | change
    metric = GroupRegression(GROUPS)
    with pytest.raises(ArgumentError, match=words):
        metric.update(**rows)
    assert metric.counts.sum() == 0


@settings(max_examples=80, deadline=None)
@given(samples(), st.sampled_from([1, 3, 50, 1000]), st.sampled_from([(-2, 2), (-20, 20), (3, 4)]))
def test_distances_are_those_of_scipy(rows, bins, ends):
    values, _, sensitive, weight = rows
    low, high = ends
    cell = GROUPS.cell_ids(sensitive)
    size = GROUPS.num_cells
    histogram = dn.segment_histogram(
        values, cell, size, low=low, high=high, bins=bins, weight=weight
    )
    for partition in GROUPS.partitions:
        group, count = GROUPS.group_ids(sensitive, partition), GROUPS.num_groups(partition)
        exact = dn.exact_distances(values, group, count, weight)
        binned = dn.binned_distances(dn.partition_histogram(histogram, GROUPS, partition))
        for g in range(count):
            for h in range(count):
                a, b = (values[group == k].numpy() for k in (g, h))
                least = min(len(a), len(b))
                assert exact.wasserstein.support[g, h] == least
                assert binned.kolmogorov_smirnov.support[g, h] == least
                if not least:
                    continue
                w = [None if weight is None else weight[group == k].numpy() for k in (g, h)]
                area = stats.wasserstein_distance(a, b, *w)
                assert exact.wasserstein.value[g, h] == pytest.approx(area, abs=1e-9)
                step = exact.kolmogorov_smirnov.value[g, h].item()
                if weight is None:
                    assert step == pytest.approx(
                        stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-12
                    )
                else:
                    assert step == pytest.approx(weighted_step(a, b, *w), abs=1e-9)
                for true, distance in zip((area, step), binned, strict=True):
                    bound = distance.value[g, h] + distance.error[g, h]
                    assert distance.value[g, h] - 1e-9 <= true <= bound + 1e-9
                if values.abs().max() < 20 and ends == (-20, 20):
                    assert binned.wasserstein.error[g, h] <= 2 * histogram.width + 1e-9
        for distance in (*exact, *binned):
            off = distance.support * (1 - torch.eye(count, dtype=torch.long))
            largest = distance.largest()
            if off.any():
                assert largest.value == distance.value[off > 0].max()
                upper = (distance.value + distance.error)[off > 0].max()
                assert largest.value + largest.error == pytest.approx(upper.item())
                assert largest.support == off[off > 0].min()
            else:
                assert largest.support == 0


def weighted_step(a, b, w_a, w_b):
    return max(abs(w_a[a <= x].sum() / w_a.sum() - w_b[b <= x].sum() / w_b.sum()) for x in (*a, *b))


def test_binning_errors_are_small_where_bins_are():
    prediction, _, sensitive = batch(4000)
    metric = fed(GroupDistribution(GROUPS, low=-6, high=6, bins=1000), (prediction, sensitive))
    exact = fed(ExactGroupDistribution(GROUPS), (prediction, sensitive)).compute()
    for partition in GROUPS.partitions:
        binned = metric.distances(partition)
        true = exact[" & ".join(partition)]
        for found, expected, bound in zip(binned, true, (0.012, 0.02), strict=True):
            assert (found.value - expected.value).abs().max() <= found.error.max() <= bound


def test_distributions_in_pieces():
    prediction, _, sensitive = batch()
    rows = (prediction, sensitive)
    for make in (
        lambda: GroupDistribution(GROUPS, low=-3, high=3, bins=40),
        lambda: ExactGroupDistribution(GROUPS),
    ):
        whole, parts = state(fed(make(), rows)), pieces(rows)
        assert_close(state(fed(make(), *parts)), whole)
        merged = fed(make(), *parts[:2])
        merged.merge_state(fed(make(), *parts[2:]))
        assert_close(state(merged), whole)
        copy = pickle.loads(pickle.dumps(fed(make(), *parts[:2])))
        assert_close(state(fed(copy.to(torch.bfloat16), *parts[2:])), whole)


def state(metric):
    if isinstance(metric, GroupDistribution):
        return metric.compute()[2:]
    return [part for both in metric.compute().values() for each in both for part in each]


def test_ranges_and_sizes_are_checked():
    for low, high, bins in ((1, 1, 9), (0, torch.inf, 9), (0, 1, 0)):
        with pytest.raises(ArgumentError, match="low, high, bins"):
            GroupDistribution(RACE, low=low, high=high, bins=bins)
    many = GroupSpec({"place": range(100_000)})
    with pytest.raises(ArgumentError, match="slots"):
        GroupDistribution(many, low=0, high=1)
    with pytest.raises(ArgumentError, match="age"):
        ExactGroupDistribution(RACE, [("age",)])


def _work(rank, parts):
    metrics = [GroupRegression(GROUPS), GroupDistribution(GROUPS, low=-3, high=3, bins=40)]
    metrics.append(ExactGroupDistribution(GROUPS))
    return [figures(metrics, parts[rank]), figures(metrics, [batch(10, seed=5 + rank)])]


def figures(metrics, batches):
    for prediction, target, sensitive in batches:
        metrics[0].update(prediction, target, sensitive)
        for metric in metrics[1:]:
            metric.update(prediction, sensitive)
    return [list(metrics[0].compute()), state(metrics[1]), state(metrics[2])]


def _by_sex():
    rows = batch()
    women = rows[2][:, 0] == 0
    return [tuple(column[women] for column in rows)], [tuple(column[~women] for column in rows)]


@pytest.mark.parametrize(
    "parts",
    [_by_sex(), ([batch(7, 1), batch(50, 2)], [batch(20, 3)]), ([batch(30, 4)], [])],
    ids=["a group on each", "unequal", "nothing on one"],
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_count_as_one(tmp_path, parts):
    alone = [GroupRegression(GROUPS), GroupDistribution(GROUPS, low=-3, high=3, bins=40)]
    alone.append(ExactGroupDistribution(GROUPS))
    first = figures(alone, [*parts[0], *parts[1]])
    second = figures(alone, [batch(10, seed=5), batch(10, seed=6)])
    for found in two_processes(tmp_path, _work, parts):
        for mine, expected in zip(found, (first, second), strict=True):
            for a, b in zip(mine, expected, strict=True):
                assert_close(a, b, 1e-10)
