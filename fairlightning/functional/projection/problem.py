"""What a projection has to satisfy: cells of rows whose rates are compared, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, criterion_cells
from fairlightning.functional.projection.distances import Array
from fairlightning.functional.rows import check_weight
from fairlightning.groups import GroupSpec


class Cells(NamedTuple):
    """Which rows' means have to be alike.

    Attributes:
        ids: `(S, N)` int64 ids in `[-1, M)`: for each partition the cell of every row, `-1` for a
            row that takes no part. No id appears in two partitions.
        blocks: Number of cells of each block, in the order of the ids; they add up to `M`. The
            rates within a block are compared with each other.
    """

    ids: Tensor
    blocks: tuple[int, ...]


def parity_cells(
    criterion: Criterion,
    target: Tensor | None,
    sensitive: Tensor,
    groups: GroupSpec,
    partitions: Sequence[Sequence[str]],
) -> Cells:
    """Cells whose rates a parity criterion compares, for several partitions at once.

    Args:
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`.
        target: `(N,)` int64 labels in {0, 1}; may be None for demographic parity.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        groups: The sensitive attributes.
        partitions: Attributes or intersections, such as `[("sex",), ("sex", "race")]`.

    Returns:
        The cells: for every partition one block of `G` groups for each condition.

    Raises:
        ArgumentError: If the criterion conditions on a target that is not there.

    >>> spec = GroupSpec({"sex": ["Female", "Male"]})
    >>> parity_cells("equalized_odds", torch.tensor([1, 0]), torch.tensor([[0], [1]]), spec,
    ...              [("sex",)])
    Cells(ids=tensor([[2, 1]]), blocks=(2, 2))
    """
    if target is None:
        if criterion != "demographic_parity":
            raise ArgumentError.of(
                "target",
                found="None",
                expected=f"labels 0 or 1, which {criterion} conditions on",
                mend="pass the labels of the batch",
            )
        target = sensitive[:, 0]  # demographic parity does not look at it
    rows: list[Tensor] = []
    blocks: list[int] = []
    for partition in partitions:
        count = groups.num_groups(partition)
        group = groups.group_ids(sensitive, partition)
        cell = criterion_cells(criterion, target, group, count)
        rows.append(torch.where(cell < 0, -1, cell + sum(blocks)))
        blocks += [count] * NUM_CONDITIONS[criterion]
    return Cells(torch.stack(rows), tuple(blocks))


class Problem(NamedTuple):
    """The constraints on the rows of one batch, as the solvers work with them.

    Attributes:
        member: `(M, N)` 1 where a row belongs to a cell, else 0.
        mean: `(M, N)` weights that make the rates: `rate = mean @ x`.
        mass: `(M,)` mass of each cell.
        weight: `(N,)` weights of the rows in the distance.
        half: `(M,)` ε/2; infinite for a cell without mass, which leaves it free.
        block: `(B, M)` 1 where a cell belongs to a block, else 0.
        overlap: Largest number of cells that share a row, at least 1.
    """

    member: Array
    mean: Array
    mass: Array
    weight: Array | float
    half: Array
    block: Array
    overlap: int

    @classmethod
    def of(cls, cells: Cells, rows: int, epsilon: float, weight: Tensor | None) -> Problem:
        """Make the problem of `N` rows.

        Raises:
            ArgumentError: On ε < 0 or NaN, or on ids or weights of another shape, type or range.
        """
        epsilon = check_epsilon(epsilon)
        each = None if weight is None else to_host(check_weight(weight, rows))
        codes = _check_cells(cells, rows)
        numbers = np.arange(sum(cells.blocks))[:, None]
        inside = numbers == codes[0]
        for other in codes[1:]:
            inside = inside | (numbers == other)
        if each is not None:
            inside = inside & (each > 0)
        member = inside.astype(np.float64)
        weighted = member if each is None else member * each
        mass = weighted.sum(1)
        mean = weighted / np.where(mass > 0, mass, 1.0)[:, None]
        half = np.where(mass > 0, epsilon / 2, np.inf)
        block = _block_matrix(tuple(cells.blocks))
        return cls(member, mean, mass, 1.0 if each is None else each, half, block, len(codes))


@lru_cache(maxsize=64)
def _block_matrix(blocks: tuple[int, ...]) -> Array:
    matrix = np.repeat(np.eye(len(blocks)), blocks, axis=1)
    matrix.setflags(write=False)
    return matrix


def _check_cells(cells: Cells, rows: int) -> NDArray[np.int64]:
    ids, blocks = cells.ids.cpu(), cells.blocks
    if not blocks or min(blocks) < 1:
        raise ArgumentError.of(
            "cells.blocks",
            found=blocks,
            expected="at least one block, of one cell or more",
            mend="leave out what has no cells",
        )
    if ids.ndim != 2 or not len(ids) or ids.shape[1] != rows or ids.dtype != torch.long:
        raise ArgumentError.of(
            "cells.ids",
            found=f"{ids.dtype} of shape {tuple(ids.shape)}",
            expected=f"int64 ids of shape (S, {rows}), S ≥ 1",
            mend="make them by parity_cells from the same batch as the probabilities",
        )
    if rows:
        low, high = (int(end) for end in ids.aminmax())
        if low < -1 or high >= sum(blocks):
            raise ArgumentError.of(
                "cells.ids",
                found=f"cells {low} to {high}",
                expected=f"ids from -1 to {sum(blocks) - 1}, as the blocks have it",
                mend="number the cells of all partitions consecutively",
            )
    return ids.numpy()


def check_epsilon(epsilon: float) -> float:
    """Return ε after checking that it is 0 or more.

    Raises:
        ArgumentError: If it is negative or NaN, which no probabilities can satisfy.
    """
    if not epsilon >= 0:
        raise ArgumentError.of(
            "epsilon",
            found=epsilon,
            expected="a gap of 0 or more; below that no probabilities are feasible",
            mend="pass 0.0 for equal rates",
        )
    return float(epsilon)


def check_rows(probabilities: Tensor) -> int:
    """Return the number of rows `N` after checking type, shape and device.

    Raises:
        ArgumentError: If they are not floating-point `(..., N)`, or on the meta device.
    """
    if probabilities.ndim == 0 or not probabilities.is_floating_point():
        raise ArgumentError.of(
            "probabilities",
            found=f"{probabilities.dtype} of shape {tuple(probabilities.shape)}",
            expected="floating-point (..., N)",
            mend="pass sigmoid(logits), with the rows on the last axis",
        )
    if probabilities.is_meta:
        raise ArgumentError.of(
            "probabilities",
            found="a tensor on the meta device",
            expected="values, which decide what is projected where",
            mend="run the projection on a real device",
        )
    return probabilities.shape[-1]


def check_probabilities(probabilities: Tensor) -> Array:
    """Return the probabilities as a float64 array after checking type, shape and range.

    Raises:
        ArgumentError: If they are not floating-point `(..., N)` in [0, 1]; NaN is not.
    """
    check_rows(probabilities)
    host = to_host(probabilities)
    low, high = host.min(initial=0.0), host.max(initial=1.0)
    if not (low >= 0 and high <= 1):
        raise ArgumentError.of(
            "probabilities",
            found="NaN" if np.isnan(low) else f"values from {low:g} to {high:g}",
            expected="[0, 1] in every row",
            mend="pass sigmoid(logits), and look for the cause if there are NaN",
        )
    return host


def to_host(values: Tensor) -> Array:
    """A float64 array of the values, without gradient."""
    result: Array = values.detach().cpu().double().numpy()  # not every device knows float64
    return result
