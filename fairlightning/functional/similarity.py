"""How unlike two rows are, and how unlike they fare."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import at_least_float32

CHUNK = 2048
"""Rows whose candidates are held at once."""


class Features(NamedTuple):
    """What rows are compared by.

    Attributes:
        numeric: `(N, D)` numbers, at least float32.
        categorical: `(N, F)` int64 codes.
    """

    numeric: Tensor
    categorical: Tensor

    def take(self, rows: Tensor | slice) -> Features:
        """The features of some rows."""
        return Features(self.numeric[rows], self.categorical[rows])


def comparable(inputs: Any) -> Features:
    """Bring the inputs of a network into the form in which rows are compared, without gradient.

    Args:
        inputs: `(numeric, categorical)`, of `(N, D)` numbers and `(N, F)` int64 codes; or one
            tensor `(N, ...)`, each number of which counts as a column.

    Raises:
        ArgumentError: On inputs of another form.
    """
    if isinstance(inputs, Tensor):
        numeric = inputs.detach().flatten(1)
        codes = torch.zeros(len(numeric), 0, dtype=torch.long, device=numeric.device)
    elif isinstance(inputs, tuple | list) and [getattr(x, "ndim", 0) for x in inputs] == [2, 2]:
        numeric, codes = inputs[0].detach(), inputs[1]
    else:
        raise ArgumentError.of(
            "inputs",
            found=f"of type {type(inputs).__name__}",
            expected="(numeric, categorical) of a table, or one tensor with a row for each",
            mend="pass features=..., which makes such of your inputs",
        )
    numeric = numeric if numeric.is_floating_point() else numeric.float()
    return Features(at_least_float32(numeric), codes)


def row_distance(one: Features, other: Features, kept: Tensor | None = None) -> Tensor:
    """Distance of rows from rows, in what the task is about.

    The root mean square over the columns: of the difference of numbers (of which 1 should be a
    standard deviation, as it is for our tables), and of 1 where categories differ, 0 where they
    agree.

    Args:
        one: Features `(..., D)` and `(..., F)`.
        other: The same, of a shape that can be broadcast to it.
        kept: `(D + F,)` 1 for columns that count, 0 for others; all count if None.

    Returns:
        `(...)`, at least 0.

    >>> numbers, codes = torch.tensor([[0.0], [1.0]]), torch.tensor([[1], [2]])
    >>> rows = Features(numbers, codes)
    >>> row_distance(rows.take([0]), rows), row_distance(rows, rows.take([0]), torch.tensor([0, 1]))
    (tensor([0., 1.]), tensor([0., 1.]))
    """
    difference = one.numeric - other.numeric
    columns = [difference.square(), (one.categorical != other.categorical).to(difference)]
    squares = torch.cat(columns, -1)
    if kept is None:
        return squares.mean(-1).sqrt()
    weight = kept.to(squares)
    return (squares @ (weight / weight.sum())).sqrt()


def near_rows(
    features: Features, neighbors: int, candidates: int, kept: Tensor | None = None
) -> Tensor:
    """Find near other rows of each row: the nearest of those that follow it.

    Where rows are in random order, it is the nearest of a random sample. Time and memory grow with
    the rows times the candidates.

    Args:
        features: `N` rows, of which the first follows the last.
        neighbors: Number k ≥ 1 of neighbours.
        candidates: Number m ≥ 1 of rows that are looked at for each.
        kept: As for `row_distance`.

    Returns:
        `(N, k')` int64 positions, nearest first; k' = min(k, m, N − 1).

    >>> rows = Features(torch.tensor([[0.0], [5.0], [1.0], [6.0]]), torch.zeros(4, 0).long())
    >>> near_rows(rows, 1, 3).flatten()
    tensor([2, 3, 0, 1])
    """
    count = len(features.numeric)
    m = max(min(candidates, count - 1), 0)
    k = min(neighbors, m)
    shifts = torch.arange(1, m + 1, device=features.numeric.device)
    found = [features.categorical.new_zeros(0, k)]
    for rows in torch.arange(count, device=shifts.device).split(CHUNK):
        others = (rows.unsqueeze(1) + shifts) % max(count, 1)
        some = features.take(rows)
        here = Features(some.numeric.unsqueeze(1), some.categorical.unsqueeze(1))
        far = row_distance(here, features.take(others), kept)
        found.append(others.gather(1, far.topk(k, 1, largest=False).indices))
    return torch.cat(found)


def total_variation(logits: Tensor, other: Tensor) -> Tensor:
    """How unlike two decisions are: total variation distance between the distributions of labels.

    With one logit |σ(a) − σ(b)|, with C classes ½ Σ|softmax(a) − softmax(b)|: the distance of Dwork
    et al. 2012 (arXiv:1104.3913) between outcomes.

    Args:
        logits: `(..., N, C)`, C = 1 for a binary target.
        other: The same, or of a shape that can be broadcast to it.

    Returns:
        `(..., N)` in [0, 1], in at least float32.

    >>> total_variation(torch.tensor([[0.0]]), torch.tensor([[100.0]]))
    tensor([0.5000])
    """
    logits, other = at_least_float32(logits), at_least_float32(other)
    if logits.shape[-1] == 1:
        return (torch.sigmoid(logits) - torch.sigmoid(other)).abs().squeeze(-1)
    return (logits.softmax(-1) - other.softmax(-1)).abs().sum(-1) / 2
