"""Figures of scores, binned and exact: against scikit-learn, scipy, torchmetrics, by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scored_rows import GROUPS, batch, counted
from sklearn import metrics as sklearn
from torchmetrics.functional.classification import binary_calibration_error

from fairlightning.functional.ranking import group_auroc
from fairlightning.functional.score_bins import bin_edges, logit_bins
from fairlightning.functional.score_figures import (
    DISTANCES,
    binned_auroc,
    brier_score,
    calibration_error,
    reliability,
    score_distance,
)
from fairlightning.functional.score_histogram import confusion_and_scores
from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupCounts


def pairs_by_hand(positive, negative, weights=None):
    """Share of pairs that the positive wins, by looking at each."""
    if not len(positive) or not len(negative):
        return None
    above = positive[:, None] - negative[None, :]
    won = (above > 0) + 0.5 * (above == 0)
    mass = np.ones_like(won) if weights is None else weights[0][:, None] * weights[1][None, :]
    return (won * mass).sum() / mass.sum()


def areas_by_hand(logit, positive, group, weight, which):
    own, other = group == which, (group >= 0) & (group != which)
    sides = ((own, own), (other, own), (own, other))
    for hits, misses in sides:
        hits, misses = hits & positive, misses & ~positive
        yield (
            pairs_by_hand(logit[hits], logit[misses], (weight[hits], weight[misses])),
            hits.sum() + misses.sum(),
        )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    groups=st.integers(1, 4),
    levels=st.sampled_from([2, 5, 1000]),
    weighted=st.booleans(),
)
def test_areas_within_and_across_groups_are_those_of_pairs(seed, rows, groups, levels, weighted):
    rng = np.random.default_rng(seed)
    logit = 12 * rng.integers(-levels, levels + 1, rows) / levels  # with many ties
    positive = rng.random(rows) < 0.4
    group = rng.integers(-1, groups, rows)
    weight = rng.random(rows) + 0.01 if weighted else np.ones(rows)
    mass = torch.tensor(weight) if weighted else None
    columns = [torch.tensor(column) for column in (logit, positive, group)]
    exact = group_auroc(*columns, groups, mass)
    # One category more than there are groups, since a spec needs two.
    spec = GroupSpec({"g": range(groups + 1)})
    logits, label, codes = columns
    _, table = confusion_and_scores(logits, logits >= 0, label, codes[:, None], spec, weight=mass)
    table = table.partition(spec, ("g",))
    binned = binned_auroc(table.histogram, table.rows)
    for which in range(groups):
        expected = areas_by_hand(logit, positive, group, weight, which)
        for area, rough, (value, support) in zip(exact, binned, expected, strict=True):
            if value is None:
                assert area.support[which] == rough.rates.support[which] == 0
                assert area.rate[which] == rough.rates.rate[which] == 0.5
                assert rough.error[which] == 0
                continue
            assert area.support[which] == rough.rates.support[which] == support
            assert area.rate[which].item() == pytest.approx(value, abs=1e-9)
            error = rough.error[which].item()
            assert rough.rates.rate[which].item() == pytest.approx(value, abs=error + 1e-9)


def test_the_binning_error_is_small_and_stated():
    rows = batch(20_000, spread=1.0)
    positive, group = rows[1] == 1, GROUPS.group_ids(rows[2], ("race",))
    exact = group_auroc(rows[0][:, 0], positive, group, 3)
    table = counted(rows).compute().scores.partition(GROUPS, ("race",))
    for area, rough in zip(exact, binned_auroc(table.histogram, table.rows), strict=True):
        off = (area.rate - rough.rates.rate).abs()
        assert (off <= rough.error).all()
        assert (off < 1e-4).all()
        assert (rough.error < 1.5e-3).all()
    coarse = counted(rows, resolution=8).compute().scores.partition(GROUPS, ("race",))
    wide = binned_auroc(coarse.histogram, coarse.rows).within.error
    assert (wide > 4 * rough.error).all()


@pytest.mark.parametrize("resolution", [1, 8, 64, 4096])
def test_bins_are_ordered_and_lie_between_their_edges(resolution):
    edges = bin_edges(resolution)
    rng = torch.Generator().manual_seed(0)
    logits = torch.cat([s * torch.randn(5000, generator=rng) for s in (1e-6, 0.1, 1, 10, 100)])
    ends = torch.tensor([-torch.inf, torch.inf, 0.0, -0.0, 31.75, -31.75, 88.0, 1e30])
    logits = torch.cat([logits, ends]).sort().values
    bins = logit_bins(logits, resolution)
    assert (bins.diff() >= 0).all()
    assert bins.min() == 0
    assert bins.max() == len(edges) - 2 == 14 * resolution - 1
    assert (edges.diff() > 0).all()
    # In float32 a logit is known to one part in ten million.
    slack = 1e-7 * (logits.double().abs() + 0.25)
    assert (logits.double() >= edges[bins] - slack).all()
    assert (logits.double() <= edges[bins + 1] + slack).all()
    assert logit_bins(torch.tensor([0.0]), resolution) == logit_bins(-torch.zeros(1), resolution)
    middle = logit_bins(torch.tensor([-1e-20, 0.0]), resolution).tolist()
    assert middle == [7 * resolution - 1, 7 * resolution]


@pytest.mark.parametrize("weighted", [False, True])
def test_brier_and_calibration_are_those_of_the_libraries(weighted):
    logits, target, sensitive = batch(600)
    weight = torch.rand(600) + 0.1 if weighted else None
    metric = GroupCounts(GROUPS)
    metric.update(
        logits[:250], target[:250], sensitive[:250], None if weight is None else weight[:250]
    )
    metric.update(
        logits[250:], target[250:], sensitive[250:], None if weight is None else weight[250:]
    )
    table = metric.compute().scores.partition(GROUPS, ("sex",))
    brier, error = (
        brier_score(table.moments, table.rows),
        calibration_error(table.moments, table.rows),
    )
    group = GROUPS.group_ids(sensitive, ("sex",))
    score = torch.sigmoid(logits[:, 0].double())
    for which in range(2):
        mine = group == which
        mass = np.ones(int(mine.sum())) if weight is None else weight[mine].double().numpy()
        expected = sklearn.brier_score_loss(target[mine], score[mine], sample_weight=mass)
        assert brier.rate[which].item() == pytest.approx(expected, abs=1e-12)
        assert brier.support[which] == error.support[which] == mine.sum()
        by_hand = ece_by_hand(score[mine].numpy(), target[mine].numpy(), mass)
        assert error.rate[which].item() == pytest.approx(by_hand, abs=1e-12)
        if not weighted:
            library = binary_calibration_error(score[mine], target[mine], n_bins=15)
            assert error.rate[which].item() == pytest.approx(library.item(), abs=1e-6)


def ece_by_hand(score, target, weight, bins=15):
    total = 0.0
    for which in range(bins):
        mine = np.minimum(np.floor(score * bins), bins - 1) == which
        total += abs((weight * (score - target))[mine].sum())
    return total / weight.sum()


def test_reliability_is_the_mean_of_each_bin():
    logits, target, sensitive = batch(600)
    table = (
        counted((logits, target, sensitive), score_bins=10)
        .compute()
        .scores.partition(GROUPS, ("race",))
    )
    curve = reliability(table.moments)
    score = torch.sigmoid(logits[:, 0].double())
    group = GROUPS.group_ids(sensitive, ("race",))
    for which in range(3):
        for each in range(10):
            mine = (group == which) & ((score * 10).floor() == each)
            assert curve.mass[which, each] == mine.sum()
            if mine.any():
                assert curve.mean_score[which, each].item() == pytest.approx(
                    score[mine].mean().item()
                )
                rate = target[mine].double().mean().item()
                assert curve.positive_rate[which, each].item() == pytest.approx(rate)
            else:
                assert curve.mean_score[which, each] == curve.positive_rate[which, each] == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_distances_are_those_of_scipy_within_their_error(weighted):
    logits, target, sensitive = batch(3000)
    logits = logits + sensitive[:, 1:]  # shifts the groups of the second attribute
    weight = torch.rand(3000) + 0.1 if weighted else None
    metric = GroupCounts(GROUPS)
    metric.update(logits, target, sensitive, weight)
    table = metric.compute().scores.partition(GROUPS, ("race",))
    group = GROUPS.group_ids(sensitive, ("race",))
    score = torch.sigmoid(logits[:, 0].double())
    smirnov, wasserstein = (score_distance(table.histogram, k, table.rows) for k in DISTANCES)
    for distance in (smirnov, wasserstein):
        assert torch.equal(distance.rates.rate, distance.rates.rate.T)
        assert (distance.rates.rate.diagonal() == 0).all()
    for a in range(3):
        for b in range(a):
            first, second = score[group == a].numpy(), score[group == b].numpy()
            masses = (
                [None, None] if weight is None else [weight[group == g].numpy() for g in (a, b)]
            )
            expected = stats.wasserstein_distance(first, second, *masses)
            error = wasserstein.error[a, b].item()
            assert error < 0.003
            assert wasserstein.rates.rate[a, b].item() == pytest.approx(expected, abs=error)
            assert wasserstein.rates.support[a, b] == min(len(first), len(second))
            if not weighted:
                expected = stats.ks_2samp(first, second).statistic
                found = smirnov.rates.rate[a, b].item()
                assert found <= expected + 1e-12
                assert expected <= found + smirnov.error[a, b].item()
                assert smirnov.error[a, b] < 0.03


def test_resampled_tables_go_through_at_once():
    table = counted(batch()).compute().scores.partition(GROUPS, ("race",))
    rng = torch.Generator().manual_seed(0)
    more = torch.randint(1, 4, (5, 1, 1, 1), generator=rng)
    histograms, moments = table.histogram * more, table.moments * more.unsqueeze(-1)
    areas = binned_auroc(histograms)
    assert areas.bnsp.rates.rate.shape == areas.bnsp.error.shape == (5, 3)
    torch.testing.assert_close(areas.within.rates.rate[4], areas.within.rates.rate[0])
    one = brier_score(table.moments, table.rows)
    many = brier_score(moments)
    torch.testing.assert_close(many.rate, one.rate.expand(5, 3))
    assert torch.equal(many.support, one.support * more.view(5, 1))
    one = calibration_error(table.moments).rate
    torch.testing.assert_close(calibration_error(moments).rate, one.expand(5, 3))
    for kind in DISTANCES:
        found = score_distance(histograms, kind).rates.rate
        expected = score_distance(table.histogram, kind).rates.rate
        torch.testing.assert_close(found, expected.expand(5, 3, 3))
