"""All figures of a stage: records, log tags, one class only, NaN, several processes."""

import pickle
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from fairlightning.exceptions import ArgumentError, FairnessWarning
from fairlightning.groups import GroupSpec
from fairlightning.metrics import (
    AUROC,
    GAP_METRICS,
    GROUP_METRICS,
    OVERALL_METRICS,
    FairnessMetrics,
    Record,
    auroc,
    positive_scores,
    tag,
)

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})


def rows(count=120, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 1, generator=rng),
        torch.randint(0, 2, (count,), generator=rng),
        torch.stack([torch.randint(-1, n, (count,), generator=rng) for n in (2, 3)], dim=1),
        torch.rand(count, generator=rng),
    )


def records_of(*batches, stage="val"):
    metric = FairnessMetrics(GROUPS, stage)
    for part in batches:
        metric.update(*part)
    return metric.records()


def test_keys_are_the_same_whatever_was_seen():
    full = records_of(rows())
    one = records_of(tuple(column[:1] for column in rows()))
    empty = records_of(tuple(column[:0] for column in rows()))
    assert [r.key for r in full] == [r.key for r in one] == [r.key for r in empty]
    gaps, groups = len(GAP_METRICS) + 1, len(GROUP_METRICS)
    expected = len(OVERALL_METRICS) + 3 * gaps + groups * (2 + 3 + 6)
    assert len({r.key for r in full}) == len(full) == expected
    assert all(r.value is None and r.support == 0 for r in empty if r.metric != "support")
    for record in (*full, *one, *empty):
        assert (record.value is None) == (record.support == 0) or record.metric == "support"
        assert record.low is None
        assert record.high is None
        assert record.value is None or type(record.value) is float
        assert type(record.support) is int


def test_tags():
    tags = {tag(record) for record in records_of(rows())}
    assert {
        "val/accuracy",
        "val/auroc",
        "val/fairness/demographic_parity_difference/sex",
        "val/fairness/equalized_odds_difference/sex & race",
        "val/groups/selection_rate/sex=Female",
        "val/groups/true_positive_rate/sex=Female & race=a",
        "val/groups/support/sex=unknown",
    } < tags
    assert len(tags) == len(records_of(rows()))


def test_one_class_leaves_only_what_can_be_told():
    logits, _, sensitive, _ = rows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = records_of((logits, torch.ones(len(logits)), sensitive))
    value = {(r.metric, r.attribute): r.value for r in records if r.group is None}
    assert value["auroc", None] is None
    assert value["equalized_odds_difference", "sex"] is None
    assert value["equal_opportunity_difference", "sex"] is not None
    assert value["accuracy", None] == value["selection_rate", None]


def test_nan_scores_make_every_rate_unknown():
    logits, target, sensitive, _ = rows()
    logits[3] = torch.nan
    with pytest.warns(FairnessWarning, match="1 rows have the score NaN"):
        records = records_of((logits, target, sensitive))
    assert all(r.value is None for r in records if r.metric != "support")


def test_reset_and_pickle():
    metric = FairnessMetrics(GROUPS, "val")
    metric.update(*rows(seed=1))
    metric.records()
    metric.reset()
    metric = pickle.loads(pickle.dumps(metric))
    metric.update(*rows())
    assert metric.records() == records_of(rows())
    assert metric.state_dict() == {}


def test_the_stage_is_one_of_three():
    with pytest.raises(ArgumentError, match="one of train, val, test"):
        FairnessMetrics(GROUPS, "validation")


def test_auroc_takes_logits_for_logits():
    # All in [0, 1], and others that float32 scores would take for ties.
    logits = torch.tensor([0.1, 0.9, 20.0, 30.0])
    target = torch.tensor([0, 1, 0, 1])
    metric = AUROC()
    metric.update(logits[:2], target[:2])
    metric.update(logits[2:], target[2:])
    assert metric.compute() == 0.75
    assert metric.compute() == auroc(positive_scores(logits), target == 1)
    metric.update(logits, target + 1)
    with pytest.raises(ArgumentError, match="target"):
        metric.compute()


def _process(rank, folder, parts):
    torch.set_num_threads(1)
    init = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
    metric = FairnessMetrics(GROUPS, "val").to(torch.bfloat16)
    for part in parts[rank]:
        metric.update(*part)
    first = metric.records()
    # Each process goes on from its own state.
    metric.update(*rows(10, seed=5 + rank))
    torch.save([tuple(r) for r in first], f"{folder}/first{rank}.pt")
    torch.save([tuple(r) for r in metric.records()], f"{folder}/second{rank}.pt")
    dist.destroy_process_group()


def _by_sex():
    whole = rows()
    women = whole[2][:, 0] == 0
    return [tuple(column[women] for column in whole)], [tuple(column[~women] for column in whole)]


@pytest.mark.parametrize(
    "parts",
    [_by_sex(), ([rows(7, 1), rows(50, 2)], [rows(20, 3)]), ([rows(30, 4)], [])],
    ids=["a group on each", "unequal", "nothing on one"],
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_two_processes_count_as_one(tmp_path, parts):
    arguments = (str(tmp_path), parts)
    multiprocessing.start_processes(_process, arguments, nprocs=2, start_method="fork")
    later = [rows(10, seed=5), rows(10, seed=6)]
    for name, batches in (("first", []), ("second", later)):
        expected = records_of(*parts[0], *parts[1], *batches)
        for rank in range(2):
            found = [Record(*r) for r in torch.load(tmp_path / f"{name}{rank}.pt")]
            assert [r.key for r in found] == [r.key for r in expected]
            assert [r.support for r in found] == [r.support for r in expected]
            for a, b in zip(found, expected, strict=True):
                assert a.value == (
                    b.value if b.value is None else pytest.approx(b.value, abs=1e-12)
                )


def test_predictions_that_were_modified_before_they_were_counted_are_refused():
    held = list(rows())
    metrics = FairnessMetrics(GROUPS, "val")
    metrics.update(*held)
    held[0].mul_(1)
    with pytest.raises(ArgumentError, match="modified in place"):
        metrics.compute()
    metrics.reset()
    metrics.update(*held)
    assert metrics.records()
    held[0].mul_(1)  # once they are counted, they are the caller's again
    assert metrics.records()
    with torch.inference_mode():
        held = [tensor.clone() for tensor in held]
        metrics.update(*held)
    assert metrics.records()
