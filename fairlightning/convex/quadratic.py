"""The quadratic program of one step: as many unknowns as coefficients, however many rows.

    minimise ½θᵀHθ + qᵀθ + l1·‖β‖₁ + Σ λ·t   over θ = (β, intercept), centres μ, gaps t
    subject to lower ≤ Aθ − μ ≤ upper   and   |Aθ − μ| ≤ half·t for penalised blocks

It is posed in cvxpy with parameters for what changes from step to step, and so compiled once.
Without l1 only as many unknowns are posed as there are rows of constraints, which keeps a step at a
few milliseconds.
"""

# cvxpy re-exports its functions without saying so, and is typed in part only.
# mypy: disable-error-code="attr-defined, no-untyped-call, no-any-return"

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf

from fairlightning.convex.blocks import Array, Block
from fairlightning.exceptions import ArgumentError, SetupError

SOLVER = {"solver": cp.CLARABEL, "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
_DAMPINGS = (1e-13, 1e-11, 1e-9, 1e-6, 1e-3)
_FEASIBLE = 1e-7


class Solution(NamedTuple):
    """A step's program solved.

    Attributes:
        theta: `(P,)` minimiser.
        multipliers: `(R_b,)` for every block: upper minus lower multiplier of each of its rows.
    """

    theta: Array
    multipliers: list[Array]


class QuadraticProgram:
    """Compiled program; `solve` gives H and q their values.

    With H = RᵀR and without l1, θ enters the constraints only through the span of the columns of
    H⁻¹Aᵀ. Let QT be the QR factors of R⁻ᵀAᵀ; then θ = R⁻¹(z + Qy) with z = −R⁻ᵀq, the objective is
    ½‖y‖² + constant, and Aθ = Tᵀy + AR⁻¹z: a program of as many unknowns as rows in A.

    Args:
        blocks: Constraints and penalised gaps.
        size: Number of unknowns `P`, the intercept last.
        l1: Weight ≥ 0 of ‖β‖₁.
    """

    def __init__(self, blocks: Sequence[Block], size: int, l1: float) -> None:
        self.blocks = list(blocks)
        rows = [block.rows for block in blocks]
        self.rows: Array = np.concatenate(rows) if rows else np.zeros((0, size))
        self._l1 = l1
        if not blocks and not l1:
            return
        pose = self._pose_whole if l1 else self._pose_span
        goal, products = pose(size)
        extra, constraints, self._pairs = bounds_and_penalties(self.blocks, products)
        self._problem = cp.Problem(cp.Minimize(goal + extra), constraints)

    def _pose_whole(self, size: int) -> tuple[Any, Any]:
        self._unknown = cp.Variable(size)
        self._matrix, self._vector = cp.Parameter((size, size)), cp.Parameter(size)
        goal = cp.sum_squares(self._matrix @ self._unknown) / 2 + self._vector @ self._unknown
        goal = goal + self._l1 * cp.norm1(self._unknown[:-1])
        return goal, self.rows @ self._unknown if self.blocks else None

    def _pose_span(self, size: int) -> tuple[Any, Any]:
        count = len(self.rows)
        self._unknown = cp.Variable(min(count, size))
        self._matrix = cp.Parameter((count, min(count, size)))
        self._vector = cp.Parameter(count)
        return cp.sum_squares(self._unknown) / 2, self._matrix @ self._unknown + self._vector

    def solve(self, hessian: Array, linear: Array) -> Solution:
        """Solve the program.

        Args:
            hessian: `(P, P)` positive semidefinite.
            linear: `(P,)` q.

        Raises:
            SetupError: If the solver fails.
        """
        root = _root(hessian)
        if self._l1:
            self._matrix.value, self._vector.value = root, linear
            run(self._problem)
            return Solution(np.asarray(self._unknown.value), self._multipliers())
        z = solve_triangular(root, -linear, trans="T")
        if not self.blocks:
            return Solution(solve_triangular(root, z), [])
        basis, factor = np.linalg.qr(solve_triangular(root, self.rows.T, trans="T"))
        self._matrix.value = factor.T
        self._vector.value = self.rows @ solve_triangular(root, z)
        run(self._problem)
        theta = solve_triangular(root, z + basis @ np.asarray(self._unknown.value))
        return Solution(theta, self._multipliers())

    def _multipliers(self) -> list[Array]:
        pairs = zip(self.blocks, self._pairs, strict=True)
        return [multipliers_of(block, *pair) for block, pair in pairs]


def bounds_and_penalties(
    blocks: Sequence[Block], products: Any
) -> tuple[Any, list[Any], list[Any]]:
    """Penalty terms, all constraints, and for each block its (upper, lower) or equality."""
    families: dict[str, tuple[float, Any]] = {}
    constraints, pairs, first = [], [], 0
    for block in blocks:
        value = products[first : first + len(block.rows)]
        first += len(block.rows)
        if block.centred:
            value = value - cp.Variable()
        if block.penalty is not None:
            _, gap = families.setdefault(block.family, (block.penalty, cp.Variable(nonneg=True)))
            pair: tuple[Any, ...] = (value <= block.half * gap, -value <= block.half * gap)
        elif (block.lower == block.upper).all():
            pair = (value == block.upper,)
        else:
            # A bound that is infinite has no multiplier.
            pair = (
                value <= block.upper if np.isfinite(block.upper).all() else None,
                -value <= -block.lower if np.isfinite(block.lower).all() else None,
            )
        pairs.append(pair)
        constraints += [part for part in pair if part is not None]
    return sum(weight * gap for weight, gap in families.values()), constraints, pairs


def multipliers_of(block: Block, *pair: Any) -> Array:
    """Upper minus lower multiplier of every row of a block, from its solved constraints."""
    duals = [np.zeros(len(block.rows)) if c is None else np.ravel(c.dual_value) for c in pair]
    # Of an equality cvxpy gives the multiplier of (left − right).
    return duals[0] if len(duals) == 1 else duals[0] - duals[1]


def curvatures(hessian: Array) -> Array:
    """`(P,)` diagonal of H, by which each column is damped in its own scale.

    A column without any, as a hinge leaves where no row is near its kink, is given the mean.
    """
    diagonal = np.diag(hessian)
    found: Array = np.where(diagonal > 0, diagonal, diagonal.mean())
    return np.maximum(found, np.finfo(float).tiny)


def _root(hessian: Array) -> Array:
    """Upper triangular R with RᵀR = H, damped where H is singular."""
    scale = np.sqrt(curvatures(hessian))
    scaled = hessian / np.outer(scale, scale)
    for damping in _DAMPINGS:
        factor, failed = dpotrf(scaled + damping * np.eye(len(scaled)))
        if not failed:
            root: Array = np.triu(factor) * scale
            return root
    raise SetupError.of(
        "hessian",
        found="a matrix that is not positive semidefinite",
        expected="finite features and weights",
        mend="look for NaN, infinity or huge values in the features",
    )


def run(problem: cp.Problem) -> None:
    """Solve with Clarabel.

    Raises:
        SetupError: If there is no solution to be had.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            problem.solve(**SOLVER, warm_start=False)
    except cp.SolverError as error:
        raise _failed(str(error)) from error
    # Asked for eleven digits the solver may fall short of them and say so: steps are judged by the
    # certificate, not by the solver.
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise _failed(problem.status)


def _failed(status: str) -> SetupError:
    return SetupError.of(
        "quadratic program",
        found=f"the solver's status {status!r}",
        expected="a solution",
        mend="scale the features to unit variance, or raise l2",
    )


def feasible_point(blocks: Sequence[Block], theta: Array) -> Array:
    """The point nearest to θ that satisfies every bound: θ itself, if it does.

    Raises:
        ArgumentError: If there is none, naming the constraints that contradict each other.
    """
    hard = [block for block in blocks if block.penalty is None]
    if all(block.violation(theta) == 0 for block in hard):
        return theta
    _check_consistent(hard, len(theta))
    program = QuadraticProgram(hard, len(theta), 0.0)
    return restored(hard, program.solve(np.eye(len(theta)), -theta).theta)


def restored(blocks: Sequence[Block], theta: Array) -> Array:
    """Take off what a solver's tolerance left of violations, along the rows of the constraints."""
    hard = [block for block in blocks if block.penalty is None]
    if not hard:
        return theta
    rows = np.concatenate([block.rows for block in hard])
    excess = []
    for block in hard:
        products = block.rows @ theta
        if block.centred:
            products = products - (products.max() + products.min()) / 2
        excess.append(products - np.clip(products, block.lower, block.upper))
    moved: Array = theta - np.linalg.lstsq(rows, np.concatenate(excess), rcond=1e-10)[0]
    worst = [max(b.violation(point) for b in hard) for point in (theta, moved)]
    return moved if worst[1] < worst[0] else theta


def _check_consistent(blocks: Sequence[Block], size: int) -> None:
    """Least total violation; where it is above 0, the multipliers name the contradiction."""
    theta, slack = cp.Variable(size), cp.Variable(len(blocks), nonneg=True)
    rows = np.concatenate([block.rows for block in blocks])
    scale = np.maximum(np.linalg.norm(rows, axis=1).max(), 1e-300)
    constraints, owners = [], []
    first = 0
    for position, block in enumerate(blocks):
        value = (rows[first : first + len(block.rows)] / scale) @ theta
        first += len(block.rows)
        if block.centred:
            value = value - cp.Variable()
        for sign, bound in ((1, block.upper), (-1, -block.lower)):
            if np.isfinite(bound).all():
                constraints.append(sign * value <= bound + slack[position])
                owners.append(position)
    problem = cp.Problem(cp.Minimize(cp.sum(slack)), constraints)
    run(problem)
    if problem.value <= _FEASIBLE:
        return
    at_fault = {
        owner
        for owner, constraint in zip(owners, constraints, strict=True)
        if np.max(constraint.dual_value) > 1e-5
    }
    names = [blocks[position].name for position in sorted(at_fault)]
    raise ArgumentError.of(
        "constraints",
        found=f"{' and '.join(names)}, which no coefficients satisfy together (short by "
        f"{problem.value:.3g} in all)",
        expected="bounds that some coefficients satisfy",
        mend="relax or drop one of them",
    )
