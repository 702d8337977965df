"""Counting: fixed slots, exact sums, and what must be refused."""

import pickle

import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import confusion as fn
from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupConfusion

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})
RACE = GroupSpec({"race": ["a", "b", "c"]})


def batch(rows=200, seed=0, groups=GROUPS):
    rng = torch.Generator().manual_seed(seed)
    codes = [torch.randint(-1, size, (rows,), generator=rng) for size in groups.sizes]
    return (
        torch.randn(rows, 1, generator=rng),
        torch.randint(0, 2, (rows,), generator=rng),
        torch.stack(codes, dim=1),
    )


def counted(*batches, groups=GROUPS, **kwargs):
    metric = GroupConfusion(groups, **kwargs)
    for rows in batches:
        metric.update(*rows)
    return metric


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.compute(), second.compute(), strict=True))


def by_loop(rows, groups, partition, threshold=0.5):
    logits, target, sensitive = rows
    ids = groups.group_ids(sensitive, partition)
    table = torch.zeros(groups.num_groups(partition), 2, 2, dtype=torch.long)
    for logit, label, group in zip(logits.flatten(), target, ids, strict=True):
        if group >= 0:
            table[group, int(label), int(torch.sigmoid(logit.double()) >= threshold)] += 1
    return table


@pytest.mark.parametrize("partition", [("sex",), ("race",), ("sex", "race"), ("race", "sex")])
def test_partitions_are_sums_of_cells(partition):
    rows = batch()
    table = counted(rows).compute()
    expected = by_loop(rows, GROUPS, partition)
    for counts in (table.counts, table.mass):
        assert torch.equal(fn.partition_confusion(counts, GROUPS, partition), expected.to(counts))
    unknown = (GROUPS.group_ids(rows[2], partition) < 0).sum()
    assert table.counts.sum() - expected.sum() == unknown
    assert table.counts.sum() == len(rows[1])


def test_tables_of_several_models_stack():
    logits, target, sensitive = batch()
    decision = torch.stack([logits[:, 0] >= 0, logits[:, 0] >= 1])
    cell = GROUPS.cell_ids(sensitive)
    weight = torch.rand(len(target))
    for mass in (None, weight):
        both = fn.group_confusion(decision, target, cell, GROUPS.num_cells, mass)
        for model in range(2):
            one = fn.group_confusion(decision[model], target, cell, GROUPS.num_cells, mass)
            assert torch.equal(both[model], one)
    groups = fn.partition_confusion(both, GROUPS, ("race",))
    assert groups.shape == (2, 3, 2, 2)
    assert fn.equalized_odds_difference(groups).value.shape == (2,)


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
def test_absent_groups_keep_their_slots(codes, support):
    logits = torch.tensor([1.0, -1.0, -1.0, 1.0])[: len(codes)]
    target = torch.tensor([1, 1, 0, 0])[: len(codes)]
    table = counted((logits, target, torch.tensor(codes).long()), groups=RACE).compute()
    counts = fn.partition_confusion(table.counts, RACE, ("race",))
    rates = fn.selection_rate(counts)
    assert rates.support.tolist() == support
    assert rates.rate.isfinite().all()
    two = sum(n > 0 for n in support) > 1
    for criterion in (
        fn.demographic_parity_difference,
        fn.demographic_parity_ratio,
        fn.equal_opportunity_difference,
        fn.equalized_odds_difference,
    ):
        value, least = criterion(counts)
        assert value.isfinite()
        assert (least > 0) == two


def test_a_group_without_positives_takes_no_part_in_equal_opportunity():
    # [[TN, FP], [FN, TP]]; group 1 has no positives, groups 0 and 2 have TPR 1/2 and 3/4.
    counts = torch.tensor([[[3, 1], [2, 2]], [[4, 1], [0, 0]], [[3, 1], [1, 3]]])
    value, support = fn.equal_opportunity_difference(counts)
    assert (value.item(), support.item()) == (0.25, 4)
    assert fn.equalized_odds_difference(counts).support == 4
    only = counts.clone()
    only[2, 1] = 0
    assert fn.equal_opportunity_difference(only).support == 0
    # The false positive rates alone would give a number, but only a bound from below.
    assert fn.equalized_odds_difference(only).support == 0


def test_the_ratio_is_not_estimable_when_nobody_is_selected():
    nobody = torch.tensor([[[3, 0], [2, 0]], [[4, 0], [1, 0]]])
    assert fn.demographic_parity_ratio(nobody).support == 0
    assert fn.demographic_parity_difference(nobody) == (0.0, 5)
    one = torch.tensor([[[3, 1], [2, 2]], [[4, 0], [1, 0]]])
    assert fn.demographic_parity_ratio(one) == (0.0, 5)


def test_rows_without_mass_make_no_group():
    logits, target = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([1, 0, 1])
    metric = GroupConfusion(RACE)
    metric.update(logits, target, torch.tensor([0, 1, 2]), torch.tensor([0.0, 2.0, 1.0]))
    counts, mass = (fn.partition_confusion(t, RACE, ("race",)) for t in metric.compute()[:2])
    assert fn.selection_rate(counts, mass).support.tolist() == [0, 1, 1]


def test_pieces_merge_to_the_whole():
    rows = batch(300)
    whole = counted(rows)
    parts = [
        tuple(column[a:b] for column in rows) for a, b in ((0, 7), (7, 7), (7, 120), (120, 300))
    ]
    assert same(counted(*parts), whole)
    merged = counted(*parts[:2])
    merged.merge_state(counted(*parts[2:]))
    assert same(merged, whole)
    shuffled = torch.randperm(300)
    assert same(counted(tuple(column[shuffled] for column in rows)), whole)


def test_weights_of_one_change_nothing():
    rows = batch()
    metric = GroupConfusion(GROUPS)
    metric.update(*rows, weight=torch.ones(len(rows[1])))
    metric.update(*rows)
    assert same(metric, counted(rows, rows))


def test_counts_stay_exact_where_float32_saturates():
    metric = counted(batch(4))
    metric.counts = metric.counts + 2**24
    metric.mass = metric.mass + 2**24
    before = metric.compute()
    metric.update(torch.tensor([1.0]), torch.tensor([1]), torch.tensor([[0, 0]]))
    after = metric.compute()
    assert after.counts.dtype == torch.int64
    assert (after.counts - before.counts).sum() == 1
    assert (after.mass - before.mass).sum() == 1


def test_reset_pickle_and_cast():
    metric = counted(batch())
    copy = pickle.loads(pickle.dumps(metric))
    copy.update(*batch(seed=1))
    assert same(copy, counted(batch(), batch(seed=1)))
    metric.reset()
    assert metric.counts.sum() == 0
    # A model in bfloat16 casts the metrics that it holds.
    metric.to(torch.bfloat16)
    metric.update(*batch(), weight=torch.full((200,), 0.1))
    assert metric.mass.dtype == torch.float64
    assert metric.compute().mass.sum() == pytest.approx(200 * 0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9])
def test_decisions_are_taken_on_float64_scores(dtype, threshold):
    rows = batch(500)
    logits = (rows[0] * 3).to(dtype)
    logits[:3] = torch.tensor([[0.0], [0.5], [1.0]])  # logits even where they look like scores
    rows = (logits.requires_grad_(), *rows[1:])
    metric = counted(rows, threshold=threshold)
    expected = by_loop(rows, GROUPS, ("sex",), threshold)
    found = fn.partition_confusion(metric.compute().counts, GROUPS, ("sex",))
    assert torch.equal(found, expected)
    assert not metric.mass.requires_grad


def test_nan_logits_are_told_apart():
    logits, target, sensitive = batch(5)
    logits[2] = torch.nan
    assert counted((logits, target, sensitive)).compute().undecided == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": torch.zeros(5, 2)}, "logits.*(5, 2)"),
        ({"logits": torch.zeros(5).long()}, "logits.*int64"),
        ({"target": torch.zeros(4)}, "target.*(4,)"),
        ({"target": torch.tensor([0, 1, 2, 0, 0])}, "target.*0 to 2"),
        ({"target": torch.tensor([0, 1, -1, 0, 0])}, "target.*-1 to 1"),
        ({"target": torch.tensor([0, 1, torch.nan, 0, 0])}, "target"),
        ({"sensitive": torch.tensor([[2, 0]] * 5)}, "sensitive"),
        ({"sensitive": torch.zeros(5, 1).long()}, "sensitive"),
        ({"weight": torch.tensor([1.0, 1, -1, 1, 1])}, "weight.*-1.0"),
        ({"weight": torch.tensor([1.0, 1, torch.nan, 1, 1])}, "weight"),
        ({"weight": torch.ones(5, 5)}, "weight.*(5, 5)"),
    ],
)
def test_wrong_rows_are_refused(change, words):
    rows = dict(zip(("logits", "target", "sensitive"), batch(5), strict=True)) | change
    metric = GroupConfusion(GROUPS)
    with pytest.raises(ArgumentError, match=words.replace("(", r"\(").replace(")", r"\)")):
        metric.update(**rows)
    assert metric.counts.sum() == 0


@pytest.mark.parametrize("threshold", [0.0, 1.0, -3.0, float("nan")])
def test_thresholds_are_probabilities(threshold):
    with pytest.raises(ArgumentError, match="threshold"):
        GroupConfusion(GROUPS, threshold)
