from __future__ import annotations

import pickle
from itertools import chain
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlightning.data import BatchLoader
from fairlightning.exceptions import DataError


def indices(loader):
    return [batch.index.tolist() for batch in loader]


def on_rank(rank, world, loader):
    """Row numbers that the loader gives on a rank; test_distributed has the real processes."""
    with patch("fairlightning.data.loader.rank_and_world", lambda: (rank, world)):
        assert len(loader) == len(list(loader))
        return indices(loader)


def test_order_follows_from_seed_and_epoch_alone(rows):
    first = BatchLoader(rows(50), 8, shuffle=True, seed=3)
    epochs = [indices(first) for _ in range(3)]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = BatchLoader(rows(50), 8, shuffle=True, seed=3)
    again.set_epoch(2)
    assert indices(again) == epochs[2]
    assert torch.equal(before, torch.get_rng_state())
    assert epochs[0] != epochs[1]
    other = BatchLoader(rows(50), 8, shuffle=True, seed=4)
    assert indices(other) not in epochs


def test_one_seed_in_the_next_epoch_is_not_the_next_seed(rows):
    first, second = (BatchLoader(rows(50), 50, shuffle=True, seed=seed) for seed in (0, 1))
    first.set_epoch(1)
    assert indices(first) != indices(second)


def test_all_fields_move_together(rows):
    data = rows(20)
    for batch in BatchLoader(data, 6, shuffle=True):
        index = batch.index
        for got, whole in zip(
            (*batch.inputs, *batch[1:5]), (*data.inputs, *data[1:5]), strict=True
        ):
            assert got.dtype == whole.dtype
            assert torch.equal(got, whole[index])


def test_rows_without_weights_stay_without(rows):
    data = rows(20)._replace(weight=None)
    for shuffle in (False, True):
        assert all(batch.weight is None for batch in BatchLoader(data, 6, shuffle=shuffle))


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 70),
    size=st.integers(1, 20),
    world=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_evaluation_gives_every_row_once_and_no_empty_batch(rows, n, size, world, shuffle):
    ranks = range(world)
    if n < world:
        with pytest.raises(DataError, match=f"found {n} rows for {world} ranks"):
            on_rank(0, world, BatchLoader(rows(n), size))
        return
    parts = [on_rank(rank, world, BatchLoader(rows(n), size, shuffle=shuffle)) for rank in ranks]
    assert len({len(part) for part in parts}) == 1
    sizes = {len(batch) for part in parts for batch in part}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= (size if world == 1 else max(size, 2))
    assert sorted(row for part in parts for batch in part for row in batch) == list(range(n))


@settings(deadline=None, max_examples=150)
@given(n=st.integers(4, 70), size=st.integers(1, 20), world=st.integers(1, 4))
def test_training_drops_only_what_fills_no_global_batch(rows, n, size, world):
    parts = [
        on_rank(rank, world, BatchLoader(rows(n), size, shuffle=True, drop_last=True))
        for rank in range(world)
    ]
    per_rank = min(size, n // world)
    assert all(len(batch) == per_rank for part in parts for batch in part)
    used = [row for part in parts for batch in part for row in batch]
    assert len(set(used)) == len(used) == n // (per_rank * world) * per_rank * world
    alone = on_rank(0, 1, BatchLoader(rows(n), per_rank * world, shuffle=True, drop_last=True))
    together = [list(chain(*step)) for step in zip(*parts, strict=True)]
    assert together == alone, "the global batches depend on the number of ranks"


def test_a_batch_larger_than_the_table_is_the_table(rows):
    loader = BatchLoader(rows(10), 1000, shuffle=True, drop_last=True)
    (batch,) = indices(loader)
    assert sorted(batch) == list(range(10))


@pytest.mark.parametrize("taken", range(8))
def test_state_resumes_in_the_middle_of_an_epoch(rows, taken):
    loader = BatchLoader(rows(40), 5, shuffle=True, seed=2)
    assert len(indices(loader)) == 8
    full = indices(loader)
    following = indices(loader)
    source = BatchLoader(rows(40), 5, shuffle=True, seed=2)
    source.set_epoch(1)
    iterator = iter(source)
    for _ in range(taken):
        next(iterator)
    state = source.state_dict()
    assert all(type(value) is int for value in state.values())
    target = BatchLoader(rows(40), 5, shuffle=True, seed=2)
    target.load_state_dict(state)
    assert indices(target) == full[taken:]
    assert indices(target) == following


def test_state_of_a_finished_epoch_goes_on_with_the_next(rows):
    loader = BatchLoader(rows(40), 5, shuffle=True)
    indices(loader)
    resumed = BatchLoader(rows(40), 2, shuffle=True)  # a new batch size is fine between epochs
    resumed.load_state_dict(loader.state_dict())
    expected = BatchLoader(rows(40), 2, shuffle=True)
    expected.set_epoch(1)
    assert indices(resumed) == indices(expected)


def test_state_survives_a_look_without_a_batch(rows):
    source = BatchLoader(rows(40), 5, shuffle=True)
    next(iter(source))
    loader = BatchLoader(rows(40), 5, shuffle=True)
    loader.load_state_dict(source.state_dict())
    iter(loader)
    loader.set_epoch(0)
    assert len(indices(loader)) == 7


def test_a_position_that_means_other_rows_is_refused(rows):
    source = BatchLoader(rows(40), 5, shuffle=True, seed=1)
    next(iter(source))
    for other in (BatchLoader(rows(40), 4, shuffle=True, seed=1), BatchLoader(rows(41), 5)):
        with pytest.raises(
            DataError, match=r"middle of an epoch with .*Mend: resume with the earl"
        ):
            other.load_state_dict(source.state_dict())


def test_an_iteration_that_is_left_starts_over_in_the_next_epoch(rows):
    loader = BatchLoader(rows(40), 5, shuffle=True)
    first = next(iter(loader)).index.tolist()
    second = indices(loader)
    assert len(second) == 8
    assert second[0] != first
    loader.set_epoch(0)
    assert indices(loader)[0] == first


def test_pickles(rows):
    loader = BatchLoader(rows(40), 5, shuffle=True, drop_last=True, seed=5)
    copy = pickle.loads(pickle.dumps(loader))
    assert indices(copy) == indices(loader)


def test_only_a_shuffling_loader_has_a_sampler(rows):
    assert not hasattr(BatchLoader(rows(4), 2), "sampler")
    loader = BatchLoader(rows(4), 2, shuffle=True)
    assert loader.sampler is loader


@pytest.mark.parametrize("argument", [{"batch_size": 0}, {"batch_size": 2.0}, {"seed": -1}])
def test_arguments_are_checked(rows, argument):
    (name,) = argument
    with pytest.raises(DataError, match=f"{name}: found .*an integer of at least"):
        BatchLoader(rows(4), **{"batch_size": 2, **argument})


def test_no_rows(rows):
    with pytest.raises(DataError, match="found 0 rows for 1 ranks"):
        len(BatchLoader(rows(0), 2))
