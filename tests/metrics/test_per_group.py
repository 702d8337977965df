"""Any metric per group: the same as that metric fed with the rows of the group alone."""

import pickle
from itertools import pairwise

import pytest
import torch
import torchmetrics as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import two_processes
from torchmetrics import classification as tc

from fairlightning.exceptions import ArgumentError, FairnessWarning
from fairlightning.groups import GroupSpec
from fairlightning.metrics.per_group import PerGroup

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})
RACE = GroupSpec({"race": ["a", "b", "c"]})

# Sums, lists, moments that are combined without a reduction, vectors, extra rows by name.
METRICS = {
    "accuracy": tc.BinaryAccuracy,
    "auroc": tc.BinaryAUROC,
    "binned auroc": lambda: tc.BinaryAUROC(thresholds=20),
    "f1": tc.BinaryF1Score,
    "calibration": tc.BinaryCalibrationError,
    "recall of classes": lambda: tc.MulticlassRecall(3, average=None),
    "mae": tm.MeanAbsoluteError,
    "pearson": tm.PearsonCorrCoef,
    "spearman": tm.SpearmanCorrCoef,
    "r2": tm.R2Score,
    "weighted mean": tm.MeanMetric,
    "largest": tm.MaxMetric,
    "retrieval": tm.retrieval.RetrievalMAP,
    "perplexity": tm.text.Perplexity,
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:Metric `.*` will save all",
    "ignore:The variance of predictions",
    "ignore:The ``compute`` method",
    "ignore:No .* samples in targets",
)


def rows(kind, count=200, seed=0, groups=GROUPS):
    """Columns, named columns and sensitive values that a metric takes."""
    rng = torch.Generator().manual_seed(seed)

    def classes(size, low=0):
        return torch.randint(low, size, (count,), generator=rng)

    score, label, named = torch.rand(count, generator=rng), classes(2), {}
    sensitive = torch.stack([classes(size, -1) for size in groups.sizes], 1)
    columns = score, label
    if kind == "recall of classes":
        columns = torch.randn(count, 3, generator=rng), classes(3)
    elif kind in ("mae", "pearson", "spearman", "r2"):
        columns = score, score + torch.rand(count, generator=rng)
    elif kind in ("weighted mean", "largest"):
        columns = (score,)
        named = {"weight": label + 0.5} if kind == "weighted mean" else {}
    elif kind == "retrieval":
        named = {"indexes": classes(4)}
    elif kind == "perplexity":
        columns = torch.randn(count, 2, 5, generator=rng), label.unsqueeze(1).repeat(1, 2)
    return columns, named, sensitive


def part(batch, which):
    columns, named, sensitive = batch
    return (
        tuple(column[which] for column in columns),
        {name: column[which] for name, column in named.items()},
        sensitive[which],
    )


def fed(metric, *batches):
    for columns, named, sensitive in batches:
        metric.update(*columns, sensitive=sensitive, **named)
    return metric


def alone(kind, batch, partition, group):
    """The metric itself on the rows of one group; None without rows."""
    mine = GROUPS.group_ids(batch[2], partition) == group
    if not mine.any():
        return None
    columns, named, _ = part(batch, mine)
    metric = METRICS[kind]()
    metric.update(*columns, **named)
    return metric.compute().double()


def assert_as_expected(values, kind, batch):
    assert list(values) == ["sex", "race", "sex & race"]
    for partition in GROUPS.partitions:
        found = values[" & ".join(partition)]
        group = GROUPS.group_ids(batch[2], partition)
        assert found.unknown == (group < 0).sum()
        assert found.rows.tolist() == [(group == g).sum() for g in range(len(found.names))]
        assert found.names == tuple(GROUPS.group_names(partition))
        present = []
        for g, name in enumerate(found.names):
            expected = alone(kind, batch, partition, g)
            assert found.rates.rate[..., g].isfinite().all()
            if expected is None or not expected.isfinite().all():
                assert found.by_name[name] is None
                assert not found.rates.support[..., g].any()
                continue
            torch.testing.assert_close(found.by_name[name], expected, rtol=1e-5, atol=1e-5)
            present.append(found.by_name[name])
        least = found.rows[found.rates.support.view(-1, len(found.names))[0] > 0]
        if len(present) > 1:
            spread = torch.stack(present, -1)
            gap = spread.amax(-1) - spread.amin(-1)
            torch.testing.assert_close(found.difference.value, gap)
            assert (found.difference.support == least.min()).all()
        else:
            assert (found.difference.support == 0).all()


def pieces(batch, cuts=(0, 7, 7, 120, 200)):
    return [part(batch, slice(a, b)) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("kind", METRICS)
def test_every_group_has_the_value_of_its_rows(kind):
    batch = rows(kind)
    assert_as_expected(fed(PerGroup(METRICS[kind], GROUPS), batch).compute(), kind, batch)
    metric = fed(PerGroup(METRICS[kind](), GROUPS), *pieces(batch))
    assert_as_expected(metric.compute(), kind, batch)
    copy = pickle.loads(pickle.dumps(metric))
    assert_as_expected(copy.compute(), kind, batch)
    copy.reset()
    assert not copy.compute()["sex"].rows.any()
    later = rows(kind, seed=1)
    assert_as_expected(fed(copy, later).compute(), kind, later)
    assert_as_expected(metric(*later[0], sensitive=later[2], **later[1]), kind, later)
    if kind != "pearson":
        # Pearson's own batches differ from the whole by more than the tolerance of float32.
        both = [torch.cat(pair) for pair in zip(batch[0], later[0], strict=True)]
        named = {name: torch.cat([batch[1][name], later[1][name]]) for name in batch[1]}
        assert_as_expected(metric.compute(), kind, (both, named, torch.cat([batch[2], later[2]])))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=12), st.data())
def test_any_groups_may_be_absent(codes, data):
    columns, named, _ = rows("accuracy", len(codes))
    batch = (columns, named, torch.tensor(codes).long().view(-1, 2))
    cut = data.draw(st.integers(0, len(codes)))
    metric = fed(PerGroup(tc.BinaryAccuracy, GROUPS), *pieces(batch, (0, cut, len(codes))))
    assert_as_expected(metric.compute(), "accuracy", batch)


class Fragile(tm.Metric):
    """A metric that cannot do without rows."""

    full_state_update = False
    higher_is_better = True

    def __init__(self, nothing=torch.nan):
        super().__init__()
        self.nothing = nothing
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, values, factor=1.0, offset=None):
        assert len(values)
        self.total = self.total + values.sum() * factor + (0.0 if offset is None else offset)

    def compute(self):
        assert self.update_called
        return torch.where(self.total > 0, self.total, self.nothing)


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
def test_nothing_is_computed_for_absent_groups(codes, support):
    metric = PerGroup(Fragile, RACE)
    values = torch.tensor([1.0, 3.0, 5.0, 7.0])[: len(codes)]
    metric.update(values, sensitive=torch.tensor(codes).long())
    found = metric.compute()["race"]
    assert found.rows.tolist() == found.rates.support.tolist() == support
    assert found.rates.rate.isfinite().all()
    assert [value is None for value in found.by_name.values()] == [n == 0 for n in support]
    assert found.unknown == codes.count(-1)
    assert (found.difference.support > 0) == (sum(n > 0 for n in support) > 1)
    assert (found.worst.group >= 0) == any(support)


def test_a_value_that_is_not_a_number_is_not_estimable():
    metric = PerGroup(Fragile, RACE)
    metric.update(torch.tensor([0.0, 2.0, 5.0, 0.0]), sensitive=torch.tensor([0, 1, 2, 2]))
    found = metric.compute()["race"]
    assert found.rows.tolist() == [1, 1, 2]
    assert found.rates.support.tolist() == [0, 1, 2]
    assert found.by_name["race=a"] is None
    assert found.difference == (3.0, 1)
    assert found.worst == (2.0, 1, 1)


def test_rows_that_a_metric_refuses_are_not_estimable_and_named():
    metric = PerGroup(tm.R2Score, RACE)
    values = torch.tensor([1.0, 2.0, 4.0])
    metric.update(values, values + 1, sensitive=torch.tensor([0, 0, 2]))
    with pytest.warns(FairnessWarning, match="R2Score is not estimable in race=c: Needs at least"):
        found = metric.compute()["race"]
    assert found.rows.tolist() == [2, 0, 1]
    assert found.rates.support.tolist() == [2, 0, 0]
    metric.reset()
    metric.update(values, values, sensitive=torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="Needs at least two"):
        metric.compute()


def test_the_metric_says_which_group_is_worst():
    prediction, target = torch.tensor([1.0, 2.0, 6.0]), torch.zeros(3)
    sensitive = torch.tensor([0, 1, 2])

    def worst(metric, **options):
        metric = PerGroup(metric, RACE, **options)
        metric.update(prediction, target, sensitive=sensitive)
        return metric.compute()["race"].worst

    assert worst(tm.MeanAbsoluteError) == (6.0, 2, 1)
    assert worst(tm.MeanAbsoluteError, higher_is_better=True) == (1.0, 0, 1)

    class Neutral(tm.MeanAbsoluteError):
        higher_is_better = None

    assert worst(Neutral) is None
    assert worst(Neutral, higher_is_better=False) == (6.0, 2, 1)


def test_plain_arguments_go_to_all_groups():
    metric = PerGroup(Fragile, RACE, partitions=[("race",)])
    sensitive = torch.tensor([0, 0, 1])
    metric.update(torch.ones(3), 2.0, sensitive=sensitive, offset=torch.tensor(0.5))
    metric.update(torch.ones(3), sensitive=sensitive, factor=0.0)
    assert metric.compute()["race"].rates.rate[:2].tolist() == [4.5, 2.5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (((torch.ones(4),), {}), r"argument 0.*\(4,\)"),
        ((([1.0] * 5,), {}), "argument 0.*list"),
        (((torch.ones(5),), {"factor": torch.ones(6)}), r"'factor'.*\(6,\)"),
        (((torch.ones(5),), {"sensitive": torch.full((5,), 3)}), "sensitive"),
    ],
)
def test_wrong_rows_are_refused(change, words):
    metric = PerGroup(Fragile, RACE)
    columns, named = change
    with pytest.raises(ArgumentError, match=words):
        metric.update(*columns, **{"sensitive": torch.zeros(5).long(), **named})
    assert metric.rows == [[0, 0, 0, 0]]


def test_collections_and_wrappers_are_refused():
    collection = tm.MetricCollection([tc.BinaryAccuracy(), tc.BinaryF1Score()])
    wrapper = tm.wrappers.MinMaxMetric(tc.BinaryAccuracy())
    for metric in (collection, wrapper, tc.BinaryAccuracy() + 1, lambda: 3):
        with pytest.raises(ArgumentError, match="wrap each metric"):
            PerGroup(metric, RACE)
    with pytest.raises(ArgumentError, match="age"):
        PerGroup(tc.BinaryAccuracy, RACE, partitions=[("age",)])
    curves = PerGroup(tc.BinaryROC, RACE)
    curves.update(torch.rand(4), torch.tensor([0, 1, 0, 1]), sensitive=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ArgumentError, match="tuple"):
        curves.compute()


def test_a_collection_keeps_its_members_apart():
    # Two thresholds that agree on the first batch, which a collection could take for one metric.
    low, high = (PerGroup(tc.BinaryAccuracy(threshold), RACE) for threshold in (0.4, 0.6))
    members = {"low": low, "high": high}
    collection = tm.MetricCollection(members)
    sensitive = torch.tensor([0, 1])
    for score in ([0.1, 0.9], [0.5, 0.5]):
        collection.update(torch.tensor(score), torch.tensor([0, 1]), sensitive=sensitive)
    assert low.compute()["race"].rates.rate[:2].tolist() == [0.5, 1.0]
    assert high.compute()["race"].rates.rate[:2].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("kind", [kind for kind in METRICS if kind not in ("pearson", "r2")])
def test_parts_merge_to_the_whole(kind):
    batch = rows(kind)
    parts = pieces(batch)
    metric = fed(PerGroup(METRICS[kind], GROUPS), *parts[:2])
    metric.compute()
    if metric.pattern.full_state_update is not False:
        with pytest.raises(ArgumentError, match="full_state_update"):
            metric.merge_state(fed(PerGroup(METRICS[kind], GROUPS), *parts[2:]))
        return
    metric.merge_state(PerGroup(METRICS[kind], GROUPS))
    assert_as_expected(metric.compute(), kind, parts[0])
    metric.merge_state(fed(PerGroup(METRICS[kind], GROUPS), *parts[2:]))
    assert_as_expected(metric.compute(), kind, batch)
    copy = PerGroup(METRICS[kind], GROUPS)
    copy.merge_state(metric)
    metric.reset()
    assert_as_expected(copy.compute(), kind, batch)
    with pytest.raises(ArgumentError, match="incoming_state"):
        metric.merge_state(PerGroup(METRICS[kind], RACE))


@pytest.mark.parametrize("kind", ["accuracy", "auroc"])
def test_saved_states_come_back_with_their_rows(kind):
    first, second = pieces(rows(kind), (0, 120, 200))
    metric = fed(PerGroup(METRICS[kind], GROUPS), first)
    assert not metric.state_dict()
    metric.persistent(True)
    restored = PerGroup(METRICS[kind], GROUPS)
    restored.load_state_dict(metric.state_dict())
    assert_as_expected(restored.compute(), kind, first)
    assert_as_expected(fed(restored, second).compute(), kind, rows(kind))


def _work(rank, kind, parts):
    metric = fed(PerGroup(METRICS[kind], GROUPS), *parts[rank])
    first = metric.compute()
    # Each process goes on from its own state.
    return [first, fed(metric, rows(kind, 10, seed=5 + rank)).compute()]


def _joined(kind, batches):
    columns = [torch.cat(column) for column in zip(*(b[0] for b in batches), strict=True)]
    named = {name: torch.cat([b[1][name] for b in batches]) for name in batches[0][1]}
    return columns, named, torch.cat([b[2] for b in batches])


@pytest.mark.parametrize("split", ["a group on each", "unequal", "nothing on one"])
@pytest.mark.parametrize("kind", ["accuracy", "auroc", "pearson", "recall of classes", "retrieval"])
def test_two_processes_count_as_one(tmp_path, kind, split):
    batch = rows(kind)
    women = batch[2][:, 0] == 0
    parts = {
        "a group on each": ([part(batch, women)], [part(batch, ~women)]),
        "unequal": ([rows(kind, 7, 1), rows(kind, 50, 2)], [rows(kind, 20, 3)]),
        "nothing on one": ([batch], []),
    }[split]
    first = [*parts[0], *parts[1]]
    second = [*first, rows(kind, 10, seed=5), rows(kind, 10, seed=6)]
    for found in two_processes(tmp_path, _work, kind, parts):
        for values, batches in zip(found, (first, second), strict=True):
            assert_as_expected(values, kind, _joined(kind, batches))
