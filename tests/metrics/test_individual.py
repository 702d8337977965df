"""Individual fairness against a brute force over all pairs of rows."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import two_processes

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import individual as fn
from fairlightning.functional.moments import mean_rates, overall_moments
from fairlightning.groups import GroupSpec
from fairlightning.metrics.individual import Consistency, CounterfactualFlips

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


def batch(rows=60, seed=0, groups=GROUPS):
    rng = torch.Generator().manual_seed(seed)
    codes = [torch.randint(-1, size, (rows,), generator=rng) for size in groups.sizes]
    features = torch.randn(rows, 3, generator=rng)
    return torch.randn(rows, generator=rng), features, torch.stack(codes, dim=1)


def by_loop(outputs, features, neighbors):
    agreement = []
    for i in range(len(outputs)):
        distance = (features.double() - features[i].double()).square().sum(1)
        distance[i] = torch.inf
        nearest = distance.argsort()[:neighbors]
        agreement.append(1 - (outputs[i] - outputs[nearest].mean()).abs())
    return torch.stack(agreement)


def fed(metric, *batches):
    for rows in batches:
        metric.update(*rows)
    return metric


def pieces(rows):
    return [tuple(column[a:b] for column in rows) for a, b in ((0, 7), (7, 7), (7, 40), (40, None))]


def assert_close(first, second, tolerance=1e-12):
    pairs = zip(first, second, strict=True)
    assert all(torch.allclose(a.double(), b.double(), tolerance, tolerance) for a, b in pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 99), st.booleans())
def test_consistency_is_that_of_a_loop(rows, neighbors, seed, decide):
    logits, features, sensitive = batch(rows, seed)
    outputs = torch.sigmoid(logits.double())
    outputs = (outputs >= 0.5).double() if decide else outputs
    found = fn.consistency(outputs, features, neighbors)
    if neighbors >= rows:
        assert found.support == 0
        assert found.value.isfinite()
        return
    expected = by_loop(outputs, features, neighbors)
    assert found.support == rows
    assert found.value == pytest.approx(expected.mean().item())
    group = GROUPS.group_ids(sensitive, ("race",))
    rates = fn.group_consistency(outputs, features, group, 3, neighbors)
    metric = fed(Consistency(GROUPS, neighbors, 0.5 if decide else None), batch(rows, seed))
    assert_close(mean_rates(metric.of_partition(("race",)), 0), rates, 1e-6)
    for g in range(3):
        assert rates.support[g] == (group == g).sum()
        if rates.support[g]:
            assert rates.rate[g] == pytest.approx(expected[group == g].mean().item())


def test_equal_rows_are_neighbours_but_no_row_is_its_own():
    # Rows 0 to 2 are one another's neighbours at distance 0.
    features = torch.tensor([[0.0], [0.0], [0.0], [9.0]])
    outputs = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = fn.row_consistency(outputs, features, neighbors=2)
    assert found.tolist() == [0.0, 0.5, 0.5, found[3].item()]
    same = fn.consistency(torch.ones(4), features, neighbors=2)
    assert same == (1.0, 4)


def test_features_may_be_of_a_short_type():
    logits, features, _ = batch()
    short, score = features.bfloat16(), logits.sigmoid()
    assert fn.consistency(score, short) == fn.consistency(score, short.float())


def test_models_share_their_neighbours():
    logits, features, _ = batch()
    both = torch.stack([logits, logits.square()]).sigmoid()
    found = fn.consistency(both, features)
    for model in range(2):
        assert_close([found.value[model]], [fn.consistency(both[model], features).value])


def test_neighbours_and_features_are_checked():
    outputs, features, _ = batch(5)
    features[0, 0] = torch.nan
    for wrong, words in (
        ((outputs, features, 1), "NaN or infinite"),
        ((outputs, torch.zeros(4, 3), 1), r"\(4, 3\)"),
        ((outputs, torch.zeros(5), 1), r"\(5,\)"),
        ((outputs, torch.zeros(5, 0), 1), r"\(5, 0\)"),
        ((outputs, torch.zeros(5, 3), 0), "neighbors"),
    ):
        with pytest.raises(ArgumentError, match=words):
            fn.consistency(*wrong)
    metric = fed(Consistency(GROUPS), batch(5))
    logits, _, sensitive = batch(5)
    with pytest.raises(ArgumentError, match="2 columns"):
        metric.update(logits, torch.zeros(5, 2), sensitive)
    with pytest.raises(ArgumentError, match="neighbors"):
        Consistency(GROUPS, 0)
    with pytest.raises(ArgumentError, match="threshold"):
        Consistency(GROUPS, threshold=1.0)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_nan_output_leaves_nothing_to_trust(threshold):
    logits, features, sensitive = batch()
    logits[3], sensitive[3] = torch.nan, torch.tensor([0, 0])
    metric = fed(Consistency(GROUPS, threshold=threshold), (logits, features, sensitive))
    rates = mean_rates(metric.of_partition(("sex",)), 0)
    assert rates.support.tolist() == [0, 0]
    assert rates.rate.isfinite().all()


@TRAPS
def test_absent_groups_keep_their_slots(codes, support):
    rows = len(codes)
    logits, features, _ = batch(rows)
    sensitive = torch.tensor(codes).long()
    moments = fed(Consistency(RACE, 1), (logits, features, sensitive)).of_partition(("race",))
    assert moments.counts.tolist() == support
    estimable = support if rows > 1 else [0, 0, 0]
    assert mean_rates(moments, 0).support.tolist() == estimable
    assert mean_rates(moments, 0).rate.isfinite().all()
    flips = fed(CounterfactualFlips(RACE), (logits, [-logits], sensitive)).of_partition(("race",))
    assert fn.flip_rates(flips).support.tolist() == support
    assert fn.mean_score_changes(flips).rate.isfinite().all()


def flip_batch(rows=60, seed=0, values=3):
    logits, _, sensitive = batch(rows, seed)
    rng = torch.Generator().manual_seed(seed + 100)
    return logits, [logits + torch.randn(rows, generator=rng) for _ in range(values)], sensitive


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 99),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([0.5, 0.3]),
)
def test_flips_are_those_of_a_loop(rows, seed, values, weighted, threshold):
    logits, others, sensitive = flip_batch(rows, seed, values)
    weight = torch.rand(rows, dtype=torch.float64) + 0.1 if weighted else None
    metric = CounterfactualFlips(GROUPS, threshold)
    metric.update(logits, others, sensitive, weight)
    score = logits.double().sigmoid()
    scores = [other.double().sigmoid() for other in others]
    flipped = torch.zeros(rows, dtype=torch.float64)
    change = torch.zeros(rows, dtype=torch.float64)
    for i in range(rows):
        flipped[i] = any((s[i] >= threshold) != (score[i] >= threshold) for s in scores)
        change[i] = max(abs(s[i] - score[i]) for s in scores)
    mass = torch.ones(rows, dtype=torch.float64) if weight is None else weight
    for partition in GROUPS.partitions:
        moments = metric.of_partition(partition)
        group = GROUPS.group_ids(sensitive, partition)
        rates, changes = fn.flip_rates(moments), fn.mean_score_changes(moments)
        for g in range(GROUPS.num_groups(partition)):
            mine = group == g
            assert rates.support[g] == changes.support[g] == mine.sum()
            if mine.any():
                total = mass[mine].sum()
                for found, values_ in ((rates, flipped), (changes, change)):
                    expected = (values_ * mass)[mine].sum() / total
                    assert found.rate[g] == pytest.approx(expected.item(), abs=1e-12)


def test_several_classes_flip_by_their_highest_logit():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    other = torch.tensor([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
    found = fn.flips(logits, [other])
    assert found.flipped.tolist() == [1.0, 0.0]
    expected = (logits.double().softmax(1) - other.double().softmax(1)).abs().sum(1) / 2
    assert_close([found.change], [expected])
    # Two classes are one logit: their difference.
    two = torch.randn(9, 2), torch.randn(9, 2)
    found = fn.flips(two[0], [two[1]])
    assert_close(found, fn.flips(*((two[0].diff()), [two[1].diff()])), 1e-6)


@pytest.mark.parametrize("columns", [None, 3])
def test_flipping_the_column_that_the_model_sees(columns):
    torch.manual_seed(0)
    group = torch.randint(0, 3, (80,))
    inputs = torch.cat([torch.randn(80, 2), group.unsqueeze(1).float()], 1)
    before = inputs.clone()
    layer = torch.nn.Linear(3, columns or 1)

    def flip(rows):
        return fn.set_column(rows, 2, range(3))

    moments = fn.flip_share(layer, inputs, flip, group=group, num_groups=3)
    assert torch.equal(inputs, before)
    for g in range(3):
        flipped, change = [], []
        for row in inputs[group == g]:
            outcomes = []
            for value in range(3):
                changed = row.clone()
                changed[2] = value
                logit = layer(changed).detach().double()
                score = (
                    logit.softmax(0)
                    if columns
                    else torch.cat([1 - logit.sigmoid(), logit.sigmoid()])
                )
                outcomes.append((score.argmax().item(), score))
            own = outcomes[g]
            flipped.append(any(decision != own[0] for decision, _ in outcomes))
            change.append(max((score - own[1]).abs().sum().item() / 2 for _, score in outcomes))
        assert fn.flip_rates(moments).rate[g] == pytest.approx(sum(flipped) / len(flipped))
        assert fn.mean_score_changes(moments).rate[g] == pytest.approx(
            sum(change) / len(change), abs=1e-6
        )
    assert 0 < fn.flip_rates(overall_moments(moments)).rate < 1
    everyone = fn.flip_share(layer, inputs, flip)
    assert_close(everyone, overall_moments(moments))
    with torch.no_grad():
        layer.weight[:, 2] = 0
    blind = fn.flip_share(layer, inputs, flip)
    assert fn.flip_rates(blind) == fn.mean_score_changes(blind) == (0.0, 80)


def test_inputs_may_have_any_form():
    numeric, codes = torch.tensor([[0.5], [3.0]]), torch.tensor([[0], [1]])

    def predict(inputs):
        return inputs[0][:, 0] - 2.0 * inputs[1][:, 0]

    def flip(inputs):
        return ((inputs[0], changed) for changed in fn.set_column(inputs[1], 0, (0, 1)))

    moments = fn.flip_share(predict, (numeric, codes), flip)
    assert fn.flip_rates(moments).rate == 0.5


def test_nan_logits_leave_nothing_to_trust():
    logits, others, sensitive = flip_batch()
    others[1][3], sensitive[3] = torch.nan, torch.tensor([0, -1])
    metric = fed(CounterfactualFlips(GROUPS), (logits, others, sensitive))
    assert metric.compute().undefined.sum() == 1
    assert not fn.flip_rates(metric.of_partition(("sex",))).support.any()
    assert fn.flip_rates(metric.of_partition(("race",))).support.all()


def test_counterfactuals_are_checked():
    logits = torch.zeros(4)
    for others in ([], [torch.zeros(3)], [torch.zeros(4), torch.zeros(4, 1)]):
        with pytest.raises(ArgumentError, match="counterfactual"):
            fn.flips(logits, others)
    with pytest.raises(ArgumentError, match="threshold"):
        CounterfactualFlips(GROUPS, 0.0)


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda: Consistency(GROUPS), batch),
        (lambda: CounterfactualFlips(GROUPS), lambda: _stacked(flip_batch())),
    ],
    ids=["consistency", "flips"],
)
def test_pieces_merge_to_the_whole(make, rows):
    rows = rows()
    whole, parts = fed(make(), rows).compute(), pieces(rows)
    assert_close(fed(make(), *parts).compute(), whole)
    merged = fed(make(), *parts[:2])
    merged.merge_state(fed(make(), *parts[2:]))
    assert_close(merged.compute(), whole)
    copy = pickle.loads(pickle.dumps(fed(make(), *parts[:2])))
    assert_close(fed(copy.to(torch.bfloat16), *parts[2:]).compute(), whole)
    copy.reset()
    assert_close(fed(copy, rows).compute(), whole)


def _stacked(rows):
    logits, others, sensitive = rows
    return logits, _Columns(others), sensitive


class _Columns(list):
    """Counterfactual logits that are cut like the other columns."""

    def __getitem__(self, part):
        return (
            _Columns(column[part] for column in self) if isinstance(part, slice) else super()[part]
        )


def _work(rank, parts):
    metrics = [Consistency(GROUPS), CounterfactualFlips(GROUPS)]
    for seed, rows in parts[rank]:
        metrics[0].update(*batch(rows, seed))
        metrics[1].update(*flip_batch(rows, seed))
    return [tuple(metric.compute()) for metric in metrics]


@pytest.mark.parametrize("parts", [([(1, 7), (2, 50)], [(3, 20)]), ([(4, 30)], [])])
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_count_as_one(tmp_path, parts):
    expected = _work(0, [[*parts[0], *parts[1]]])
    for found in two_processes(tmp_path, _work, parts):
        for mine, whole in zip(found, expected, strict=True):
            assert_close(mine, whole, 1e-10)
