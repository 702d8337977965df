import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from fairlightning.functional import (
    criterion_cells,
    group_rates,
    parity_gap,
    rate_variance,
    rates_from_sums,
    row_moments,
    segment_sums,
)
from fairlightning.functional.rates import Rates


@given(st.lists(st.tuples(st.integers(-1, 3), st.floats(0, 1)), min_size=1, max_size=40))
def test_rates_equal_plain_means(rows):
    group = torch.tensor([g for g, _ in rows])
    score = torch.tensor([v for _, v in rows], dtype=torch.float64)
    rates = group_rates(score, group, 4)
    known = score[group >= 0]
    for g in range(4):
        mine = score[group == g]
        assert rates.support[g] == len(mine)
        expected = mine.mean() if len(mine) else known.mean() if len(known) else 0.0
        assert rates.rate[g].item() == pytest.approx(float(expected), abs=1e-12)


def test_condition_and_weight():
    score = torch.tensor([0.2, 0.4, 0.9, 0.5])
    group = torch.tensor([0, 0, 1, 1])
    target = torch.tensor([1, 0, 1, 1])
    rates = group_rates(score, group, 2, condition=target == 1)
    assert torch.allclose(rates.rate, torch.tensor([0.2, 0.7]))
    assert rates.support.tolist() == [1, 2]
    weighted = group_rates(score, group, 2, weight=torch.tensor([1.0, 3.0, 1.0, 0.0]))
    assert torch.allclose(weighted.rate, torch.tensor([0.35, 0.9]))
    assert weighted.support.tolist() == [2, 1]


def test_gradient_is_finite_when_groups_are_absent_or_all_unknown():
    for group in (torch.tensor([0, 0, 0]), torch.tensor([-1, -1, -1])):
        score = torch.tensor([0.2, 0.4, 0.9], requires_grad=True)
        rates = group_rates(score, group, 3)
        rates.rate.sum().backward()
        assert torch.isfinite(rates.rate).all()
        assert torch.isfinite(score.grad).all()


def test_unknown_rows_never_reach_the_last_group():
    sums = segment_sums(torch.ones(3), torch.tensor([-1, -1, 0]), 2)
    assert sums.tolist() == [1, 0]


def test_autocast_and_low_precision_sum_in_float32():
    value = torch.rand(4096)
    group = torch.randint(0, 2, (4096,))
    exact = group_rates(value.double(), group, 2).rate
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rates = group_rates(value, group, 2)
        low = group_rates(value.bfloat16(), group, 2)
    assert rates.rate.dtype == low.rate.dtype == torch.float32
    assert torch.allclose(rates.rate.double(), exact, atol=1e-6)
    assert low.support.sum() == 4096


def test_leading_axes_and_vmap_agree_with_a_loop():
    value = torch.rand(5, 30)
    group = torch.randint(-1, 3, (30,))
    at_once = group_rates(value, group, 3)
    mapped = torch.vmap(lambda v: group_rates(v, group, 3).rate)(value)
    looped = torch.stack([group_rates(v, group, 3).rate for v in value])
    assert torch.allclose(at_once.rate, looped)
    assert torch.allclose(mapped, looped)


def test_rates_gradcheck():
    group = torch.tensor([0, 1, -1, 1, 0])
    score = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda s: group_rates(s, group, 3).rate[:2], (score,))


def test_cells_of_criteria():
    target = torch.tensor([0, 1, 1, 0])
    group = torch.tensor([1, 0, -1, 0])
    assert criterion_cells("demographic_parity", target, group, 2).tolist() == [1, 0, -1, 0]
    assert criterion_cells("equal_opportunity", target, group, 2).tolist() == [-1, 0, -1, -1]
    assert criterion_cells("equalized_odds", target, group, 2).tolist() == [1, 2, -1, 0]


def _rates(values, support=None):
    rate = torch.tensor(values, dtype=torch.float64)
    return Rates(rate, torch.ones_like(rate) if support is None else torch.tensor(support))


def test_gaps_by_hand():
    rates = _rates([[0.5, 0.2, 0.3]])
    assert parity_gap(rates, "max").item() == pytest.approx(0.3)
    assert parity_gap(rates, "mean").item() == pytest.approx((0.3 + 0.2 + 0.1) / 3)
    assert parity_gap(rates, "squared").item() == pytest.approx((0.09 + 0.04 + 0.01) / 3)
    assert 0.2 < parity_gap(rates, "logsumexp", temperature=0.01).item() <= 0.3
    odds = _rates([[0.5, 0.2], [0.9, 0.8]])
    assert parity_gap(odds, "max").item() == pytest.approx(0.3)
    assert parity_gap(odds, "mean").item() == pytest.approx(0.2)


def test_a_condition_that_cannot_be_compared_does_not_dilute_the_others():
    rates = _rates([[0.5, 0.2], [0.9, 0.9]], support=[[3, 3], [4, 0]])
    for kind in ("max", "mean", "logsumexp"):
        assert parity_gap(rates, kind, temperature=1e-3).item() == pytest.approx(0.3, abs=2e-3)
    assert parity_gap(rates, "squared").item() == pytest.approx(0.09)


def test_debiased_square_is_unbiased_where_the_plain_one_is_not():
    torch.manual_seed(0)
    draws = torch.bernoulli(torch.full((40_000, 64), 0.3, dtype=torch.float64))
    group = (torch.arange(64) < 8).long()
    moments = row_moments(draws, square=True)
    total, mass, square = (segment_sums(moment, group, 2) for moment in moments)
    rates = rates_from_sums(total, mass)
    rates = Rates(rates.rate.unsqueeze(-2), rates.support.unsqueeze(-2))
    plain = parity_gap(rates, "squared")
    fair = parity_gap(rates, "squared", variance=rate_variance(rates, square.unsqueeze(-2)))
    error = fair.std().item() / np.sqrt(len(fair))
    assert plain.mean().item() > 20 * error
    assert abs(fair.mean().item()) < 4 * error
