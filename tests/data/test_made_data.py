"""Digits with a bias put in, and rows from structural equations: what they promise is there."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from fairlightning.data import (
    ArrayDataModule,
    Arrays,
    Structure,
    biased_digits,
    digit_rows,
    synthetic,
)
from fairlightning.exceptions import DataError

PARTS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("make", "attribute"), [(biased_digits, "colour"), (digit_rows, "direction")]
)
def test_the_group_goes_with_the_class_as_asked(make, attribute):
    data = make(0.6, -0.4, seed=3)
    data.setup()
    for part, strength in zip(PARTS, (0.6, 0.6, -0.4), strict=True):
        batch = data.batch(part)
        found = np.corrcoef(batch.target, batch.sensitive[:, 0])[0, 1]
        assert found == pytest.approx(strength, abs=0.01)
        frame = data.frame(part)
        assert ((frame.digit >= 5) == (batch.target.numpy() == 1)).all()
    other = make(0.6, -0.4, seed=4)
    other.setup()
    assert not torch.equal(other.batch("test").index, data.batch("test").index)
    with pytest.raises(DataError, match="correlation"):
        make(1.5)


def test_every_digit_is_drawn_in_its_ink():
    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    data = biased_digits()
    data.setup()
    for part in PARTS:
        batch = data.batch(part)
        ink = batch.sensitive[:, 0]
        chosen = batch.inputs[torch.arange(len(ink)), ink]
        torch.testing.assert_close(chosen, images[batch.index])
        assert batch.inputs.sum() == chosen.sum()  # nothing in the other channels


def test_rows_are_read_down_or_up():
    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    data = digit_rows()
    data.setup()
    batch = data.batch("train")
    values, lengths = batch.inputs
    up = batch.sensitive == 1
    expected = torch.where(up[..., None], images[batch.index].flip(1), images[batch.index])
    torch.testing.assert_close(values, expected)
    assert (lengths == 8).all()


def test_inputs_that_fit_no_table_are_refused():
    table = pd.DataFrame({"y": [0, 1] * 40, "ink": ["red", "red", "blue", "blue"] * 20})
    for inputs in (torch.zeros(79, 3, 8, 8), torch.zeros(80, 8), (torch.zeros(80, 4),)):
        with pytest.raises(DataError, match="one input for each row"):
            ArrayDataModule(Arrays(inputs, table), "y", ["ink"]).setup()
    ones = torch.ones(80).long()
    for inputs, message in (
        (torch.zeros(80, 3, 8, 8).byte(), "torch.uint8 (80, 3, 8, 8)"),
        (torch.full((80, 3, 8, 8), torch.nan), "values from nan to nan"),
        ((torch.zeros(80, 4), ones), "torch.float32 (80, 4)"),
        ((torch.zeros(80, 4, 2).long(), ones), "torch.int64 (80, 4, 2)"),
        ((torch.zeros(80, 4).long(), ones.int()), "torch.int32 (80,)"),
        ((torch.zeros(80, 4).long() - 1, ones), "values from -1 to -1, expected tokens"),
        ((torch.zeros(80, 4, 2), 0 * ones), "lengths from 0 to 0, expected 1 to 4"),
        ((torch.zeros(80, 4, 2), 5 * ones), "lengths from 5 to 5, expected 1 to 4"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            ArrayDataModule(Arrays(inputs, table), "y", ["ink"]).setup()
    tokens = torch.randint(0, 9, (80, 5)), torch.full((80,), 5)
    data = ArrayDataModule(Arrays(tokens, table), "y", ["ink"])
    data.setup()
    assert data.input_sizes == {"vocabulary": int(tokens[0].max()) + 1}
    with pytest.raises(DataError, match="named in target as well"):
        ArrayDataModule(Arrays(tokens, table), "y", ["y"]).setup()


@pytest.mark.parametrize("options", [{}, {"share": 0.3, "path": 1.5, "bias": 0.4, "proxy": 0.0}])
def test_the_gaps_are_those_that_the_equations_give(options):
    structure = Structure(**options)
    table = structure.draw(400_000, seed=1)
    b = table.group == "b"
    noise = 5 * 0.5 / np.sqrt(min(b.sum(), (~b).sum()) / 4)  # five standard errors, at least
    assert b.mean() == pytest.approx(structure.share, abs=noise)

    def gap(column):
        return table[column][b].mean() - table[column][~b].mean()

    assert gap("label") == pytest.approx(structure.label_gap(), abs=noise)
    assert gap("merit") == pytest.approx(structure.merit_gap(), abs=noise)
    assert gap("proxy") == pytest.approx(2 * structure.proxy, abs=4 * noise)
    selected, positive = table.test >= 0.7, table.label == 1
    for side, group in enumerate((~b, b)):
        rate = structure.selection_rates(0.7)[side]
        assert selected[group].mean() == pytest.approx(rate, abs=noise)
        rate = structure.true_positive_rates(0.7)[side]
        assert selected[group & positive].mean() == pytest.approx(rate, abs=2 * noise)


def test_without_bias_and_path_nothing_differs():
    structure = Structure(path=0.0, bias=0.0)
    assert structure.label_gap() == 0
    for rates in (structure.selection_rates(0.5), structure.true_positive_rates(0.5)):
        assert rates[0] == rates[1]
    with pytest.raises(DataError, match="bias"):
        synthetic(bias=1.0)
