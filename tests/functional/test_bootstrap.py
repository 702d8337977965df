"""The bootstrap against scipy's and against exact limits; strata, seeds, chunks, lost figures."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import bootstrap
from fairlightning.functional.bootstrap import (
    bootstrap_distance_interval,
    bootstrap_interval,
    bootstrap_rows_interval,
    half_row,
    half_rows_of_bins,
    resample,
)
from fairlightning.functional.intervals import rate_interval

TABLE = torch.tensor([[[40, 10], [5, 25]], [[3, 1], [0, 4]], [[0, 0], [0, 0]]])


def f1(table):
    return 2 * table[..., 1, 1] / (2 * table[..., 1, 1] + table[..., 0, 1] + table[..., 1, 0])


def selected(table):
    return table[..., 1].sum(-1) / table.sum((-2, -1))


def auroc(table):
    negative, positive = table.unbind(-2)
    below = negative.cumsum(-1) - negative / 2
    return (positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1))


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8), st.sampled_from([1, 2]))
@settings(max_examples=30)
def test_every_stratum_keeps_its_rows(counts, within):
    table = torch.tensor(counts).view(2, 2, 2)
    drawn = resample(table, 20, within=within, prior=0.5)
    cells = tuple(range(-within, 0))
    assert drawn.shape == (20, 2, 2, 2)
    assert (drawn >= 0).all()
    expected = table.double().sum(cells).expand(20, *table.shape[:-within])
    assert torch.allclose(drawn.sum(cells), expected, rtol=1e-12)


def test_draws_have_the_moments_of_the_dirichlet_distribution():
    counts = torch.tensor([2.0, 5.0, 13.0])
    drawn = resample(counts, 40_000, within=1, prior=0.5, seed=3) / 20
    exact = stats.dirichlet((counts + 0.5).numpy())
    assert drawn.mean(0).numpy() == pytest.approx(exact.mean(), abs=2e-3)
    assert drawn.var(0).numpy() == pytest.approx(exact.var(), rel=0.05)


def test_without_prior_an_empty_cell_stays_empty():
    drawn = resample(TABLE, 50, within=2, prior=0.0)
    assert (drawn[:, TABLE == 0] == 0).all()
    assert (resample(TABLE, 50, within=2)[:, 1, 1, 0] > 0).all()


def test_a_rate_gets_the_limits_of_jeffreys_interval():
    low, high = bootstrap_interval(selected, TABLE[:2], within=2, num_resamples=20_000)
    for group, (x, n) in enumerate([(35, 80), (5, 8)]):
        # Two cells of 1/2 on either side make the prior of the selection rate Beta(1, 1).
        exact = stats.beta(x + 1, n - x + 1).ppf([0.025, 0.975])
        assert (low[group], high[group]) == pytest.approx(exact, abs=5e-3)


def test_large_tables_agree_with_the_bootstrap_of_scipy():
    table = torch.tensor([[300, 60], [40, 200]])
    cell = torch.arange(4).repeat_interleave(table.flatten()).numpy()

    def f1_of_cells(cell, axis):
        hits, errors = (cell == 3).sum(axis), ((cell == 1) | (cell == 2)).sum(axis)
        return 2 * hits / (2 * hits + errors)

    theirs = stats.bootstrap(
        (cell,), f1_of_cells, n_resamples=10_000, batch=500, method="percentile", rng=0
    ).confidence_interval
    ours = bootstrap_interval(f1, table, within=2, num_resamples=10_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=4e-3)


def test_a_group_without_errors_is_not_certain():
    perfect = torch.tensor([[6, 0], [0, 4]])
    assert bootstrap_interval(f1, perfect, within=2).low < 0.9
    scores = torch.zeros(2, 20)
    scores[0, :5] = scores[1, 15:] = 1
    low, high = bootstrap_interval(auroc, scores, within=1, prior=half_row(scores))
    assert 0.5 < low < 0.95
    assert high == auroc(scores)
    bare = bootstrap_interval(auroc, scores, within=1, prior=0.0)
    assert (bare.low, bare.high) == pytest.approx((1, 1))


@pytest.mark.parametrize("share", [[0.4, 0.1, 0.1, 0.4], [0.48, 0.02, 0.02, 0.48]])
def test_f1_is_covered_in_groups_of_ten(share):
    share = torch.tensor(share, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    cells = torch.multinomial(share.expand(1000, 4), 10, replacement=True, generator=generator)
    table = torch.nn.functional.one_hot(cells, 4).sum(1).view(-1, 2, 2)
    low, high = bootstrap_interval(f1, table, within=2, num_resamples=400)
    truth = f1(share.view(2, 2))
    known = ~low.isnan()
    assert known.double().mean() > 0.99
    assert ((low <= truth) & (truth <= high))[known].double().mean() > 0.91


def test_half_a_row_for_each_label_where_its_group_has_scores():
    table = torch.tensor([[[2, 0, 2], [0, 0, 4]], [[0, 0, 0], [0, 0, 0]]])
    assert half_row(table).tolist() == [[[0.125, 0, 0.375]] * 2, [[0, 0, 0]] * 2]


def test_seed_and_chunks(monkeypatch):
    once = bootstrap_interval(f1, TABLE, within=2, num_resamples=300, seed=7)
    other = bootstrap_interval(f1, TABLE, within=2, num_resamples=300, seed=8)
    monkeypatch.setattr(bootstrap, "CHUNK", 7 * TABLE.numel())
    again = bootstrap_interval(f1, TABLE, within=2, num_resamples=300, seed=7)
    assert torch.equal(once.low[:2], again.low[:2])
    assert torch.equal(once.high[:2], again.high[:2])
    assert not torch.equal(once.low[:2], other.low[:2])


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    monkeypatch.setattr(bootstrap, "CHUNK", 64)
    seen = []
    bootstrap_interval(lambda t: seen.append(t.numel()) or f1(t), TABLE, within=2)
    assert max(seen) <= 64
    rows = torch.arange(20.0)
    bootstrap_rows_interval(
        lambda x: seen.append(x.numel()) or x.mean(-1), [rows], torch.zeros(20).long()
    )
    assert max(seen) <= 64


def test_an_absent_group_has_no_limits():
    low, high = bootstrap_interval(f1, TABLE, within=2)
    assert low.isnan().tolist() == high.isnan().tolist() == [False, False, True]


def test_figures_that_are_sometimes_lost_count_against_both_limits():
    counts = torch.tensor([50.0, 50.0])

    def lost_below(bound):
        def share(table):
            figure = table[..., 0] / 100
            return torch.where(figure < bound, torch.nan, figure)

        return share

    whole = bootstrap_interval(lambda t: t[..., 0] / 100, counts, within=1)
    rarely = bootstrap_interval(lost_below(0.39), counts, within=1)
    # The lost figures were the lowest: they may have been the highest as well.
    assert rarely.low == whole.low
    assert rarely.high > whole.high
    shifted = bootstrap_interval(lambda t: -lost_below(0.39)(t), counts, within=1)
    assert shifted.low == -rarely.high
    often = bootstrap_interval(lost_below(0.45), counts, within=1)
    assert often.low.isnan()
    assert often.high.isnan()


def test_leading_axes_and_several_figures_at_once():
    both = bootstrap_interval(
        lambda t: torch.stack([f1(t), selected(t)], -1), TABLE[None, :2], within=2
    )
    assert both.low.shape == (1, 2, 2)
    assert (both.low < both.high).all()


def residuals(table):
    # Scores at the middle of ten bins; the signed parts of the calibration error.
    score = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    return (table[..., 1, :] - table.sum(-2) * score) / table.sum((-2, -1)).unsqueeze(-1)


@pytest.mark.parametrize("size", [10, 100, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_calibration_errors_are_covered_at_zero_too(size, shift):
    positive = (torch.linspace(0.05, 0.95, 10, dtype=torch.float64) - shift).clamp_min(0.01)
    share = torch.stack([1 - positive, positive]) / 10
    generator = torch.Generator().manual_seed(0)
    cell = torch.multinomial(share.flatten().expand(500, 20), size, True, generator=generator)
    table = torch.nn.functional.one_hot(cell, 20).sum(1).view(-1, 2, 10)
    options = dict(within=2, num_resamples=300, prior=half_rows_of_bins(table))
    low, high = bootstrap_distance_interval(residuals, table, **options)
    figure, truth = residuals(table.double()).abs().sum(-1), residuals(share).abs().sum()
    assert ((low <= figure) & (figure <= high)).all()
    assert ((low <= truth + 1e-9) & (truth <= high)).double().mean() > 0.94
    if size == 1000:
        assert (high < 0.25).all()
        assert (low > 0.05).all() == (shift > 0)


def test_a_distance_without_rows_has_no_limits():
    table = torch.stack([torch.ones(2, 10), torch.zeros(2, 10)])
    prior = half_rows_of_bins(table)
    assert prior.sum((1, 2)).tolist() == [10, 0]
    low, high = bootstrap_distance_interval(residuals, table, within=2, prior=prior)
    assert low.isnan().tolist() == high.isnan().tolist() == [False, True]


def rows_of(size=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(size) % 4 == 0
    return torch.randn(size, generator=generator).double() + label, label


def rank_auroc(positives):
    def area(score):
        positive, negative = score[:, -positives:], score[:, :-positives]
        return (positive[:, :, None] > negative[:, None]).double().mean((1, 2))

    return area


def test_rows_agree_with_the_stratified_bootstrap_of_scipy():
    score, label = rows_of()
    ours = bootstrap_rows_interval(rank_auroc(100), [score], label.long())
    assert rank_auroc(100)(torch.cat([score[~label], score[label]])[None]) == pytest.approx(
        roc_auc_score(label, score)
    )
    theirs = stats.bootstrap(
        (score[~label].numpy(), score[label].numpy()),
        lambda negative, positive: roc_auc_score(
            [0] * len(negative) + [1] * len(positive), [*negative, *positive]
        ),
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_rows_stay_in_their_stratum_and_together():
    stratum = torch.tensor([3, -1, 0, 3, 0, 3])
    value = stratum * 10 + torch.tensor([0, 0, 0, 1, 1, 2])
    seen = []

    def statistic(first, second):
        seen.append((first, second))
        return first.double().mean(-1)

    bootstrap_rows_interval(statistic, [value, value + 100], stratum)
    first, second = seen[0]
    assert torch.equal(first + 100, second)
    assert ((first[:, :2] // 10 == 0) & (first[:, :2] >= 0)).all()
    assert (first[:, 2:] // 10 == 3).all()
    assert first.unique().tolist() == [0, 1, 30, 31, 32]


def test_rows_are_reproducible():
    score, label = rows_of(40)
    runs = [
        bootstrap_rows_interval(lambda x: x.mean(-1), [score], label.long(), seed=seed)
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (torch.tensor([[1, -1], [0, 1]]), {}, "smallest count -1"),
        (TABLE, {"prior": -0.5}, "smallest pseudo-count -0.5"),
        (TABLE, {"within": 4}, "within=4"),
        (TABLE, {"num_resamples": 100}, "num_resamples: found 100"),
        (TABLE, {"level": 1.0}, "level: found 1.0"),
    ],
)
def test_impossible_arguments_are_named(table, options, message):
    with pytest.raises(ArgumentError, match=message):
        bootstrap_interval(f1, table, **{"within": 2, **options})


def test_columns_of_other_length_are_named():
    with pytest.raises(ArgumentError, match="columns"):
        bootstrap_rows_interval(lambda x: x.mean(-1), [torch.zeros(3)], torch.zeros(4).long())


def test_wider_level_wider_interval():
    narrow = bootstrap_interval(f1, TABLE[:2], within=2, level=0.8)
    wide = bootstrap_interval(f1, TABLE[:2], within=2, level=0.99)
    assert (wide.low < narrow.low).all()
    assert (wide.high > narrow.high).all()
    exact = rate_interval(torch.tensor([35]), torch.tensor([80]), level=0.99)
    drawn = bootstrap_interval(selected, TABLE[:1], within=2, level=0.99)
    assert torch.allclose(torch.cat(drawn), torch.cat(exact), atol=0.02)
