"""Lower bounds on the objective, from any dual point: what makes a solution certain.

For slopes α of the loss in its domain and multipliers u of the constraints, every feasible θ has

    F(θ) ≥ −(1/W)·Σ w·φ*(α) − ψ(u) + min over θ of zᵀθ + l1·‖β‖₁ + l2/2·‖β‖²,

with z = (1/W)·Σ w·α·s·x + Aᵀu (Fenchel's duality; Rockafellar 1970, section 31). ψ(u) is the
largest uᵀAθ within the bounds. The bound holds for *any* α and u, however inexact the step that
they came from, so long as the minimum is finite: for that they are scaled down where necessary,
which φ*(tα) ≤ t·φ*(α) for t in [0, 1] pays for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fairlightning.convex.blocks import Array, Block
from fairlightning.exceptions import ArgumentError


def lower_bound(
    conjugate: Array,
    dual: Array,
    blocks: Sequence[Block],
    multipliers: Sequence[Array],
    *,
    l1: float,
    l2: float,
    radius: float,
) -> float:
    """Lower bound on the objective.

    Args:
        conjugate: `(2,)` mean of φ*(α) over the rows of label 0 and 1, by the mass of all rows.
        dual: `(2, P)` mean of α·s·x, likewise.
        blocks: The constraints.
        multipliers: Multipliers of the rows of each, of any size and sign.
        l1: Weight of ‖β‖₁.
        l2: Weight of ‖β‖²/2.
        radius: Without any regularisation the bound is one over coefficients of at most this size,
            for which rounding is then accounted; otherwise it is not used.

    Returns:
        The bound; −∞ where the point cannot be made feasible.
    """
    pushes = np.zeros(dual.shape[1])
    cost = 0.0
    for block, u in zip(blocks, feasible_multipliers(blocks, multipliers), strict=True):
        pushes += block.rows.T @ u
        if block.penalty is None:
            up, down = np.maximum(u, 0), np.maximum(-u, 0)
            cost += float(up[up > 0] @ block.upper[up > 0])
            cost -= float(down[down > 0] @ block.lower[down > 0])
    share = _balance(dual[:, -1], pushes[-1])
    if share is None:
        return -np.inf
    z = (share @ dual + pushes)[:-1]
    bound = -float(share @ conjugate) - cost
    if l2 > 0:
        return bound - float(np.square(np.maximum(np.abs(z) - l1, 0)).sum()) / (2 * l2)
    if l1 > 0:
        return bound * min(1.0, l1 / max(float(np.abs(z).max(initial=0.0)), 1e-300))
    return bound - radius * float(np.abs(z).sum())


def feasible_multipliers(blocks: Sequence[Block], multipliers: Sequence[Array]) -> list[Array]:
    """Bring multipliers to where ψ is finite: sums of 0 around a centre, at most λ if penalised."""
    found = [
        u - u.mean() if block.centred else u for block, u in zip(blocks, multipliers, strict=True)
    ]
    total: dict[str, float] = {}
    for block, u in zip(blocks, found, strict=True):
        total[block.family] = total.get(block.family, 0.0) + multiplier(block, u)
    for position, block in enumerate(blocks):
        if block.penalty is not None and total[block.family] > block.penalty:
            found[position] = found[position] * (block.penalty / total[block.family])
    return found


def multiplier(block: Block, u: Array) -> float:
    """What a unit of the block's bound is worth: −dF/dε, or the share in λ of a penalised gap."""
    return float(np.abs(u).sum()) * block.half


def _balance(intercept: Array, push: float) -> Array | None:
    """Factors in [0, 1] of the two labels at which nothing pulls at the intercept."""
    total = float(intercept.sum() + push)
    share = np.ones(2)
    # Slopes are at most 0: label 0 pulls up, label 1 down; the stronger one is weakened.
    label = 0 if total > 0 else 1
    if total != 0:
        if intercept[label] == 0:
            return None
        share[label] -= total / intercept[label]
    return share if share[label] >= 0 else None


def check_bounded(direction: Array, sums: Mapping[str, Array], blocks: Sequence[Block]) -> None:
    """Refuse a step along which the objective falls for ever.

    No row's margin falls along it, some grow, and the constraints allow it at any length. Of use
    where nothing is regularised and the loss never reaches its infimum.

    Args:
        direction: `(P,)` a step.
        sums: `falls` and `grows` of a pass along it; see `passes.row_sums`.
        blocks: The constraints.

    Raises:
        ArgumentError: Naming the columns with the largest part in the direction.
    """
    if sums["falls"] > 0 or sums["grows"] == 0:
        return
    small = 1e-7 * float(np.abs(direction).max())
    for block in blocks:
        products = block.rows @ direction
        if block.is_gap and block.value(direction) > small:
            return
        if (np.isfinite(block.upper) & (products > small)).any():
            return
        if (np.isfinite(block.lower) & (products < -small)).any():
            return
    largest = np.argsort(-np.abs(direction))[:3]
    names = ["intercept" if i == len(direction) - 1 else f"column {i}" for i in largest]
    raise ArgumentError.of(
        "l2",
        found="0 with separable labels: the loss falls for ever along a direction, of which "
        f"{', '.join(names)} have the largest coefficients",
        expected="an objective that has a minimum",
        mend="pass l2=1e-4, or merge columns that tell the label of a few rows",
    )
