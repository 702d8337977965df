"""How unlike two rows are, and how unlike they fare."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import at_least_float32


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
    elif isinstance(inputs, tuple | list) and [type(part) for part in inputs] == [Tensor, Tensor]:
        numeric, codes = inputs[0].detach(), inputs[1]
    else:
        raise ArgumentError.of(
            "inputs",
            found=f"of type {type(inputs).__name__}",
            expected="(numeric, categorical), or one tensor with a row for each",
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


def nearest_rows(features: Features, neighbors: int, kept: Tensor | None = None) -> Tensor:
    """Find the nearest other rows of each row.

    Time grows with the square of the rows; memory with their number times 256.

    Args:
        features: `N` rows.
        neighbors: Number k ≥ 1 of neighbours.
        kept: As for `row_distance`.

    Returns:
        `(N, k')` int64 positions, nearest first; k' = min(k, N − 1).
    """
    count = len(features.numeric)
    k = max(min(neighbors, count - 1), 0)
    everyone = Features(features.numeric.unsqueeze(0), features.categorical.unsqueeze(0))
    found = [features.categorical.new_zeros(0, k)]
    for rows in torch.arange(count, device=features.numeric.device).split(256):
        some = features.take(rows)
        here = Features(some.numeric.unsqueeze(1), some.categorical.unsqueeze(1))
        far = row_distance(here, everyone, kept).scatter(1, rows.unsqueeze(1), torch.inf)
        found.append(far.topk(k, 1, largest=False).indices)
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
