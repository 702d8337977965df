"""Counting in one pass gives what confusion table and scores give by themselves."""

import pytest
import torch
from scored_rows import GROUPS, batch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.counting import BLOCK
from fairlightning.metrics import GroupConfusion, GroupCounts


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
    together, confusion = GroupCounts(GROUPS, threshold), GroupConfusion(GROUPS, threshold)
    for metric in (together, confusion):
        metric.update(*columns)
        metric.update(*columns)
    found, expected = together.compute(), confusion.compute()
    for name in expected._fields:
        one, other = getattr(found.confusion, name), getattr(expected, name)
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=name)
    assert found.confusion.counts.sum() == 2 * rows
    assert (found.confusion.undecided > 0) == (nan and rows > 3)
    scored = ~columns[0][:, 0].isnan()
    mass = columns[3].double() if weighted else torch.ones(rows).double()
    assert found.scores.rows.sum() == 2 * (scored & (mass > 0)).sum()
    assert found.scores.undecided == 2 * (~scored).sum()
    for table in (found.scores.histogram, found.scores.moments[..., 0]):
        assert table.sum().item() == pytest.approx(2 * mass[scored].sum().item())


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


def test_a_table_that_was_given_out_is_not_counted_into():
    metric = GroupCounts(GROUPS)
    metric.update(*batch(40)[:3])
    tables = [*metric.compute().confusion, *metric.compute().scores]
    before = [table.clone() for table in tables]
    metric.update(*batch(40)[:3])
    assert all(map(torch.equal, tables, before))
    assert metric.compute().scores.histogram.sum() == 80


def test_what_began_in_inference_mode_goes_on_outside():
    metric = GroupCounts(GROUPS)
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
