"""Counting in one pass gives what confusion table and scores give by themselves."""

import pytest
import torch
from scored_rows import GROUPS, batch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.counting import BLOCK
from fairlightning.metrics import GroupConfusion, GroupCounts, GroupScores


def with_nan(logits, *rest):
    return logits.index_fill(0, torch.arange(len(logits))[3::7], torch.nan), *rest


@pytest.mark.parametrize("threshold", [0.5, 0.31])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 300, BLOCK + 9])
@pytest.mark.parametrize("nan", [False, True])
def test_one_pass_is_two(threshold, weighted, rows, nan):
    columns = batch(rows)
    columns = with_nan(*columns) if nan else columns
    columns = columns[:3]
    if weighted:
        weight = torch.rand(rows, generator=torch.Generator().manual_seed(1))
        columns = (*columns, weight * (weight > 0.2))  # some weigh nothing
    together = GroupCounts(GROUPS, threshold)
    confusion, scores = GroupConfusion(GROUPS, threshold), GroupScores(GROUPS)
    for metric in (together, confusion, scores):
        metric.update(*columns)
        metric.update(*columns)
    found = together.compute()
    for table, expected in zip(found, (confusion.compute(), scores.compute()), strict=True):
        for name in table._fields:
            one, other = getattr(table, name), getattr(expected, name)
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=name)
    assert found.confusion.counts.sum() == 2 * rows
    assert (found.confusion.undecided > 0) == (nan and rows > 3)


def test_what_cannot_be_counted_is_refused():
    metric = GroupCounts(GROUPS)
    logits, target, sensitive = batch(8)[:3]
    with pytest.raises(ArgumentError, match="target"):
        metric.update(logits, target + 2, sensitive)
    with pytest.raises(ArgumentError, match="sensitive"):
        metric.update(logits, target, sensitive + 99)
    with pytest.raises(ArgumentError, match="weight"):
        metric.update(logits, target, sensitive, torch.full((8,), -1.0))
    with pytest.raises(ArgumentError, match="threshold"):
        GroupCounts(GROUPS, 1.0)


@pytest.mark.parametrize("kind", [GroupCounts, GroupScores])
def test_a_table_that_was_given_out_is_not_counted_into(kind):
    metric = kind(GROUPS)
    metric.update(*batch(40)[:3])
    first = getattr(metric.compute(), "scores", metric.compute()).histogram
    before = first.clone()
    metric.update(*batch(40)[:3])
    assert torch.equal(first, before)
    assert getattr(metric.compute(), "scores", metric.compute()).histogram.sum() == 80


@pytest.mark.parametrize("kind", [GroupCounts, GroupScores])
def test_what_began_in_inference_mode_goes_on_outside(kind):
    metric = kind(GROUPS)
    with torch.inference_mode():
        metric.reset()
        metric.update(*batch(40)[:3])
    metric.update(*batch(40)[:3])
    assert metric.histogram.sum() == 80


def test_counts_merge_and_begin_anew():
    one, other = GroupCounts(GROUPS), GroupCounts(GROUPS)
    one.update(*batch(40)[:3])
    other.update(*batch(30)[:3])
    one.merge_state(other)
    assert one.compute().scores.histogram.sum() == 70
    assert other.compute().scores.histogram.sum() == 30
    one.reset()
    assert one.compute().scores.histogram.sum() == 0
    batch_alone = one(*batch(20)[:3])  # forward: the figures of the batch, added to the state
    assert batch_alone.scores.histogram.sum() == 20
    one(*batch(5)[:3])
    assert one.compute().scores.histogram.sum() == 25
