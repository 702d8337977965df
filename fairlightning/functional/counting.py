"""Rows to sums by cell: the counting that every table of a metric shares, and its marginals."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec

MAX_SLOTS = 2**25
"""Most slots that a table may have: 256 MB of int64 or float64."""


BLOCK = 2**17
"""Rows that are counted at a time, which bounds the memory that counting takes."""


def check_slots(*shape: int) -> None:
    """Refuse a table that would not fit in memory.

    Args:
        *shape: Sizes of its axes, cells first.

    Raises:
        ArgumentError: If it has more than `MAX_SLOTS` slots.
    """
    if prod(shape) > MAX_SLOTS:
        raise ArgumentError.of(
            "groups",
            found=f"a table of {' × '.join(f'{size:,}' for size in shape)} slots",
            expected=f"at most {MAX_SLOTS:,}",
            mend="name fewer attributes, merge rare categories, or ask for fewer bins or classes",
        )


def sum_by_cell(
    code: Tensor,
    size: int,
    sensitive: Tensor,
    groups: GroupSpec,
    weights: Sequence[Tensor | None] = (None,),
) -> list[Tensor]:
    """Sum rows by intersection of sensitive values and by a code of their own.

    Slots are fixed: an absent cell holds zeros. Codes are trusted, so check them before.

    Args:
        code: `(N,)` int64 in `[0, size)`; overwritten, which spares an allocation per batch.
        size: Number of codes `S`.
        sensitive: `(N, A)` int64 categories, `-1` for unknown.
        groups: The attributes.
        weights: What to sum: `(N,)` floating-point values, or None to count rows.

    Returns:
        For each of the weights `(num_cells, S)`, cells in the order of `GroupSpec.cell_ids`: int64
        counts, or float64 sums.
    """
    cross(code, size, sensitive, groups)
    tables = [_bincount(code, weight, groups.num_cells * size) for weight in weights]
    return [unknown_last(table.view(-1, size), groups) for table in tables]


def cross(code: Tensor, size: int, sensitive: Tensor, groups: GroupSpec) -> Tensor:
    """Add to the codes of rows, in place, `size` times the intersection of sensitive values.

    Intersections are numbered as `GroupSpec.cell_ids` does it, but with the unknown slot of each
    attribute first, so that it costs one addition per attribute; see `unknown_last`.

    Args:
        code: `(N,)` integers in `[0, size)`; overwritten, which spares an allocation per batch.
        size: Number of codes.
        sensitive: `(N, A)` categories of the same type, `-1` for unknown.
        groups: The attributes.

    Returns:
        The codes, in `[0, num_cells · size)`.
    """
    stride, first = size, 0
    for axis in reversed(range(len(groups.sizes))):
        code.add_(sensitive[:, axis], alpha=stride)
        first += stride
        stride *= groups.sizes[axis] + 1
    return code.add_(first)


def unknown_last(table: Tensor, groups: GroupSpec) -> Tensor:
    """Bring a table `(num_cells, ...)` by codes of `cross` into the order of `GroupSpec.cell_ids`.

    A copy, whatever the order was.
    """
    axes = list(range(len(groups.sizes)))
    cells = table.reshape(*(size + 1 for size in groups.sizes), *table.shape[1:])
    return cells.roll([-1] * len(axes), axes).view(table.shape)


def sum_by_code(
    code: Tensor, shape: Sequence[int], weights: Sequence[Tensor | None] = (None,)
) -> list[Tensor]:
    """Sum rows by one flat code, for any number of leading axes on the codes.

    Args:
        code: `(..., N)` int64 in `[0, ∏shape)`.
        shape: Sizes of the axes that the code runs over.
        weights: What to sum: `(N,)` floating-point values, or None to count rows.

    Returns:
        For each of the weights `(..., *shape)`: int64 counts, or float64 sums.
    """
    batch, slots = code.shape[:-1], prod(shape)
    models = prod(batch)
    if batch:
        first = slots * torch.arange(models, device=code.device)
        code = code + first.view(*batch, 1)
    flat = code.flatten()
    spread = (None if w is None else w.expand(code.shape).flatten() for w in weights)
    return [_bincount(flat, w, models * slots).view(*batch, *shape) for w in spread]


def partition_sums(
    cells: Tensor, groups: GroupSpec, partition: Sequence[str], *, dim: int = -3
) -> Tensor:
    """Sum a table of cells to the groups of a partition.

    Rows whose value is unknown for one of the named attributes are left out; what the other
    attributes say, unknown included, does not matter. The rows left out number
    `cells.sum() - partition_sums(cells, ...).sum()`.

    Args:
        cells: A table with one axis of size `num_cells`, as `GroupSpec.cell_ids` orders them.
        groups: The attributes whose cells were counted.
        partition: Names of the attributes whose groups or intersections are meant.
        dim: The axis of the cells, counted from the end.

    Returns:
        The table with `G` groups in place of the cells, in the order of `GroupSpec.group_names`.

    Raises:
        ArgumentError: If the partition names no attribute or one that does not exist.

    >>> groups = GroupSpec({"sex": ["Female", "Male"]})
    >>> partition_sums(torch.tensor([5, 3, 1]), groups, ("sex",), dim=-1)
    tensor([5, 3])
    """
    axes = groups.axes(partition)
    before, after = cells.shape[:dim], cells.shape[cells.ndim + dim + 1 :]
    first = len(before)
    spread = cells.reshape(*before, *(size + 1 for size in groups.sizes), *after)
    spread = spread.movedim([first + axis for axis in axes], list(range(first, first + len(axes))))
    for position, axis in enumerate(axes):
        # The last slot of every attribute counts its unknown values.
        spread = spread.narrow(first + position, 0, groups.sizes[axis])
    return spread.reshape(*before, groups.num_groups(partition), -1, *after).sum(first + 1)


def count_undecided(logits: Tensor) -> Tensor:
    """Number of rows of `(N,)` or `(N, C)` logits with a NaN among them, `()` int64."""
    # The minimum is NaN if any is, and ten times as fast as looking at each.
    if not logits.numel() or not logits.amin().isnan():
        return torch.zeros((), dtype=torch.long, device=logits.device)
    undecided = logits.isnan()
    return (undecided.any(-1) if logits.ndim > 1 else undecided).sum()


def _bincount(code: Tensor, weight: Tensor | None, slots: int) -> Tensor:
    if weight is None:
        return torch.bincount(code, minlength=slots)
    # Faster than a weighted bincount, and deterministic where PyTorch is told to be.
    sums = torch.zeros(slots, dtype=torch.float64, device=code.device)
    return sums.scatter_add_(0, code, weight.double())
