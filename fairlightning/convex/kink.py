"""The hinge's last steps: rows near the kink one by one, all others as planes.

A plane is the loss of rows with their slopes α held fixed: Σ w·(α·s·xᵀθ − φ*(α)) never exceeds
their loss. The rows that lie nearest to the kink, a fixed number of them, enter the step's program
with the hinge itself, the others with the plane of where they lie; planes of earlier passes, of
all rows, join them (cutting planes; Joachims 2006, Franc and Sonnenburg 2009). The program's value
is a lower bound, and its multipliers a dual point. Where no other row crosses the kink during the
step, the program agrees with the problem, and its solution is that of the problem.
"""

# cvxpy re-exports its functions without saying so, and is typed in part only.
# mypy: disable-error-code="attr-defined, no-untyped-call, no-any-return"

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from fairlightning.convex.blocks import Array, Block
from fairlightning.convex.quadratic import Solution, bounds_and_penalties, multipliers_of, run

NEAREST = 512
"""Rows that enter the program one by one."""
PLANES = 60
"""Planes of earlier passes that are kept."""


class Plane(NamedTuple):
    """Slopes of all rows, summed.

    Attributes:
        conjugate: `(2,)` mean of w·φ*(α), by label.
        dual: `(2, P)` mean of w·α·s·x, by label.
    """

    conjugate: Array
    dual: Array


class NearRows:
    """The rows nearest to the kink among those seen.

    Args:
        state: Rows to go on from, as `state` gives them.
    """

    def __init__(self, state: list[Tensor] | None = None) -> None:
        self._columns = state or []

    def state(self) -> list[Tensor]:
        """`(n, P)` inputs, and `(n,)` signs, weights and margins; empty before the first chunk."""
        return [column.cpu() for column in self._columns]

    def add(self, inputs: Tensor, sign: Tensor, weight: Tensor, margin: Tensor) -> None:
        """Take in a chunk."""
        self._columns = [
            torch.cat([old.to(new.device), new])
            for old, new in zip(
                self._columns or [inputs[:0], sign[:0], weight[:0], margin[:0]],
                _nearest([inputs, sign, weight, margin]),
                strict=True,
            )
        ]
        self._columns = _nearest(self._columns)

    def on_host(self, mass: float) -> tuple[Array, Array, Array, Array]:
        """Signed inputs `(n, P)`, weights by the mass, margins, and labels in {0, 1}, `(n,)`."""
        inputs, sign, weight, margin = (column.cpu().numpy() for column in self._columns)
        return inputs * sign[:, None], weight / mass, margin, (sign > 0).astype(int)


def _nearest(columns: list[Tensor]) -> list[Tensor]:
    distance = (1 - columns[-1]).abs()
    kept = distance.topk(min(NEAREST, len(distance)), largest=False).indices
    return [column[kept] for column in columns]


def plane_of(near: tuple[Array, Array, Array, Array], alpha: Array) -> Plane:
    """Plane of the near rows alone, at slopes α `(n,)` of the hinge."""
    signed, weight, _, label = near
    by_label = np.stack([label == 0, label == 1]) * (weight * alpha)
    return Plane(by_label.sum(1), by_label @ signed)


def kink_step(
    near: tuple[Array, Array, Array, Array],
    here: Plane,
    planes: Sequence[Plane],
    blocks: Sequence[Block],
    *,
    l1: float,
    l2: float,
) -> tuple[Solution, Plane]:
    """Solve the program of a step.

    Args:
        near: Rows near the kink.
        here: Plane of all rows at the present θ, near ones included.
        planes: Planes of earlier passes.
        blocks: The constraints.
        l1: Weight of ‖β‖₁.
        l2: Weight of ‖β‖²/2.

    Returns:
        Minimiser and multipliers of the constraints; and the plane that the program's multipliers
        make of all the others, which proves its value.
    """
    signed, weight, margin, _ = near
    inside = plane_of(near, -(margin < 1).astype(float))
    rest = Plane(here.conjugate - inside.conjugate, here.dual - inside.dual)
    size = signed.shape[1]
    theta, excess, loss = cp.Variable(size), cp.Variable(len(weight), nonneg=True), cp.Variable()
    kink = excess >= 1 - signed @ theta
    cuts = [loss >= _height(rest, theta) + weight @ excess]
    cuts += [loss >= _height(plane, theta) for plane in planes]
    products = np.concatenate([b.rows for b in blocks]) @ theta if blocks else None
    extra, constraints, pairs = bounds_and_penalties(blocks, products)
    goal = loss + extra
    if l2:
        goal = goal + l2 / 2 * cp.sum_squares(theta[:-1])
    if l1:
        goal = goal + l1 * cp.norm1(theta[:-1])
    run(cp.Problem(cp.Minimize(goal), [kink, loss >= 0, *cuts, *constraints]))
    share = np.maximum([float(cut.dual_value) for cut in cuts], 0)
    share = share / max(share.sum(), 1.0)
    pull = share[0] * weight
    alpha = -np.clip(np.ravel(kink.dual_value) / np.where(pull > 0, pull, 1), 0, 1)
    mine = plane_of(near, np.where(pull > 0, alpha, 0))
    found = [Plane(rest.conjugate + mine.conjugate, rest.dual + mine.dual), *planes]
    proof = Plane(
        sum((s * plane.conjugate for s, plane in zip(share, found, strict=True)), np.zeros(2)),
        sum((s * plane.dual for s, plane in zip(share, found, strict=True)), np.zeros((2, size))),
    )
    multipliers = [multipliers_of(b, *pair) for b, pair in zip(blocks, pairs, strict=True)]
    return Solution(np.asarray(theta.value), multipliers), proof


def _height(plane: Plane, theta: cp.Variable) -> cp.Expression:
    return plane.dual.sum(0) @ theta - plane.conjugate.sum()
