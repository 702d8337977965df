"""Newton's method on the dual of the projection onto the fair set; see `functional.projection`.

The unknowns are z = (δ, μ): a shift for each of the `M` cells and a centre for each of the `B`
blocks. With rates m(δ) they satisfy, for every cell c of block b,

    m_c − μ_b = clamp(m_c − μ_b + κ·δ_c, −ε/2, ε/2)   and   Σ mass_c·δ_c = 0 in every block,

a cell being active where the clamp cuts. The equations are piecewise smooth; a Newton step on the
piece at hand (a primal-dual active-set step; Hintermüller, Ito and Kunisch 2002, SIAM J. Optim. 13)
mostly ends after three to six steps. Where it does not, each further step takes the best of several
fractions of it and of proximal gradient steps stretched by several factors, by the dual objective,
which makes it converge.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fairlightning.functional.projection.distances import SHIFTS, Array, Distance
from fairlightning.functional.projection.problem import Problem

_AIM = 1e-13
_ENOUGH = 1e-11
_PATIENCE = 3
_STEPS = 300
_HOPELESS = 60
_FRACTIONS = 0.5 ** np.arange(12)
_DAMPING = 1e-13
_DAMPINGS = (1e-1, 1e-3)
_PROXIMAL = 5
_STRETCHES = 4.0 ** np.arange(8)
_TINY = 1e-300


class _Point(NamedTuple):
    """The equations at one z, for `K` models."""

    shift: Array
    centre: Array
    value: Array
    slope: Array
    rate: Array
    clamped: Array
    active: NDArray[np.bool_]
    violation: Array
    worst: float


class Dual:
    """Solves the dual of one problem for `K` models at once, and differentiates the solution.

    Args:
        problem: The constraints.
        distance: `squared` or `kl`.
        probabilities: `(K, N)` in [0, 1].

    Attributes:
        steps: Newton steps that the last solution took.
    """

    def __init__(self, problem: Problem, distance: Distance, probabilities: Array) -> None:
        self.problem = problem
        self._probabilities = probabilities
        self.rows = SHIFTS[distance]
        # Bounds what a shift can move a rate by; the step length of the proximal gradient.
        self.scale = self.rows.steepest * problem.overlap
        self.steps = 0
        self.num_blocks, self.num_cells = problem.block.shape
        self._first = problem.block.argmax(1)
        self._tight = problem.half == 0
        total = np.maximum(problem.block @ problem.mass, _TINY)
        self._share = problem.mass / (total @ problem.block)

    @property
    def shift(self) -> Array:
        """`(K, M)` shifts at the solution."""
        return self._solution.shift

    @property
    def residual(self) -> float:
        """Largest violation of the equations at the solution, in units of probability."""
        return self._solution.worst

    def solve(self) -> Array:
        """Return the `(K, N)` projections."""
        point = best = self._start()
        least = np.full(len(self._probabilities), np.inf)
        stalled, halved, halved_at = 0, np.inf, 0
        for self.steps in range(_STEPS):
            if best.worst < halved / 2:
                halved, halved_at = best.worst, self.steps
            if best.worst <= (_ENOUGH if stalled else _AIM) or self.steps - halved_at > _HOPELESS:
                break
            if stalled < _PATIENCE:
                point = self._point_at(self._newton_step(point))
            else:
                point = best if stalled == _PATIENCE else point
                least = np.minimum(least, point.violation.max(-1))
                point = self._safe_step(point, least)
            better = point.worst < best.worst / 2
            stalled = 0 if better and stalled < _PATIENCE else stalled + 1
            if point.worst < best.worst:
                best = point
        self._solution = best
        return best.value

    def pull_back(self, grad: Array) -> Array:
        """Turn `(K, N)` gradients of the solution into those of the probabilities."""
        point, problem = self._solution, self.problem
        adjoint = self._adjoint(point, (grad * point.slope) @ problem.member.T)
        direct = point.slope
        if self.rows.input_slope is not None:
            direct = self.rows.input_slope(self._probabilities, point.shift @ problem.member)
        result: Array = direct * (grad - adjoint @ problem.mean)
        return result

    def _start(self) -> _Point:
        p = self._probabilities
        value, slope = self.rows.respond(p, np.zeros_like(p))
        rate = value @ self.problem.mean.T
        low, high = self._ends(rate)
        return self._point(np.zeros_like(rate), (low + high) / 2, value, slope, rate)

    def _ends(self, rate: Array) -> tuple[Array, Array]:
        """`(K, B)` smallest and largest value among the cells with mass of each block; else 0."""
        present, first = self.problem.mass > 0, self._first
        low = np.minimum.reduceat(np.where(present, rate, np.inf), first, axis=1)
        high = np.maximum.reduceat(np.where(present, rate, -np.inf), first, axis=1)
        some = low <= high
        return np.where(some, low, 0.0), np.where(some, high, 0.0)

    def _point_at(self, z: Array) -> _Point:
        shift, centre = z[:, : self.num_cells], z[:, self.num_cells :]
        value, slope = self.rows.respond(self._probabilities, shift @ self.problem.member)
        return self._point(shift, centre, value, slope, value @ self.problem.mean.T)

    def _point(
        self, shift: Array, centre: Array, value: Array, slope: Array, rate: Array
    ) -> _Point:
        half = self.problem.half
        offset = rate - centre @ self.problem.block
        pushed = offset + self.scale * shift
        clamped = np.minimum(np.maximum(pushed, -half), half)
        # With ε = 0 there is nothing but equations, also where nothing pushes against them.
        active = (pushed != clamped) | self._tight
        violation = np.abs(offset - clamped)
        worst = float(violation.max(initial=0.0))
        return _Point(shift, centre, value, slope, rate, clamped, active, violation, worst)

    def _newton_step(self, point: _Point, damping: float = 0.0) -> Array:
        """Solve the equations linearised at the point, inactive cells and their blocks aside."""
        # Damping keeps cells whose rows are all clipped from leaping. Here it vanishes
        # quadratically, so that the last steps are Newton's.
        damping += 1e-2 * point.worst**2 + _DAMPING
        slope = self._slopes(point, damping)
        if self.problem.overlap == 1:
            right = point.rate - point.clamped + slope * point.shift
            shift, centre = self._solve_apart(slope, point, right, 1.0, self._share)
            return np.concatenate([shift, centre], 1)
        moved = (slope @ point.shift[..., None])[..., 0]
        matrix, free = self._matrix(slope, point)
        fixed = np.concatenate([np.zeros_like(point.shift), point.centre], 1)
        right = np.concatenate([point.rate - point.clamped + moved, np.zeros_like(point.centre)], 1)
        return _solve(matrix, np.where(free, right, fixed))

    def _adjoint(self, point: _Point, grad: Array) -> Array:
        """`(K, M)` solution of the transposed equations; zero for inactive cells."""
        slope = self._slopes(point, _DAMPING)
        if self.problem.overlap == 1:
            return self._solve_apart(slope, point, grad, self._share, 1.0)[0]
        right = np.concatenate([grad, np.zeros_like(point.centre)], 1)
        matrix, _ = self._matrix(slope, point)
        return _solve(matrix.swapaxes(-1, -2), right)[:, : self.num_cells] * point.active

    def _slopes(self, point: _Point, damping: float) -> Array:
        """How the rates fall with the shifts: `(K, M, M)`, or `(K, M)` where cells are disjoint."""
        if self.problem.overlap == 1:
            apart: Array = point.slope @ self.problem.mean.T + damping
            return apart
        slopes: Array = (self.problem.mean * point.slope[:, None]) @ self.problem.member.T
        return slopes + damping * np.eye(self.num_cells)

    def _solve_apart(
        self, slope: Array, point: _Point, right: Array, across: Array | float, sums: Array | float
    ) -> tuple[Array, Array]:
        """Solve slope·y + across·z = right in active cells, Σ sums·y = 0 in their blocks."""
        block = self.problem.block
        inverse = point.active / slope
        scaled = inverse * sums
        total = (scaled * across) @ block.T
        centre = (scaled * right) @ block.T / np.maximum(total, _TINY)
        shift = inverse * (right - across * (centre @ block))
        return shift, np.where(total > 0, centre, point.centre)

    def _matrix(self, slope: Array, point: _Point) -> tuple[Array, NDArray[np.bool_]]:
        """`(K, M + B, M + B)` equations, with identity rows for `(K, M + B)` unknowns not free."""
        block, size = self.problem.block, self.num_cells + self.num_blocks
        free = np.concatenate([point.active, point.active @ block.T > 0], 1)
        matrix = np.zeros((len(slope), size, size))
        matrix[:, : self.num_cells, : self.num_cells] = slope
        matrix[:, : self.num_cells, self.num_cells :] = block.T
        matrix[:, self.num_cells :, : self.num_cells] = block * self._share
        return np.where(free[..., None], matrix, np.eye(size)), free

    def _safe_step(self, point: _Point, least: Array) -> _Point:
        """Take Newton's step if it halves the least violation, else the lowest dual objective."""
        m = self.num_cells
        here = np.concatenate([point.shift, point.centre], 1)
        step = self._newton_step(point)
        tries = [here + t * (step - here) for t in _FRACTIONS]
        tries += [self._newton_step(point, damping) for damping in _DAMPINGS]
        first = near = self._proximal_step(point)
        for _ in range(_PROXIMAL - 1):
            near = self._proximal_step(self._point_at(near))
        tries += [first + t * (near - first) for t in _STRETCHES]
        heights = np.stack([self._objective(z[:, :m]) for z in tries])
        chosen = np.stack(tries)[heights.argmin(0), np.arange(len(here))]
        pushed = self._point_at(chosen).rate + self.scale * chosen[:, :m]
        chosen = np.concatenate([chosen[:, :m], self._centres(pushed)], 1)
        full = self._point_at(step)
        halved = full.violation.max(-1) < least / 2
        return self._point_at(np.where(halved[:, None], step, chosen))

    def _proximal_step(self, point: _Point) -> Array:
        pushed = point.rate + self.scale * point.shift
        centre = self._centres(pushed)
        return np.concatenate([self._soft(pushed, centre) / self.scale, centre], 1)

    def _soft(self, pushed: Array, centre: Array) -> Array:
        offset = pushed - centre @ self.problem.block
        half = self.problem.half
        return offset - np.minimum(np.maximum(offset, -half), half)

    def _centres(self, pushed: Array) -> Array:
        """Centres at which the shifts of every block, weighted by mass, add up to 0; bisection."""
        low, high = self._ends(pushed)
        for _ in range(60):
            middle = (low + high) / 2
            above = (self._soft(pushed, middle) * self.problem.mass) @ self.problem.block.T > 0
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        result: Array = (low + high) / 2
        return result

    def _objective(self, shift: Array) -> Array:
        problem = self.problem
        rows = self.rows.conjugate(self._probabilities, shift @ problem.member) * problem.weight
        cost = np.where(problem.mass > 0, problem.half, 0.0) * problem.mass
        result: Array = rows.sum(-1) + np.abs(shift) @ cost
        return result


def _solve(matrix: Array, right: Array) -> Array:
    return cast(Array, np.linalg.solve(matrix, right[..., None])[..., 0])
