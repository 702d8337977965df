from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlightning.data.splits import stratified_splits


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=5, max_size=200),
    val=st.floats(0.1, 0.45),
    test=st.floats(0.1, 0.45),
    seed=st.integers(0, 1000),
)
def test_any_table_is_split_whole_and_reproducibly(rows, val, test, seed):
    target, cell = np.array(rows).T
    sizes = (round(len(rows) * val), round(len(rows) * test))
    if min(sizes) < 1 or sum(sizes) >= len(rows):
        return
    options = {"val_fraction": val, "test_fraction": test, "seed": seed}
    parts = stratified_splits(target, cell, **options)
    assert list(parts) == ["train", "validation", "test"]
    assert (len(parts["validation"]), len(parts["test"])) == sizes
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(rows)))
    again = stratified_splits(target, cell, **options)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_common_cells_reach_every_split_in_proportion():
    generator = np.random.default_rng(0)
    cell = generator.choice(4, 2000, p=[0.02, 0.08, 0.3, 0.6])
    target = generator.integers(0, 2, 2000)
    parts = stratified_splits(target, cell, val_fraction=0.2, test_fraction=0.1, seed=0)
    for name, share in {"train": 0.7, "validation": 0.2, "test": 0.1}.items():
        rows = parts[name]
        for group in range(4):
            for label in range(2):
                whole = ((cell == group) & (target == label)).sum()
                part = ((cell[rows] == group) & (target[rows] == label)).sum()
                assert part == pytest.approx(share * whole, abs=1.5)


def test_rare_cells_are_stratified_by_label():
    # 60 cells of one row each beside a common one: only the label can be kept in proportion.
    cell = np.concatenate([np.zeros(340, int), np.arange(1, 61)])
    target = np.concatenate([np.zeros(340, int), np.tile([0, 1], 30)])
    parts = stratified_splits(target, cell, val_fraction=0.25, test_fraction=0.25, seed=0)
    for name, share in {"train": 0.5, "validation": 0.25, "test": 0.25}.items():
        assert target[parts[name]].sum() == pytest.approx(share * 30, abs=1)
        assert (cell[parts[name]] > 0).sum() == pytest.approx(share * 60, abs=2)


def test_the_seed_changes_the_rows():
    target, cell = np.tile([0, 1], 50), np.zeros(100, int)
    first, second = (
        stratified_splits(target, cell, val_fraction=0.2, test_fraction=0.2, seed=seed)
        for seed in (0, 1)
    )
    assert not np.array_equal(first["test"], second["test"])
