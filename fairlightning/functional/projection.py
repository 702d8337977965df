"""Projection onto the fair set: the nearest probabilities whose group rates lie within ε.

Minimise Σᵢ wᵢ·d(xᵢ, pᵢ) over x in [0, 1]ᴺ such that in every block of cells (the groups under one
condition) the largest rate exceeds the smallest by at most ε. Each rate is held within ±ε/2 of a
free centre μ, so that no two constraints say the same. For given shifts δ, one per cell, the best x
is known: clip(pᵢ − sᵢ) for the squared distance and σ(logit pᵢ − sᵢ) for the Kullback-Leibler
divergence, where sᵢ adds up the shifts of the cells of row i. What remains is the dual, with one
unknown per cell and one per block however many rows there are; `functional.newton` solves it, and
differentiating its equations gives the gradient (Amos and Kolter 2017, arXiv:1703.00443).

The solver runs in NumPy on the host, in float64, whatever the device of the rows: its steps depend
on each other and are tiny, so that the overhead of each operation is all that they cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.newton import Dual, Problem
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, criterion_cells
from fairlightning.functional.rows import check_weight
from fairlightning.functional.shifts import DISTANCES, Array, Distance
from fairlightning.groups import GroupSpec

TOLERANCE = 1e-9
"""Largest violation of the optimality conditions, in probability, that is accepted."""


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


class Projection(NamedTuple):
    """Projected probabilities and what certifies them.

    Attributes:
        value: `(..., N)` nearest probabilities, differentiable in those that were projected.
        shift: `(..., M)` float64 on the CPU, how far each cell was moved down (in probability, or
            in logits for `kl`); 0 where its constraint does not bind. Times the cell's mass it is
            the constraint's multiplier. None from a cone solver.
        residual: Largest violation of the optimality conditions, in units of probability.
    """

    value: Tensor
    shift: Tensor | None
    residual: float


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

    >>> spec = GroupSpec({"sex": ["Female", "Male"]})
    >>> parity_cells("equalized_odds", torch.tensor([1, 0]), torch.tensor([[0], [1]]), spec,
    ...              [("sex",)])
    Cells(ids=tensor([[2, 1]]), blocks=(2, 2))
    """
    rows: list[Tensor] = []
    blocks: list[int] = []
    for partition in partitions:
        count = groups.num_groups(partition)
        group = groups.group_ids(sensitive, partition)
        label = group if target is None else target
        cell = criterion_cells(criterion, label, group, count)
        rows.append(torch.where(cell < 0, -1, cell + sum(blocks)))
        blocks += [count] * NUM_CONDITIONS[criterion]
    return Cells(torch.stack(rows), tuple(blocks))


def fair_projection(
    probabilities: Tensor,
    cells: Cells,
    epsilon: float,
    *,
    weight: Tensor | None = None,
    distance: Distance = "squared",
) -> Projection:
    """Move probabilities as little as possible so that no gap between rates exceeds ε.

    Rows in no cell, and rows of weight 0, stay as they are, as do all rows of a feasible batch. A
    cell without rows is left out; a block with rows in one cell only constrains nothing. Scores of
    several models on the same rows are projected each by itself.

    Args:
        probabilities: `(..., N)` in [0, 1].
        cells: Rows whose means are compared; see `parity_cells`.
        epsilon: Largest gap ≥ 0 allowed in every block; 1 and above constrains nothing.
        weight: `(N,)` row weights ≥ 0, in the rates and in the distance alike, so that a row of
            weight 2 is as two rows. No gradient reaches them.
        distance: `squared`, or `kl` for the divergence of the projected probability from the
            given one, KL(x‖p), which never reaches 0 or 1 and cannot leave them.

    Returns:
        The projection. Its value has the type of the probabilities, float32 for shorter ones;
        inside it is float64, where gaps exceed ε by at most 1e-9. Its gradient cannot be
        differentiated again.

    Raises:
        ArgumentError: On probabilities outside [0, 1] or NaN, ε < 0 or NaN, wrong shapes, negative
            weights, or where no projection is found: with `kl`, probabilities of exactly 0 or 1
            may leave none.

    >>> cells = Cells(torch.tensor([[0, 0, 1, -1]]), (2,))
    >>> fair_projection(torch.tensor([0.2, 0.4, 0.8, 0.9]), cells, 0.2).value
    tensor([0.3000, 0.5000, 0.6000, 0.9000])
    """
    check_choice("distance", distance, DISTANCES)
    host = check_probabilities(probabilities)
    problem = make_problem(cells, host.shape[-1], check_epsilon(epsilon), weight)
    dual = Dual(problem, distance, _models(host))
    exact = at_least_float32(probabilities)
    value: Tensor = _Project.apply(exact, dual)  # type: ignore[no-untyped-call]
    if not dual.residual <= TOLERANCE:
        raise ArgumentError.of(
            "probabilities",
            found=f"a projection with residual {dual.residual:.1e} after {dual.steps} steps",
            expected=f"at most {TOLERANCE:.0e}",
            mend="keep probabilities off 0 and 1, which kl cannot move"
            if distance == "kl"
            else "raise epsilon, or constrain fewer cells",
        )
    shape = (*probabilities.shape[:-1], dual.shift.shape[-1])
    return Projection(value, torch.from_numpy(dual.shift.reshape(shape)), dual.residual)


def projection_distance(
    probabilities: Tensor,
    projected: Tensor,
    *,
    weight: Tensor | None = None,
    distance: Distance = "squared",
    through: bool = False,
) -> Tensor:
    """Distance to the fair set, as a penalty: 0 if and only if the probabilities are fair.

    The gradient is that of the least distance, for which the projection itself need not be
    differentiated: at a minimum only the direct dependence on the probabilities counts (Danskin).

    Args:
        probabilities: `(..., N)` in [0, 1].
        projected: `(..., N)` their projection by the same distance and weights.
        weight: `(N,)` row weights ≥ 0.
        distance: `squared` or `kl`, as the probabilities were projected.
        through: Differentiate through the projection as well. Needed only where further
            constraints depend on the probabilities themselves.

    Returns:
        `(...)` (weighted) mean over all rows of (p − x)², or of KL(x‖p) in nats; 0 without rows.

    >>> p = torch.tensor([0.2, 0.4, 0.8], requires_grad=True)
    >>> cells = Cells(torch.tensor([[0, 0, 1]]), (2,))
    >>> projection_distance(p, fair_projection(p, cells, 0.2).value)
    tensor(0.0200, grad_fn=<DivBackward0>)
    """
    check_choice("distance", distance, DISTANCES)
    p = at_least_float32(probabilities)
    x = (projected if through else projected.detach()).to(p.dtype)
    if distance == "squared":
        each = (p - x).square()
    else:
        divergence = _relative_entropy(x, p) + _relative_entropy(1 - x, 1 - p)
        # A row that stays costs nothing, nor would it a little further: x moves with p.
        each = torch.where(x == p, 0.0, divergence)
    mass = torch.ones_like(p[..., :]) if weight is None else weight.detach().to(p.dtype)
    result: Tensor = (each * mass).sum(-1) / mass.sum(-1).clamp_min(torch.finfo(p.dtype).tiny)
    return result


def _relative_entropy(x: Tensor, p: Tensor) -> Tensor:
    # The clamp only keeps 0/0 out of the gradient: where p is 0, x is 0 as well.
    p = p.clamp_min(torch.finfo(p.dtype).tiny)
    result: Tensor = torch.special.xlogy(x, x) - torch.special.xlogy(x, p)
    return result


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
    """Return the number of rows `N` after checking type and shape.

    Raises:
        ArgumentError: If they are not floating-point `(..., N)`.
    """
    if probabilities.ndim == 0 or not probabilities.is_floating_point():
        raise ArgumentError.of(
            "probabilities",
            found=f"{probabilities.dtype} of shape {tuple(probabilities.shape)}",
            expected="floating-point (..., N)",
            mend="pass sigmoid(logits), with the rows on the last axis",
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


def at_least_float32(values: Tensor) -> Tensor:
    """The values, as float32 if their type is shorter."""
    return values.float() if values.dtype.itemsize < 4 else values


def make_problem(cells: Cells, rows: int, epsilon: float, weight: Tensor | None) -> Problem:
    """Turn checked cells of `N` rows into what the solvers work with.

    Raises:
        ArgumentError: On ids or weights of another shape, type or range.
    """
    if weight is not None:
        weight = check_weight(weight, rows)
    ids = cells.ids
    if ids.ndim != 2 or not len(ids) or ids.shape[1] != rows or ids.is_floating_point():
        raise ArgumentError.of(
            "cells.ids",
            found=f"{ids.dtype} of shape {tuple(ids.shape)}",
            expected=f"int64 ids of shape (S, {rows}), S ≥ 1",
            mend="make them by parity_cells from the same batch as the probabilities",
        )
    codes = ids.cpu().numpy()
    if codes.max(initial=-1) >= sum(cells.blocks):
        raise ArgumentError.of(
            "cells.ids",
            found=f"cell {codes.max()}",
            expected=f"ids below {sum(cells.blocks)}, the sum of the blocks",
            mend="number the cells of all partitions consecutively",
        )
    mass = None if weight is None else to_host(weight)
    return Problem.of(codes, cells.blocks, epsilon, mass)


def to_host(values: Tensor) -> Array:
    """A float64 array of the values, without gradient."""
    result: Array = values.detach().cpu().double().numpy()  # not every device knows float64
    return result


def _from_host(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(values.reshape(like.shape)).to(like.dtype).to(like.device)


def _models(values: Array) -> Array:
    """`(..., N)` as `(K, N)`, also where there are no rows."""
    return values.reshape(prod(values.shape[:-1]), values.shape[-1])


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(probabilities: Tensor, dual: Dual) -> Tensor:
        return _from_host(dual.solve(), probabilities)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Dual], output: Tensor) -> None:
        ctx.dual = inputs[1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return _from_host(ctx.dual.pull_back(_models(to_host(grad))), grad), None
