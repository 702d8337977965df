"""Fair linear models with a certificate: one function for tensors and for streams of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairlightning.convex.blocks import Array
from fairlightning.convex.constraints import LinearConstraint, as_constraint
from fairlightning.convex.objective import ConstraintValue, Objective
from fairlightning.convex.sequential import SequentialQuadratic, Status
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec


class LinearBatch(NamedTuple):
    """A batch of a stream.

    Attributes:
        inputs: `(N, D)` features, of any floating-point type.
        target: `(N,)` labels in {0, 1} or in {-1, 1}.
        sensitive: `(N, A)` int64 codes, `-1` for unknown; None without constraints.
        weight: `(N,)` row weights ≥ 0, or None.
    """

    inputs: Tensor
    target: Tensor
    sensitive: Tensor | None = None
    weight: Tensor | None = None


@dataclass(frozen=True)
class LinearResult:
    """A solved problem and its proof.

    Attributes:
        coefficients: `(D,)` float64 β.
        intercept: The logit is β·x + intercept.
        objective: Mean loss + regularisation + penalties at the solution.
        bound: No feasible coefficients have an objective below this.
        constraints: Values, bounds, violations and multipliers by name.
        left_out: Groups that take no part in some constraint, as they have no rows for it.
        status: `optimal`: the relative duality gap is at most the tolerance. `stalled`: it is as
            small as floating point allowed. `running`: the passes were used up.
        passes: Passes over the data.
        history: Objective and bound after every pass that judged a step.
    """

    coefficients: Array
    intercept: float
    objective: float
    bound: float
    constraints: tuple[ConstraintValue, ...]
    left_out: tuple[str, ...]
    status: Status
    passes: int
    history: tuple[tuple[float, float], ...]

    @property
    def theta(self) -> Array:
        """`(D + 1,)` coefficients and intercept, as `start` takes them."""
        return np.append(self.coefficients, self.intercept)

    @property
    def duality_gap(self) -> float:
        """The objective exceeds the optimum by at most this."""
        return self.objective - self.bound

    @property
    def relative_gap(self) -> float:
        """Duality gap by the objective."""
        return self.duality_gap / max(abs(self.objective), 1e-300)

    @property
    def violation(self) -> float:
        """Largest violation of a constraint, in units of the logit."""
        return max((c.violation for c in self.constraints), default=0.0)

    def decision(self, inputs: Tensor) -> Tensor:
        """Logits `(N,)` float64 of `(N, D)` features."""
        beta = torch.as_tensor(self.coefficients, device=inputs.device)
        return inputs.to(torch.float64) @ beta + self.intercept

    def __str__(self) -> str:
        lines = [
            f"{self.status} after {self.passes} passes: objective {self.objective:.10g}, at most "
            f"{self.duality_gap:.2g} above the optimum (relative {self.relative_gap:.1e})"
        ]
        for c in self.constraints:
            bounds = f"{c.lower:.6g} to " if np.isfinite(c.lower) else "at most "
            kept = f"{bounds}{c.upper:.6g}" if max(c.upper, -c.lower) > -np.inf else ""
            kept = "penalised" if not np.isfinite([c.lower, c.upper]).any() else kept
            lines.append(
                f"  {c.name}: {c.unit} {c.value:.6g} ({kept}), multiplier {c.multiplier:.4g}"
            )
        lines += [f"  left out: {name}" for name in self.left_out]
        return "\n".join(lines)


def fit_linear(
    data: LinearBatch | Iterable[LinearBatch],
    *,
    groups: GroupSpec | Mapping[str, Iterable[object]] | None = None,
    constraints: Sequence[LinearConstraint | Mapping[str, Any]] = (),
    loss: str = "logistic",
    l2: float = 1e-4,
    l1: float = 0.0,
    class_weight: tuple[float, float] = (1.0, 1.0),
    tolerance: float = 1e-8,
    max_passes: int = 200,
    start: Array | None = None,
) -> LinearResult:
    """Fit a linear model under fairness constraints, and prove how good the fit is.

    Minimises mean loss + l1·‖β‖₁ + l2/2·‖β‖² + Σ λ·gap subject to the bounds. The mean is that by
    row and class weights. Memory does not depend on the number of rows: of a stream one batch is
    held at a time, and P² numbers, for P coefficients.

    Args:
        data: All rows, or a stream of batches that gives the same rows every time it is iterated
            over (a list or a loader, not a generator).
        groups: The sensitive attributes, as `GroupSpec` or mapping of names to categories.
        constraints: `LogitParity` and `LogitBounds`, or mappings of their arguments.
        loss: `logistic`, `squared_hinge` or `hinge`.
        l2: Weight ≥ 0 of ‖β‖²/2.
        l1: Weight ≥ 0 of ‖β‖₁.
        class_weight: Weights of the rows of the lower and of the higher label.
        tolerance: Relative duality gap at which to stop. The hinge is slow below 1e-6.
        max_passes: Most passes over the data.
        start: `(D + 1,)` coefficients and intercept to start from.

    Returns:
        Coefficients, objective, constraint values and certificate.

    Raises:
        ArgumentError: On wrong shapes, labels or numbers; constraints that contradict each other
            or compare nothing; separable labels without regularisation.
        SetupError: If a pass gives other rows than the first.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> batch = LinearBatch(x, torch.tensor([0, 1, 0, 1]), torch.tensor([[0], [0], [1], [1]]))
    >>> fit = fit_linear(batch, groups={"sex": ["f", "m"]},
    ...                  constraints=[dict(epsilon_logit=0.5)])
    >>> fit.status, round(float(fit.coefficients[0]), 4), fit.violation < 1e-8
    ('optimal', 0.25, True)
    """
    if not max_passes >= 1:
        raise ArgumentError.of(
            "max_passes", found=max_passes, expected="at least 1", mend="pass max_passes=200"
        )
    spec = None if groups is None else GroupSpec.of(groups)
    solver = SequentialQuadratic(
        Objective(loss, l2, l1, class_weight),
        spec,
        [as_constraint(value) for value in constraints],
        tolerance=tolerance,
        start=start,
    )
    stream = [data] if isinstance(data, LinearBatch) else data
    if isinstance(stream, Iterator):
        raise ArgumentError.of(
            "data",
            found="a generator, which can be read once",
            expected="batches that can be iterated over again and again",
            mend="pass a list, or an object whose __iter__ starts anew",
        )
    for _ in range(max_passes):
        for batch in stream:
            solver.add(batch.inputs, zero_one(batch.target), batch.sensitive, batch.weight)
        if solver.finish_pass():
            break
    return linear_result(solver)


def linear_result(solver: SequentialQuadratic) -> LinearResult:
    """What a solver has found so far."""
    theta = solver.best
    return LinearResult(
        coefficients=theta[:-1].copy(),
        intercept=float(theta[-1]),
        objective=solver.objective_value,
        bound=solver.bound,
        constraints=solver.constraint_values(),
        left_out=solver.left_out,
        status=solver.status,
        passes=solver.passes,
        history=tuple(solver.history),
    )


def zero_one(target: Tensor) -> Tensor:
    """Labels in {-1, 1} as labels in {0, 1}; others stay, for the check that follows.

    A batch of ones alone is the same in both codings.
    """
    if bool((target == -1).any()):
        return torch.where(target == -1, 0, torch.where(target == 1, 1, -1))
    return target
