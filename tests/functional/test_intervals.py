"""Limits against scipy, coverage by enumeration, symmetry, extremes and verdicts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import extremes
from fairlightning.functional.intervals import (
    Interval,
    difference_interval,
    rate_interval,
    rate_limits,
    ratio_interval,
    verdict,
)

COUNT = st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
RATES = np.arange(1, 50) / 50


def numbers(*interval):
    return [limit.item() for limit in interval]


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def pmf(n, rates):
    return stats.binom.pmf(np.arange(n + 1), n, np.asarray(rates)[..., None])


def test_limits_without_shift_are_those_of_clopper_and_pearson():
    for n in (1, 2, 7, 40):
        low, high = rate_limits(np.arange(n + 1.0), np.full(n + 1, float(n)), 0.025, shift=0.0)
        for x in range(n + 1):
            exact = stats.binomtest(x, n).proportion_ci(0.95, method="exact")
            assert (low[x], high[x]) == pytest.approx((exact.low, exact.high), abs=1e-10)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_rate_limits_are_beta_quantiles_between_clopper_pearson_and_jeffreys(level):
    x, n, tail = 7, 25, (1 - level) / 2
    low, high = numbers(*rate_interval(torch.tensor(x), torch.tensor(n), level=level))
    assert low == pytest.approx(stats.beta.ppf(tail, x + 1 / 6, n - x + 5 / 6))
    assert high == pytest.approx(stats.beta.isf(tail, x + 5 / 6, n - x + 1 / 6))
    exact = stats.binomtest(x, n).proportion_ci(level, method="exact")
    jeffreys = stats.beta.ppf([tail, 1 - tail], x + 0.5, n - x + 0.5)
    assert exact.low < low < jeffreys[0] < jeffreys[1] < high < exact.high


@given(COUNT)
def test_rate_interval_mirrors_and_holds_the_rate(count):
    x, n = count
    low, high = numbers(*rate_interval(torch.tensor(x), torch.tensor(n)))
    mirrored = numbers(*rate_interval(torch.tensor(n - x), torch.tensor(n)))
    assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-12)
    if n == 0:
        assert (low, high) == (0, 1)
    else:
        assert 0 <= low <= x / n <= high <= 1
        assert (low == 0) == (x == 0)
        assert (high == 1) == (x == n)


def test_rate_limits_grow_with_successes_and_close_in_with_trials_and_level():
    x = torch.arange(0, 40.25, 0.25)
    low, high = rate_interval(x, torch.tensor(40))
    assert (low.diff() > 0).all()
    assert (high[:-1].diff() > 0).all()
    sizes = torch.tensor([4, 40, 400, 4000])
    low, high = rate_interval(sizes / 4, sizes)
    assert ((high - low).diff() < 0).all()
    narrow = rate_interval(t(3.0), t(9.0), level=0.5)
    wide = rate_interval(t(3.0), t(9.0), level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_shapes_broadcast_and_are_float64_on_the_cpu():
    low, high = rate_interval(torch.arange(3)[:, None], torch.tensor([5, 6]))
    assert low.shape == high.shape == (3, 2)
    assert low.dtype == high.dtype == torch.float64
    assert low[2, 1] == rate_interval(torch.tensor(2), torch.tensor(6)).low


@pytest.mark.parametrize("n", [1, 3, 10, 30, 100])
def test_rates_are_covered(n):
    low, high = (v.numpy() for v in rate_interval(torch.arange(n + 1), torch.tensor(n)))
    rates = np.arange(1, 200)[:, None] / 200
    coverage = (pmf(n, rates[:, 0]) * ((low <= rates) & (rates <= high))).sum(1)
    assert coverage.min() >= 0.93


def all_pairs(method, n_a, n_b):
    a, b = torch.arange(n_a + 1)[:, None], torch.arange(n_b + 1)
    return [limit.numpy() for limit in method(a, torch.tensor(n_a), b, torch.tensor(n_b))]


@pytest.mark.parametrize("truth", ["difference", "ratio"])
@pytest.mark.parametrize(("n_a", "n_b"), [(10, 10), (10, 30), (100, 10), (30, 100)])
def test_differences_and_ratios_are_covered(truth, n_a, n_b):
    method = difference_interval if truth == "difference" else ratio_interval
    low, high = all_pairs(method, n_a, n_b)
    coverage = []
    for p in RATES[::3]:
        for q in RATES[::3]:
            value = p - q if truth == "difference" else p / q
            held = (low <= value + 1e-9) & (value <= high + 1e-9)
            coverage.append(pmf(n_a, p) @ held @ pmf(n_b, q))
    assert min(coverage) >= 0.94
    assert 0.95 <= np.mean(coverage) <= 0.98


def test_near_the_corner_the_difference_is_covered_where_mover_falls_short():
    # Rates 0.96 and 0.02 of ten rows each: MOVER alone covers 93.3 %.
    low, high = all_pairs(difference_interval, 10, 10)
    held = (low <= 0.94) & (high >= 0.94)
    assert pmf(10, 0.96) @ held @ pmf(10, 0.02) > 0.96


@given(COUNT, COUNT)
def test_difference_turns_round_with_the_groups_and_with_failures(a, b):
    (x, n), (y, m) = a, b
    low, high = numbers(*difference_interval(t(x), t(n), t(y), t(m)))
    swapped = numbers(*difference_interval(t(y), t(m), t(x), t(n)))
    failures = numbers(*difference_interval(t(n - x), t(n), t(m - y), t(m)))
    assert (low, high) == pytest.approx((-swapped[1], -swapped[0]), abs=1e-12)
    assert (low, high) == pytest.approx((-failures[1], -failures[0]), abs=1e-9)
    if n and m:
        assert -1 <= low <= x / n - y / m <= high <= 1
    else:
        assert (low, high) == (-1, 1)


@given(COUNT, COUNT)
def test_ratio_turns_round_with_the_groups(a, b):
    (x, n), (y, m) = a, b
    low, high = numbers(*ratio_interval(t(x), t(n), t(y), t(m)))
    low_swapped, high_swapped = numbers(*ratio_interval(t(y), t(m), t(x), t(n)))
    assert low == pytest.approx(1 / high_swapped)
    assert low_swapped == pytest.approx(1 / high)
    if n and m and y:
        assert 0 <= low <= x / n / (y / m) * (1 + 1e-9)
        assert x / n / (y / m) <= high * (1 + 1e-9)
    assert (low == 0) == (x == 0 or m == 0)
    assert (high == float("inf")) == (y == 0 or n == 0)


def test_ratio_agrees_with_scipy_for_large_groups():
    low, high = numbers(*ratio_interval(t(3000), t(10000), t(2500), t(10000)))
    exact = stats.contingency.relative_risk(3000, 10000, 2500, 10000).confidence_interval()
    assert (low, high) == pytest.approx((exact.low, exact.high), rel=2e-3)


@pytest.mark.parametrize(
    ("successes", "trials"), [(-1, 3), (4, 3), (float("nan"), 3), (1, float("inf")), (1, -2)]
)
def test_impossible_counts_are_named(successes, trials):
    with pytest.raises(ArgumentError, match=r"successes_b: found .* in .* trials"):
        difference_interval(t(1), t(2), t(successes), t(trials))


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_impossible_levels_are_named(level):
    with pytest.raises(ArgumentError, match="level: found"):
        rate_interval(t(1), t(2), level=level)


def test_rounding_of_effective_counts_is_forgiven():
    size = t(7.3)
    assert rate_interval(size * (1 + 1e-12), size).high == 1


@pytest.mark.parametrize(
    ("low", "high", "gap", "ratio"),
    [
        (0.0, 0.05, "met", "not met"),
        (0.05, 0.15, "not enough evidence", "not enough evidence"),
        (0.1, 0.2, "not enough evidence", "met"),
        (0.11, 0.2, "not met", "met"),
        (0.0, 0.1, "met", "not enough evidence"),
    ],
)
def test_verdicts(low, high, gap, ratio):
    interval = Interval(t(low)[0], t(high)[0])
    assert verdict(interval, 0.1) == gap
    assert verdict(interval, 0.1, higher_is_better=True) == ratio


@pytest.mark.parametrize("interval", [(t(0, 1), t(1, 1)), (t(float("nan")), t(1)), (t(1), t(0))])
def test_no_verdict_without_one_proper_interval(interval):
    with pytest.raises(ArgumentError, match="interval"):
        verdict(Interval(*interval), 0.1)


# Largest differences and smallest ratios.


@given(COUNT, COUNT)
@settings(max_examples=50)
def test_two_groups_give_the_absolute_difference(a, b):
    x, n = torch.tensor([[a[0], b[0]]]), torch.tensor([[a[1], b[1]]])
    low, high = numbers(*extremes.largest_difference_interval(x, n))
    if not n.all():
        assert (low, high) == (0, 1)
        return
    d_low, d_high = numbers(*difference_interval(x[0, 0], n[0, 0], x[0, 1], n[0, 1]))
    assert low == pytest.approx(max(d_low, -d_high, 0), abs=1e-12)
    assert high == pytest.approx(max(d_high, -d_low), abs=1e-12)
    r_low, r_high = numbers(*extremes.smallest_ratio_interval(x, n))
    one = ratio_interval(x[0, 0], n[0, 0], x[0, 1], n[0, 1])
    other = ratio_interval(x[0, 1], n[0, 1], x[0, 0], n[0, 0])
    assert r_low == pytest.approx(min(one.low.item(), other.low.item()))
    assert r_high == pytest.approx(min(one.high.item(), other.high.item(), 1))


@given(st.lists(COUNT, min_size=2, max_size=7), st.randoms())
def test_largest_difference_holds_the_estimate_and_ignores_order_and_absent_groups(rows, random):
    x, n = torch.tensor(rows).T.unsqueeze(1)
    limits = numbers(*extremes.largest_difference_interval(x, n))
    ratio = numbers(*extremes.smallest_ratio_interval(x, n))
    shuffled = [*rows, (0, 0)]
    random.shuffle(shuffled)
    y, m = torch.tensor(shuffled).T.unsqueeze(1)
    assert limits == pytest.approx(numbers(*extremes.largest_difference_interval(y, m)))
    assert ratio == pytest.approx(numbers(*extremes.smallest_ratio_interval(y, m)))
    rates = [a / b for a, b in rows if b]
    if len(rates) > 1:
        assert 0 <= limits[0] <= max(rates) - min(rates) <= limits[1] <= 1
        if max(rates) > 0:
            assert ratio[0] - 1e-9 <= min(rates) / max(rates) <= ratio[1] + 1e-9
    else:
        assert limits == ratio == [0, 1]


def test_conditions_and_leading_axes():
    x = torch.tensor([[[3, 9, 40], [5, 5, 6]], [[0, 1, 2], [3, 0, 0]]])
    n = torch.tensor([[[10, 30, 50], [9, 9, 9]], [[5, 5, 5], [6, 0, 0]]])
    for method in (
        extremes.largest_difference_interval,
        extremes.largest_difference_sum_interval,
        extremes.smallest_ratio_interval,
    ):
        both = method(x, n)
        assert both.low.shape == both.high.shape == (2,)
        for i in range(2):
            assert numbers(*method(x[i], n[i])) == [both.low[i].item(), both.high[i].item()]
    # One of two conditions cannot be compared: it bounds the difference from nowhere above.
    low, high = extremes.largest_difference_interval(x, n)
    assert high[1] == 1
    assert extremes.smallest_ratio_interval(x, n).low[1] == 0
    single = extremes.largest_difference_interval(x[0, :1], n[0, :1])
    assert low[0] <= single.low
    assert high[0] >= single.high


def test_a_difference_found_among_many_pairs_needs_more_evidence():
    x, n = torch.full((1, 40), 20), torch.full((1, 40), 100)
    x[0, 0] = 35
    alone = extremes.largest_difference_interval(x[:, :2], n[:, :2])
    among = extremes.largest_difference_interval(x, n)
    assert among.low < alone.low
    assert alone.low > 0
    assert among.high == alone.high


@pytest.mark.parametrize("groups", [3, 12])
@pytest.mark.parametrize("size", [10, 100])
def test_largest_difference_and_smallest_ratio_are_covered(groups, size):
    rng = np.random.default_rng(groups * size)
    n = torch.full((1, groups), size)
    for rates in (np.full(groups, 0.3), np.linspace(0.1, 0.6, groups)):
        x = torch.tensor(rng.binomial(size, rates, (1000, 1, groups)))
        for method, truth in (
            (extremes.largest_difference_interval, rates.max() - rates.min()),
            (extremes.smallest_ratio_interval, rates.min() / rates.max()),
        ):
            low, high = method(x, n.expand_as(x))
            held = (low <= truth + 1e-9) & (truth <= high + 1e-9)
            assert held.double().mean() > 0.93
            assert ((high if "diff" in method.__name__ else 1 - low) < 1).any()


def test_met_is_rarely_said_at_the_tolerance():
    for n_a, n_b in ((10, 10), (30, 10)):
        grid = torch.cartesian_prod(torch.arange(n_a + 1), torch.arange(n_b + 1))[:, None]
        high = extremes.largest_difference_interval(grid, torch.tensor([[n_a, n_b]])).high
        high = high.view(n_a + 1, n_b + 1).numpy()
        met = [
            pmf(n_a, p) @ (high <= abs(p - q) + 1e-9) @ pmf(n_b, q) for p in RATES for q in RATES
        ]
        assert 0.005 < max(met) <= 0.05


def test_sum_of_differences_is_covered_and_within_its_range():
    rng = np.random.default_rng(5)
    rates = np.array([[0.2, 0.3, 0.5], [0.7, 0.4, 0.6]])
    n = torch.tensor([[30, 100, 50], [40, 10, 80]])
    x = torch.tensor(rng.binomial(n.numpy(), rates, (1500, 2, 3)))
    low, high = extremes.largest_difference_sum_interval(x, n.expand_as(x))
    assert ((low <= 0.6) & (high >= 0.6)).double().mean() >= 0.95
    assert (low >= 0).all()
    assert (high <= 2).all()


def test_largest_difference_of_figures_with_intervals():
    value, reach = t(0.7, 0.9, 0.8, 5.0), t(0.03, 0.04, 0.01, 9.0)
    interval, present = Interval(value - reach, value + reach), torch.tensor([1, 1, 1, 0]).bool()
    two = extremes.largest_difference_of(
        value[:2], Interval(*(v[:2] for v in interval)), present[:2]
    )
    assert numbers(*two) == pytest.approx([0.15, 0.25])
    three = extremes.largest_difference_of(value, interval, present, most=1.0)
    assert three.high == pytest.approx(0.25)
    stretch = stats.norm.isf(0.025 / 3) / stats.norm.isf(0.025)
    assert three.low == pytest.approx(0.2 - 0.05 * stretch)
    none = extremes.largest_difference_of(value, interval, present & False, most=1.0)
    assert numbers(*none) == [0, 1]
    lost = Interval(interval.low, torch.where(present, torch.nan, 1.0))
    assert extremes.largest_difference_of(value, lost, present).high.isnan()


def test_conditions_and_groups_need_two_axes():
    with pytest.raises(ArgumentError, match="add an axis"):
        extremes.largest_difference_interval(torch.tensor([1, 2]), torch.tensor([3, 4]))
