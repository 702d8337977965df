"""Counting: fixed slots, exact sums, and what must be refused."""

import pickle

import pytest
import torch
from processes import two_processes
from sklearn.metrics import confusion_matrix

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.confusion import ConfusionTable, decision_logit
from fairlightning.functional.counting import BLOCK
from fairlightning.functional.criteria import CRITERIA, criterion_difference
from fairlightning.functional.proportions import RATES, proportion_rates, proportion_trials
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupConfusion
from fairlightning.metrics.multiclass import MulticlassMetrics, multiclass_records
from fairlightning.metrics.stage import INTERVALS
from fairlightning.metrics.tasks import stage_metrics

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
    for counts in table.partition(GROUPS, partition)[:3]:
        assert torch.equal(counts, expected.to(counts))
    unknown = (GROUPS.group_ids(rows[2], partition) < 0).sum()
    assert table.counts.sum() - expected.sum() == unknown
    assert table.counts.sum() == len(rows[1])


def test_tables_of_several_models_stack():
    logits, target, sensitive = batch()
    decision = torch.stack([logits[:, 0] >= 0, logits[:, 0] >= 1])
    cell = GROUPS.cell_ids(sensitive)
    for weight in (None, torch.rand(len(target))):
        rows = (target, cell, GROUPS.num_cells)
        both = ConfusionTable.of_decisions(decision, *rows, weight=weight)
        for model in range(2):
            one = ConfusionTable.of_decisions(decision[model], *rows, weight=weight)
            assert all(torch.equal(a[model], b) for a, b in zip(both[:3], one[:3], strict=True))
            again = ConfusionTable.of_rows(
                decision[model], target, sensitive, GROUPS, weight=weight
            )
            assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    groups = both.partition(GROUPS, ("race",))
    assert groups.counts.shape == (2, 3, 2, 2)
    assert criterion_difference(groups, "equalized_odds").value.shape == (2,)


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
    assert table.counts.sum((-1, -2)).tolist() == [*support, len(codes) - sum(support)]
    table = table.partition(RACE, ("race",))
    assert proportion_rates(table, "selection_rate").support.tolist() == support
    for rate in RATES.values():
        assert rate(table).rate.isfinite().all()
    trials = proportion_trials(table, "selection_rate").trials
    assert trials.tolist() == support
    two = sum(n > 0 for n in support) > 1
    for criterion in CRITERIA:
        for method in ("between_groups", "to_overall"):
            value, least = criterion_difference(table, criterion, method=method)
            assert value.isfinite()
            if criterion in ("demographic_parity", "equal_opportunity", "accuracy_parity"):
                assert (least > 0) == two
            else:
                assert least == 0 or two


def test_rows_without_mass_make_no_group():
    logits, target = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([1, 0, 1])
    metric = GroupConfusion(RACE)
    metric.update(logits, target, torch.tensor([0, 1, 2]), torch.tensor([0.0, 2.0, 1.0]))
    table = metric.compute().partition(RACE, ("race",))
    assert proportion_rates(table, "selection_rate").support.tolist() == [0, 1, 1]
    assert proportion_trials(table, "selection_rate").trials.tolist() == [0, 1, 1]


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


def test_merging_makes_what_was_computed_out_of_date():
    groups = {"sex": ["F", "M"]}
    one, other = GroupConfusion(groups), GroupConfusion(groups)
    for metric in (one, other):
        metric.update(torch.tensor([1.0]), torch.tensor([1]), torch.tensor([[0]]))
    assert one.compute().counts.sum() == 1
    one.merge_state(other)
    assert one.compute().counts.sum() == 2


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
    assert torch.equal(metric.compute().partition(GROUPS, ("sex",)).counts, expected)
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


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.731, 1e-9, 1 - 1e-9, 1 - 1.2e-16])
def test_the_logit_to_compare_with_decides_as_the_score_does(threshold):
    cut = torch.tensor(decision_logit(threshold))
    # The nearest float32 numbers on both sides, and some around them.
    near = [cut]
    for _ in range(20):
        near.append(torch.nextafter(near[-1], torch.tensor(-torch.inf)))
    near.append(torch.nextafter(cut, torch.tensor(torch.inf)))
    logits = torch.cat([torch.stack(near), torch.linspace(-90, 90, 1001), torch.tensor([-0.0])])
    assert torch.equal(logits >= cut, torch.sigmoid(logits.double()) >= threshold)
    double = decision_logit(threshold, torch.float64)
    assert torch.sigmoid(torch.tensor(double, dtype=torch.float64)) >= threshold


def test_blocks_make_no_difference():
    rows = batch(BLOCK + 77)
    weight = torch.rand(len(rows[1]))
    whole = GroupConfusion(GROUPS)
    whole.update(*rows, weight)
    half = GroupConfusion(GROUPS)
    for part in (slice(0, 1000), slice(1000, None)):
        half.update(*(column[part] for column in rows), weight[part])
    assert torch.equal(whole.counts, half.counts)
    assert torch.equal(whole.counts, counted(rows).counts)
    torch.testing.assert_close(whole.mass, half.mass, rtol=1e-12, atol=0)
    torch.testing.assert_close(whole.square, half.square, rtol=1e-12, atol=0)
    assert whole.square.sum() == pytest.approx(weight.double().square().sum().item())


CROSSED = GroupSpec({name: range(size) for name, size in (("a", 2), ("b", 5), ("c", 10))})


def test_three_attributes_take_one_state_that_does_not_grow():
    metric = GroupConfusion(CROSSED)
    size = sum(state.numel() for state in metric.metric_state.values())
    parts = [batch(500, seed, CROSSED) for seed in range(4)]
    for rows in parts:
        metric.update(*rows)
    assert sum(state.numel() for state in metric.metric_state.values()) == size
    rows = tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
    table = metric.compute()
    for partition in (("b",), ("a", "b", "c"), ("c", "a")):
        expected = by_loop(rows, CROSSED, partition)
        assert torch.equal(table.partition(CROSSED, partition).counts, expected)


def classes(rows=300, seed=0, num=4):
    _, _, sensitive = batch(rows, seed)
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(0, num, (rows,), generator=rng)
    return torch.randn(rows, num, generator=rng), target, sensitive


@pytest.mark.parametrize("ordered", [False, True])
def test_differences_of_ordered_classes_are_those_of_the_steps(ordered):
    logits, target, sensitive = classes()
    metrics = MulticlassMetrics(GROUPS, "val", 4, ordered=ordered)
    metrics.update(logits, target, sensitive)
    found = {r.key[1:]: r for r in metrics.records(intervals=INTERVALS)}
    decision, expected = logits.argmax(1), {"demographic_parity": [], "equal_opportunity": []}
    for k in range(ordered, 4):
        label, chosen = (target >= k, decision >= k) if ordered else (target == k, decision == k)
        for criterion, rows in (
            ("demographic_parity", torch.ones_like(label)),
            ("equal_opportunity", label),
        ):
            rates = [chosen[rows & (sensitive[:, 0] == g)].double().mean() for g in range(2)]
            expected[criterion].append((rates[0] - rates[1]).abs().item())
    for criterion, gaps in expected.items():
        record = found[f"{criterion}_difference", "sex", None]
        assert record.value == pytest.approx(max(gaps))
        assert record.low <= record.value <= record.high


def test_the_interval_of_equalized_odds_is_of_the_classes_of_its_value():
    groups = GroupSpec({"sex": ["Female", "Male"]})
    counts = torch.zeros(3, 4, 4, dtype=torch.long)
    # Nobody is of class 2 in the second group: its true positive rates cannot be compared, while
    # its false positive rates are furthest apart.
    counts[0] = torch.tensor(
        [[300, 150, 0, 150], [150, 300, 0, 150], [0, 0, 90, 0], [150, 150, 0, 300]]
    )
    counts[1] = torch.tensor([[300, 0, 300, 0], [0, 300, 300, 0], [0, 0, 0, 0], [0, 0, 300, 300]])
    records = multiclass_records(
        "test", groups, ConfusionTable.of_counts(counts), intervals=INTERVALS
    )
    (found,) = (r for r in records if r.metric == "equalized_odds_difference")
    assert found.value == pytest.approx(0.2326, abs=1e-4)
    assert 0.15 < found.low < found.value < found.high < 0.3


def test_names_of_another_number_of_classes_are_refused():
    table = ConfusionTable.of_counts(torch.ones(12, 3, 3, dtype=torch.long))
    with pytest.raises(ArgumentError, match="2 names for 3 classes"):
        multiclass_records("test", GROUPS, table, classes=["a", "b"])
    with pytest.raises(ArgumentError, match="3 names for 4 classes"):
        stage_metrics(Task("multiclass", ("a", "b", "c")), GROUPS, "test", num_outputs=4)


def test_many_classes_count_in_one_table():
    rows, more = classes(), classes(50, 1)
    metric = GroupConfusion(GROUPS, num_classes=4)
    metric.update(*rows)
    metric.update(*more, weight=torch.full((50,), 2.0))
    table = metric.compute()
    logits, target, sensitive = (torch.cat(pair) for pair in zip(rows, more, strict=True))
    group = GROUPS.group_ids(sensitive, ("race",))
    of_groups = table.partition(GROUPS, ("race",))
    for which in range(3):
        mine = group == which
        expected = confusion_matrix(target[mine], logits[mine].argmax(1), labels=range(4))
        assert of_groups.counts[which].tolist() == expected.tolist()
    assert table.counts.sum() == 350
    assert table.mass.sum() == 400
    assert table.square.sum() == 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logits": torch.zeros(5, 3)}, "logits.*(5, 3)"),
        ({"logits": torch.zeros(5, 4).long()}, "logits.*int64"),
        ({"target": torch.tensor([0, 1, 4, 0, 0])}, "target.*0 to 4"),
        ({"target": torch.tensor([0, 1, -1, 0, 0])}, "target.*-1 to 1"),
        ({"target": torch.zeros(5)}, "target.*float32"),
        ({"target": torch.zeros(4).long()}, "target.*(4,)"),
    ],
)
def test_wrong_classes_are_refused(change, words):
    rows = dict(zip(("logits", "target", "sensitive"), classes(5), strict=True)) | change
    metric = GroupConfusion(GROUPS, num_classes=4)
    with pytest.raises(ArgumentError, match=words.replace("(", r"\(").replace(")", r"\)")):
        metric.update(**rows)
    assert metric.counts.sum() == 0


def test_nan_among_class_logits_is_told_apart():
    logits, target, sensitive = classes(5)
    logits[2, 1] = logits[2, 3] = logits[4, 0] = torch.nan
    metric = GroupConfusion(GROUPS, num_classes=4)
    metric.update(logits, target, sensitive)
    assert metric.compute().undecided == 2


def test_tables_that_would_not_fit_are_refused():
    wide = GroupSpec({"a": range(999), "b": range(900)})
    with pytest.raises(ArgumentError, match="a table of 901,000 × 10 × 10 slots"):
        GroupConfusion(wide, num_classes=10)
    with pytest.raises(ArgumentError, match="num_classes"):
        GroupConfusion(GROUPS, num_classes=1)


def _count(rank, parts, options):
    metric = GroupConfusion(GROUPS, **options)
    for rows in parts[rank]:
        metric.update(*rows)
    first = metric.compute()
    metric.update(*parts[rank][0])
    return first, metric.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("num_classes", [2, 4])
def test_two_processes_with_other_groups_each_count_as_one(tmp_path, num_classes):
    rows = batch(120) if num_classes == 2 else classes(120)
    women = rows[2][:, 0] == 0
    parts = [[tuple(c[women] for c in rows)], [tuple(c[~women] for c in rows)]]
    options = {"num_classes": num_classes}
    expected = counted(rows, **options), counted(rows, rows, **options)
    for found in two_processes(tmp_path / "group", _count, parts, options):
        for table, whole in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(table, whole.compute(), strict=True))
