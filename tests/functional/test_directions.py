"""Sensitive directions of a table."""

import torch

from fairlightning.functional.columns import Columns
from fairlightning.functional.directions import table_directions


def test_directions_of_inputs_come_in_the_order_of_the_columns():
    names = tuple("abcdefgh")
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 8, generator=random), torch.zeros(50, 0, dtype=torch.long)
    sensitive = {name: torch.zeros(50, dtype=torch.long) for name in reversed(names)}
    found = table_directions(inputs, Columns(names, (), ()), sensitive, [2] * 8)
    assert torch.equal(found, torch.eye(8))  # a set of the names has an order of each process
