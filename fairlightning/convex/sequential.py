"""Sequential quadratic programming over passes of the data, with a certificate for every step.

One pass sums gradient and Hessian of the smooth loss; the program of `quadratic`, in as many
unknowns as there are coefficients, then gives the step and the multipliers (Newton's method for
composite functions; Lee, Sun and Saunders 2014, SIAM J. Optim. 24). The next pass judges the step
and, from the dual point that it predicts, bounds the optimum from below. As the constraints are
linear, every step keeps to them, and so does every fraction of it.

The hinge is approached through smoothed hinges of falling width, until few enough rows lie near its
kink for the program of `kink`; bounds are those of the hinge itself throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fairlightning.convex.blocks import Array, Block, penalty_of
from fairlightning.convex.cells import Cells
from fairlightning.convex.certificate import check_bounded, feasible_multipliers, lower_bound
from fairlightning.convex.constraints import LinearConstraint, make_blocks
from fairlightning.convex.kink import NEAREST, PLANES, NearRows, Plane, kink_step
from fairlightning.convex.losses import Hinge, make_loss
from fairlightning.convex.objective import ConstraintValue, Objective
from fairlightning.convex.passes import Feed, Reduce
from fairlightning.convex.quadratic import (
    QuadraticProgram,
    Solution,
    curvatures,
    feasible_point,
    restored,
)
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec

Status = Literal["running", "optimal", "stalled"]

_ARMIJO = 1e-4
_ROUNDING = 1e-13
_NARROWER = 0.2
_NARROWEST = 1e-3
_FLAT = 1e-10
_KEPT = 1e-8
_PLAIN = ("passes", "status", "objective_value", "bound", "_reference", "_decrease", "_started")


class SequentialQuadratic:
    """The solver, a pass at a time: `add` every batch, then `finish_pass`, until it returns True.

    Args:
        objective: What is minimised.
        groups: Sensitive attributes, needed where there are constraints.
        constraints: Bounds and penalised gaps.
        tolerance: Relative duality gap > 0 at which the solution is taken.
        start: `(P,)` θ to start from, the intercept last; the origin if None.
        reduce: Adds the sums of a pass over ranks.

    Attributes:
        status: `optimal` once the relative duality gap is at most the tolerance; `stalled` if no
            further progress is possible in floating point.
        passes: Number of passes finished.
        objective_value: Lowest objective so far; `theta` are its coefficients.
        bound: Lower bound on the objective of every feasible θ.
        blocks: The constraints as rows, known after the first pass.
        left_out: Groups that take no part in some constraint.
    """

    def __init__(
        self,
        objective: Objective,
        groups: GroupSpec | None = None,
        constraints: Sequence[LinearConstraint] = (),
        *,
        tolerance: float = 1e-8,
        start: Array | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        if not tolerance > 0:
            raise ArgumentError.of(
                "tolerance", found=tolerance, expected="a number above 0", mend="pass 1e-8"
            )
        if start is not None and not np.isfinite(start).all():
            raise ArgumentError.of(
                "start",
                found="coefficients that are not finite",
                expected="(P,) finite numbers, the intercept last",
                mend="leave it out to start from the origin",
            )
        if constraints and groups is None:
            raise ArgumentError.of(
                "groups",
                found="None with constraints",
                expected="the sensitive attributes and their categories",
                mend='pass groups={"sex": ["Female", "Male"]}',
            )
        self.objective, self.groups, self.constraints = objective, groups, tuple(constraints)
        self.tolerance = tolerance
        self.status: Status = "running"
        self.passes = 0
        self.objective_value, self.bound = np.inf, -np.inf
        self.theta: Array | None = None
        self.blocks: list[Block] = []
        self.left_out: tuple[str, ...] = ()
        self.history: list[tuple[float, float]] = []
        self._loss = make_loss(objective.loss)
        self._cells = Cells(constraints, groups) if constraints and groups else None
        self._feed = Feed(objective.class_weight, self._cells, reduce)
        self._origin: Array | None = start
        self._direction: Array | None = None
        self._multipliers: list[Array] = []
        self._reference = self._decrease = np.inf
        self._program: QuadraticProgram | None = None
        self._started = start is not None
        self._planes: list[Plane] = []

    @property
    def current(self) -> Array:
        """`(P,)` where the next pass looks."""
        assert self._origin is not None
        return self._origin if self._direction is None else self._origin + self._direction

    @property
    def best(self) -> Array:
        """`(P,)` θ of the lowest objective so far; without one, where the next pass looks."""
        return self.current if self.theta is None else self.theta

    def _part(self, fraction: float) -> Array:
        assert self._origin is not None and self._direction is not None
        return self._origin + fraction * self._direction

    @property
    def gap(self) -> float:
        """Duality gap: the objective exceeds the optimum by at most this."""
        return self.objective_value - self.bound

    @property
    def relative_gap(self) -> float:
        """Duality gap by the objective."""
        return self.gap / max(abs(self.objective_value), 1e-300)

    def add(
        self,
        inputs: Tensor,
        target: Tensor,
        sensitive: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Take in a batch of `(N, D)` features, labels in {0, 1}, `(N, A)` codes and weights.

        Raises:
            ArgumentError: On wrong shapes, labels, codes or weights.
        """
        if self._origin is None:
            self._origin = np.zeros(inputs.shape[-1] + 1)
        # A start is worth a look once it is known to keep to the constraints.
        cells_only = self.passes == 0 and self._started and self._cells is not None
        self._feed.look(self._loss, self._origin, self._direction, cells_only=cells_only)
        self._feed.add(inputs, target, sensitive, weight)

    def finish_pass(self) -> bool:
        """Judge the step whose end the pass saw, and choose the next; True when done.

        Raises:
            ArgumentError: If there are no rows, constraints contradict each other, or the
                objective has no minimum.
            SetupError: If the pass saw other rows than the first one.
        """
        sums, near = self._feed.take()
        if self.status != "running":
            return True
        self.passes += 1
        self._compile()
        if self.passes == 1:
            start = feasible_point(self.blocks, self.current)
            if "loss" not in sums or start is not self.current:
                self._origin = start
                return False
        if "dual" in sums:
            self._learn(Plane(sums["conjugate"], sums["dual"]))
        values = self._values(sums)
        if self._started and self._origin_is_better(values[0]):
            return False
        if self._direction is not None and not self._accepted(values[0], 1.0):
            return self._shorten(values)
        theta = self.current
        true = float(sums["loss"][0]) + self._added_terms(theta)
        kept = max((block.violation(theta) for block in self.blocks), default=0.0) <= _KEPT
        if kept and true <= self.objective_value:
            self.objective_value, self.theta = true, theta
        self.history.append((self.objective_value, self.bound))
        if self._proved():
            return True
        free = not self._loss.attained and self.objective.l1 == self.objective.l2 == 0
        if free and self._direction is not None:
            check_bounded(self._direction, sums, self.blocks)
        if near is None:
            self._step(theta, values[0], sums)
        else:
            self._step_at_kink(theta, values[0], sums, near)
        return self.status != "running"

    def _origin_is_better(self, value: float) -> bool:
        """Whether to begin at 0, which has no gaps, as a start turns out to be no good."""
        self._started = False
        zero = np.zeros_like(self.current)
        loss = float(self._loss.smoothed(torch.zeros(1, dtype=torch.float64)))
        if value <= loss or any(block.violation(zero) > 0 for block in self.blocks):
            return False
        self._origin, self._direction = zero, None
        return True

    def _compile(self) -> None:
        """Make constraints and program, once the sums of the first pass are known."""
        if self._program is None:
            if self._cells is not None:
                self.blocks = make_blocks(self.constraints, self._cells)
                self.left_out = self._cells.left_out(self.constraints)
            self._program = QuadraticProgram(self.blocks, len(self.current), self.objective.l1)

    def _added_terms(self, theta: Array) -> float:
        return self.objective.regularisation(theta) + penalty_of(self.blocks, theta)

    def _values(self, sums: dict[str, Any]) -> list[float]:
        """Objective with the smoothed loss at each fraction of the step."""
        losses = sums["smoothed"]
        if self._direction is None:
            return [float(losses[0]) + self._added_terms(self.current)]
        ends = [self._part(fraction) for fraction in self._loss.fractions]
        return [float(x) + self._added_terms(end) for x, end in zip(losses, ends, strict=True)]

    def _accepted(self, value: float, fraction: float) -> bool:
        rounding = _ROUNDING * abs(self._reference)
        return value <= self._reference - _ARMIJO * fraction * self._decrease + rounding

    def _shorten(self, values: list[float]) -> bool:
        """Take the first fraction of the step that descends; the next pass looks there."""
        for fraction, value in zip(self._loss.fractions, values, strict=True):
            if self._accepted(value, fraction):
                self._origin, self._direction = self._part(fraction), None
                return False
        assert self._direction is not None
        self._direction = self._direction * (self._loss.fractions[-1] / 2)
        self._decrease *= self._loss.fractions[-1] / 2
        if self._decrease > _ROUNDING * abs(self._reference):
            return False
        self._direction = None
        return self._narrow()

    def _narrow(self, count: float = np.inf) -> bool:
        """Go on with a narrower parabola in place of the hinge's kink; else nothing can be done."""
        if isinstance(self._loss, Hinge) and self._loss.gamma:
            gamma = self._loss.gamma * _NARROWER
            self._loss = Hinge(gamma if count > NEAREST and gamma > _NARROWEST else 0.0)
            return False
        self.status = "stalled"
        return True

    def _learn(self, plane: Plane) -> None:
        """Raise the bound by a plane and the multipliers of the last step; keep it for the kink."""
        bound = lower_bound(
            plane.conjugate,
            plane.dual,
            self.blocks,
            self._multipliers,
            l1=self.objective.l1,
            l2=self.objective.l2,
            radius=10 * (1 + float(np.abs(self.current).max())),
        )
        self.bound = max(self.bound, bound)
        if isinstance(self._loss, Hinge):
            self._planes = [*self._planes[-PLANES + 1 :], plane]

    def _step(self, theta: Array, value: float, sums: dict[str, Any]) -> None:
        """Solve the quadratic program around θ."""
        assert self._program is not None
        gradient, hessian = sums["gradient"], sums["hessian"]
        if not self.objective.l2:
            # Collinear columns leave directions without curvature: no step is taken along them.
            hessian = hessian + np.diag(_FLAT * curvatures(hessian))
        ridge = np.append(np.full(len(theta) - 1, self.objective.l2), 0.0)
        solution = self._program.solve(hessian + np.diag(ridge), gradient - hessian @ theta)
        self._take(solution, theta, value)
        change = self._added_terms(self.current) - self._added_terms(theta)
        self._decrease = max(-float(gradient @ (self.current - theta)) - change, 0.0)
        if isinstance(self._loss, Hinge):
            # Worth more than this is only a narrower parabola: its error is about γ·near/2.
            if self._decrease <= 0.02 * self._loss.gamma * float(sums["near"]):
                self._direction = None
                self._narrow(float(sums["count"]) * self._feed.mass)
        elif self._stuck():
            self.status = "stalled"

    def _step_at_kink(
        self, theta: Array, value: float, sums: dict[str, Any], near: NearRows
    ) -> None:
        here = Plane(sums["conjugate"], sums["dual"])
        solution, proof = kink_step(
            near.on_host(self._feed.mass),
            here,
            self._planes,
            self.blocks,
            l1=self.objective.l1,
            l2=self.objective.l2,
        )
        self._take(solution, theta, value)
        self._learn(proof)
        # The program's value is at most that of the problem at its solution.
        self._decrease = value - self.bound
        if not self._proved() and self._stuck():
            self.status = "stalled"

    def _proved(self) -> bool:
        if np.isfinite(self.gap) and self.gap <= self.tolerance * abs(self.objective_value):
            self.status = "optimal"
        return self.status == "optimal"

    def _take(self, solution: Solution, theta: Array, value: float) -> None:
        self._origin, self._direction = theta, restored(self.blocks, solution.theta) - theta
        self._multipliers = solution.multipliers
        self._reference = value

    def _stuck(self) -> bool:
        """Whether neither objective nor bound moved in the last three passes."""
        if len(self.history) < 6:
            return False
        (value, bound), (now, best) = self.history[-4], self.history[-1]
        rounding = 1e-15 * abs(now)
        return value - now <= rounding and best - bound <= rounding

    def constraint_values(self) -> tuple[ConstraintValue, ...]:
        """Every constraint at `best`, with the multipliers of the last step."""
        u = self._multipliers or [np.zeros(len(block.rows)) for block in self.blocks]
        found = zip(self.blocks, feasible_multipliers(self.blocks, u), strict=True)
        return tuple(ConstraintValue.of(block, self.best, part) for block, part in found)

    def state_dict(self) -> dict[str, Any]:
        """Where the solver stands, also within a pass: tensors and plain values only."""
        arrays = {"origin": self._origin, "direction": self._direction, "theta": self.theta}
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: None if a is None else torch.tensor(a) for name, a in arrays.items()},
            "gamma": getattr(self._loss, "gamma", None),
            "history": [list(pair) for pair in self.history],
            "multipliers": [torch.tensor(u) for u in self._multipliers],
            "planes": [[torch.tensor(part) for part in plane] for plane in self._planes],
            "feed": self._feed.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where a solver of the same problem stood."""
        for name in _PLAIN:
            setattr(self, name, state[name])
        names = {"origin": "_origin", "direction": "_direction", "theta": "theta"}
        for name, attribute in names.items():
            value = state[name]
            setattr(self, attribute, None if value is None else value.cpu().numpy())
        if state["gamma"] is not None:
            self._loss = Hinge(state["gamma"])
        self.history = [(value, bound) for value, bound in state["history"]]
        self._multipliers = [u.cpu().numpy() for u in state["multipliers"]]
        self._planes = [Plane(*(part.cpu().numpy() for part in plane)) for plane in state["planes"]]
        self._feed.load_state_dict(state["feed"])
        if self.passes:
            self._compile()
