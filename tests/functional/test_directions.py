"""Sensitive directions of a table."""

import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.columns import Columns
from fairlightning.functional.directions import (
    check_orthonormal,
    sensitive_directions,
    table_directions,
)


def test_directions_of_inputs_come_in_the_order_of_the_columns():
    names = tuple("abcdefgh")
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 8, generator=random), torch.zeros(50, 0, dtype=torch.long)
    sensitive = {name: torch.zeros(50, dtype=torch.long) for name in reversed(names)}
    found = table_directions(inputs, Columns(names, (), ()), sensitive, [2] * 8)
    assert torch.equal(found, torch.eye(8))  # a set of the names has an order of each process


def test_directions_of_integers_are_those_of_the_same_numbers():
    group = torch.arange(40) % 2
    pixels = torch.stack([torch.arange(40), 9 * group], 1)
    found, expected = (sensitive_directions(x, [group], [2]) for x in (pixels, pixels.float()))
    assert torch.equal(found, expected)
    assert len(found)


def test_features_that_are_not_finite_are_refused():
    features = torch.randn(20, 3)
    features[4, 1] = torch.nan
    with pytest.raises(ArgumentError, match="NaN or infinite in 1 rows"):
        sensitive_directions(features, [torch.arange(20) % 2], [2])


@pytest.mark.parametrize(
    "directions",
    [torch.eye(3)[0], torch.zeros(0, 3), 5 * torch.eye(3)[:1], torch.ones(2, 3), torch.eye(3) / 0],
    ids=["one dimension", "none", "long", "alike", "infinite"],
)
def test_directions_that_are_not_orthonormal_are_refused(directions):
    check_orthonormal(torch.eye(3)[:2])
    with pytest.raises(ArgumentError, match="right angles"):
        check_orthonormal(directions)
