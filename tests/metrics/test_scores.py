"""Metrics of scores: fixed slots, sums that merge, and what must be refused."""

import pickle

import pytest
import torch
from processes import two_processes
from scored_rows import GROUPS, RACE, batch, counted
from sklearn import metrics as sklearn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.counting import BLOCK
from fairlightning.functional.ranking import group_auroc
from fairlightning.functional.score_figures import (
    DISTANCES,
    binned_auroc,
    brier_score,
    calibration_error,
    score_distance,
)
from fairlightning.groups import GroupSpec
from fairlightning.metrics import AUROC, GroupAUROC, GroupCounts


@pytest.mark.parametrize(
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
@pytest.mark.parametrize("weighted", [False, True])
def test_absent_groups_keep_their_slots(codes, support, weighted):
    size = len(codes)
    logits = torch.tensor([1.0, -1.0, -1.0, 1.0])[:size]
    target = torch.tensor([1, 1, 0, 0])[:size]
    metric = GroupCounts(RACE)
    sensitive = torch.tensor(codes).long()
    metric.update(logits, target, sensitive, torch.ones(size) if weighted else None)
    table = metric.compute().scores
    assert table.rows.sum() == size
    assert table.rows[-1].sum() == size - sum(support)
    table = table.partition(RACE, ("race",))
    assert table.histogram.sum((-1, -2)).tolist() == support
    for rates in (
        brier_score(table.moments, table.rows),
        calibration_error(table.moments, table.rows),
    ):
        assert rates.support.tolist() == support
        assert rates.rate.isfinite().all()
    for area in binned_auroc(table.histogram, table.rows):
        assert area.rates.rate.isfinite().all()
        assert area.error.isfinite().all()
    within = binned_auroc(table.histogram, table.rows).within.rates
    assert within.support.tolist() == [n if n > 1 else 0 for n in support]
    for kind in DISTANCES:
        distance = score_distance(table.histogram, kind, table.rows)
        assert distance.rates.rate.isfinite().all()
        assert distance.rates.present.any() == (sum(n > 0 for n in support) > 1)


def same(first, second):
    # Sums of scores in another order differ in the last digit.
    for a, b in zip(first.compute().scores, second.compute().scores, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_pieces_merge_to_the_whole():
    rows = batch(300)
    parts = [tuple(c[a:b] for c in rows) for a, b in ((0, 7), (7, 7), (7, 120), (120, 300))]
    same(counted(*parts), counted(rows))
    assert torch.equal(counted(*parts).histogram, counted(rows).histogram)
    merged = counted(*parts[:2])
    merged.merge_state(counted(*parts[2:]))
    same(merged, counted(rows))
    long = batch(BLOCK + 9)
    halves = [tuple(c[s] for c in long) for s in (slice(0, 999), slice(999, None))]
    assert torch.equal(counted(*halves).histogram, counted(long).histogram)
    same(counted(*halves), counted(long))


def test_reset_pickle_and_cast():
    metric = counted(batch())
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(*batch(seed=1))
    same(copy, counted(batch(), batch(seed=1)))
    metric.reset()
    assert metric.histogram.sum() == 0
    metric.to(torch.bfloat16)
    metric.update(*batch(), weight=torch.full((400,), 0.1))
    assert metric.sums.dtype == metric.histogram.dtype == torch.float64
    assert metric.histogram.sum() == pytest.approx(40)


def test_the_state_does_not_grow_and_is_of_the_size_stated():
    crossed = GroupSpec({name: range(size) for name, size in (("a", 2), ("b", 5), ("c", 10))})
    metric = GroupCounts(crossed)
    for seed in range(3):
        metric.update(*batch(500, seed, crossed))
    nbytes = sum(state.nbytes for state in metric.metric_state.values())
    assert nbytes / crossed.num_cells == pytest.approx(19_000, rel=0.01)
    table = metric.compute().scores
    for partition in (("b",), ("a", "c"), ("a", "b", "c")):
        part = table.partition(crossed, partition)
        group = torch.cat(
            [crossed.group_ids(batch(500, s, crossed)[2], partition) for s in range(3)]
        )
        expected = torch.bincount(group[group >= 0], minlength=crossed.num_groups(partition))
        assert torch.equal(part.rows.sum(-1), expected)
        assert torch.equal(part.histogram.sum((-1, -2)).long(), expected)
        assert torch.equal(part.moments[..., 0].sum((-1, -2)).long(), expected)


def test_nan_logits_are_counted_apart_and_spoil_nothing():
    logits, target, sensitive = batch(50)
    broken = logits.clone()
    broken[[3, 7]] = torch.nan
    keep = torch.arange(50)[(torch.arange(50) != 3) & (torch.arange(50) != 7)]
    for weight in (None, torch.rand(50)):
        metric, clean = GroupCounts(GROUPS), GroupCounts(GROUPS)
        metric.update(broken, target, sensitive, weight)
        rest = None if weight is None else weight[keep]
        clean.update(logits[keep], target[keep], sensitive[keep], rest)
        assert metric.compute().scores.undecided == 2
        assert all(
            torch.equal(a, b)
            for a, b in zip(metric.compute().scores[:3], clean.compute().scores[:3], strict=True)
        )


def test_rows_without_mass_make_no_group():
    metric = GroupCounts(RACE)
    weight = torch.tensor([0.0, 2.0, 1.0])
    metric.update(torch.zeros(3), torch.ones(3), torch.tensor([0, 1, 2]), weight)
    table = metric.compute().scores.partition(RACE, ("race",))
    assert table.rows.sum(-1).tolist() == [0, 1, 1]
    assert brier_score(table.moments, table.rows).support.tolist() == [0, 1, 1]


@pytest.mark.parametrize("weighted", [False, True])
def test_exact_areas_of_the_metric_are_those_of_the_rows(weighted):
    rows = batch(200)
    weight = torch.rand(200) if weighted else None
    metric = GroupAUROC(GROUPS)
    for part in (slice(0, 90), slice(90, 90), slice(90, 200)):
        metric.update(*(c[part] for c in rows), None if weight is None else weight[part])
    metric = pickle.loads(pickle.dumps(metric))
    found = metric.compute()
    assert set(found) == set(GROUPS.partitions)
    score = torch.sigmoid(rows[0][:, 0].double())
    for partition, areas in found.items():
        group = GROUPS.group_ids(rows[2], partition)
        size = GROUPS.num_groups(partition)
        expected = group_auroc(score, rows[1] == 1, group, size, weight)
        for area, other in zip(areas, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(area, other, strict=True))
    overall = AUROC()
    overall.update(*rows[:2], weight)
    expected = sklearn.roc_auc_score(rows[1], score, sample_weight=weight)
    assert overall.compute().item() == pytest.approx(expected, abs=1e-12)


def test_exact_areas_of_no_rows_and_of_nan():
    metric = GroupAUROC(RACE)
    with pytest.warns(UserWarning, match="before the ``update``"):
        areas = metric.compute()["race",]
    assert areas.within.support.tolist() == areas.bpsn.support.tolist() == [0, 0, 0]
    metric.reset()
    metric.update(torch.tensor([0.0, torch.nan]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    with pytest.raises(ArgumentError, match="logits: found 1 rows of NaN"):
        metric.compute()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 8192}, "power of two"),
        ({"score_bins": 0}, "score_bins"),
        ({"groups": {"a": range(500), "b": range(200)}}, "100,701 × 2 × 896 slots"),
    ],
)
def test_what_cannot_be_counted_is_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        GroupCounts(**{"groups": GROUPS, **options})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": torch.zeros(5, 2)}, "logits"),
        ({"target": torch.tensor([0, 1, 2, 0, 0])}, "target.*0 to 2"),
        ({"sensitive": torch.tensor([[2, 0]] * 5)}, "sensitive"),
        ({"weight": torch.tensor([1.0, 1, -1, 1, 1])}, "weight.*-1.0"),
    ],
)
def test_wrong_rows_are_refused(change, words):
    rows = dict(zip(("logits", "target", "sensitive"), batch(5), strict=True)) | change
    metric = GroupCounts(GROUPS)
    with pytest.raises(ArgumentError, match=words):
        metric.update(**rows)
    assert metric.sums.sum() == 0


def _count(rank, parts):
    scores, areas = GroupCounts(GROUPS), GroupAUROC(GROUPS)
    for rows in parts[rank]:
        scores.update(*rows)
        areas.update(*rows)
    return scores.compute().scores, areas.compute()


def _by_sex():
    rows = batch(120)
    women = rows[2][:, 0] == 0
    return [tuple(c[women] for c in rows)], [tuple(c[~women] for c in rows)]


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize(
    "parts",
    [_by_sex(), ([batch(7, 1), batch(50, 2)], [batch(20, 3)]), ([batch(30, 4)], [])],
    ids=["a group on each", "unequal", "nothing on one"],
)
def test_two_processes_count_as_one(tmp_path, parts):
    rows = tuple(torch.cat(columns) for columns in zip(*parts[0], *parts[1], strict=True))
    expected = counted(rows).compute().scores
    exact = GroupAUROC(GROUPS)
    exact.update(*rows)
    for scores, areas in two_processes(tmp_path / "group", _count, parts):
        for a, b in zip(scores, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        for partition, found in areas.items():
            for area, other in zip(found, exact.compute()[partition], strict=True):
                assert torch.equal(area.support, other.support)
                torch.testing.assert_close(area.rate, other.rate)
