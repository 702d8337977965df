"""The projection as a differentiable function of tensors, and the distance to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.projection.distances import DISTANCES, Array, Distance
from fairlightning.functional.projection.newton import Dual
from fairlightning.functional.projection.problem import (
    Cells,
    Problem,
    check_probabilities,
    to_host,
)
from fairlightning.functional.rates import at_least_float32, mean_scores

P = ParamSpec("P")
T = TypeVar("T")

TOLERANCE = 1e-9
"""Largest violation of the optimality conditions, in probability, that is accepted."""


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


def outside_graphs(function: Callable[P, T]) -> Callable[P, T]:
    """Let `torch.compile` break its graph here: it would trace the solver step by step, and fail.

    `torch.compiler.disable` as a decorator would do the same, but loads the compiler at import.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            undisturbed: Callable[P, T] = torch.compiler.disable(function)
            return undisturbed(*args, **kwargs)
        return function(*args, **kwargs)

    return call


@outside_graphs
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
    problem = Problem.of(cells, host.shape[-1], epsilon, weight)
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
    if weight is None:
        return each.sum(-1) / max(each.shape[-1], 1)
    weight = weight.detach().to(p.dtype)
    return mean_scores((each * weight).sum(-1), weight.sum())


def _relative_entropy(x: Tensor, p: Tensor) -> Tensor:
    # The clamp only keeps 0/0 out of the gradient: where p is 0, x is 0 as well.
    p = p.clamp_min(torch.finfo(p.dtype).tiny)
    result: Tensor = torch.special.xlogy(x, x) - torch.special.xlogy(x, p)
    return result


def _from_host(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(values.reshape(like.shape)).to(like.dtype).to(like.device)


def _models(values: Array) -> Array:
    """`(..., N)` as `(K, N)`, also where there are no rows."""
    return values.reshape(prod(values.shape[:-1]), values.shape[-1])


class _Project(torch.autograd.Function):
    # With a `setup_context` torch would inspect signatures at every call, a tenth of the time.
    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, dual: Dual) -> Tensor:
        ctx.dual = dual
        return _from_host(dual.solve(), probabilities)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return _from_host(ctx.dual.pull_back(_models(to_host(grad))), grad), None
