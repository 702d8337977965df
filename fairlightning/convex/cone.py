"""The projection onto the fair set as a cone program, for constraints of one's own."""

# cvxpy re-exports its functions without saying so, and is typed in part only.
# mypy: disable-error-code="attr-defined, call-arg, no-untyped-call"

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.projection import Cells, Distance, Projection
from fairlightning.functional.projection.problem import (
    Problem,
    check_probabilities,
)
from fairlightning.functional.projection.project import outside_graphs
from fairlightning.functional.rates import at_least_float32

if TYPE_CHECKING:
    import cvxpy as cp

Constraints: TypeAlias = Callable[
    ["cp.Variable", Mapping[str, "cp.Parameter"]], "Sequence[cp.Constraint]"
]
Shape: TypeAlias = tuple[int | Literal["N"], ...]

SOLVER_ARGS: Mapping[Distance, Mapping[str, Any]] = {
    "squared": {
        "solve_method": "Clarabel",
        "tol_gap_abs": 1e-10,
        "tol_gap_rel": 1e-10,
        "tol_feas": 1e-10,
        "mode": "lsmr",
    },
    "kl": {"solve_method": "SCS", "eps": 1e-9, "mode": "lsmr"},
}
"""What is handed to diffcp unless told otherwise. Its default for gradients, `mode="lsqr"`, is less
exact (`benchmarks/projection.py`), and Clarabel is less exact than SCS for `kl`."""

_LAYERS = 4
_FREE = 2.0
_DERIVATIVE_ARGS = {"mode", "derivative_kwargs"}
_RESERVED = {"probabilities", "rates", "half", "share", "pull"}


class _Layer(NamedTuple):
    """A program compiled for one number of rows."""

    solve: Any
    problem: cp.Problem
    parameters: list[cp.Parameter]
    variables: list[cp.Variable]


class ConeProjection:
    """The projection as a cone program, with constraints of one's own.

    cvxpylayers compiles a program for one number of rows and cells. The last four are kept, so a
    loader should drop its last, shorter batch. Compiled programs are neither copied nor pickled
    with it. Arguments are those of `FairProjection`.
    """

    def __init__(
        self,
        *,
        distance: Distance = "squared",
        constraints: Constraints | None = None,
        parameters: Mapping[str, Shape] | None = None,
        solver_args: Mapping[str, Any] | None = None,
        tolerance: float = 1e-6,
    ) -> None:
        self.distance: Distance = distance
        self.constraints = constraints
        self.shapes = dict(parameters or {})
        if taken := _RESERVED & set(self.shapes):
            raise ArgumentError.of(
                "parameters",
                found=f"the names {sorted(taken)}",
                expected=f"names other than {sorted(_RESERVED)}, which the program has itself",
                mend="rename them",
            )
        self.solver_args = dict(SOLVER_ARGS[distance] if solver_args is None else solver_args)
        self.tolerance = tolerance
        self._layers: OrderedDict[tuple[int, tuple[int, ...]], _Layer] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layers": OrderedDict()}

    @outside_graphs
    def __call__(
        self,
        probabilities: Tensor,
        cells: Cells,
        epsilon: float,
        *,
        weight: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Projection:
        """Solve; arguments and errors are those of `fair_projection` and `FairProjection`."""
        host = check_probabilities(probabilities)
        rows = host.shape[-1]
        problem = Problem.of(cells, rows, epsilon, weight)
        if not host.size:
            return Projection(at_least_float32(probabilities), None, 0.0)
        layer = self._layer(rows, cells.blocks)
        given = self._values(probabilities, problem, parameters or {})
        values = [given[parameter.name()] for parameter in layer.parameters]
        solutions = self._solve(layer, values)
        residual = _violation(layer, values, solutions)
        if not residual <= self.tolerance:
            raise _unsolved(f"constraints violated by {residual:.1e}")
        value = solutions[0].clamp(0, 1).reshape(probabilities.shape)
        exact = at_least_float32(probabilities)
        return Projection(value.to(exact.dtype).to(exact.device), None, residual)

    def _layer(self, rows: int, blocks: tuple[int, ...]) -> _Layer:
        key = (rows, blocks)
        if key not in self._layers:
            self._layers[key] = self._compile(rows, blocks)
        self._layers.move_to_end(key)
        if len(self._layers) > _LAYERS:
            self._layers.popitem(last=False)
        return self._layers[key]

    def _compile(self, rows: int, blocks: tuple[int, ...]) -> _Layer:
        import cvxpy as cp  # takes a second, for which the Newton path need not wait
        from cvxpylayers.torch import CvxpyLayer

        x, cells = cp.Variable(rows, name="x"), sum(blocks)
        shapes: dict[str, Shape] = {
            "probabilities": ("N",),
            "rates": (cells, "N"),
            "half": (cells,),
            "share": ("N",),
            "pull": ("N",),
            **self.shapes,
        }
        known = {
            name: cp.Parameter(
                tuple(rows if size == "N" else size for size in shape),
                name=name,
                nonneg=name == "share",
            )
            for name, shape in shapes.items()
        }
        offset = known["rates"] @ x - cp.hstack(
            [cp.promote(cp.Variable(), (count,)) for count in blocks]
        )
        bounds = [offset <= known["half"], -offset <= known["half"]]
        if self.distance == "squared":
            goal = cp.sum_squares(cp.multiply(known["share"], x) - known["pull"])
            bounds += [x >= 0, x <= 1]
        else:  # entropy keeps x between 0 and 1 by itself
            entropy = cp.entr(x) + cp.entr(1 - x)
            goal = -cp.sum(cp.multiply(known["share"], entropy)) - known["pull"] @ x
        own = self.constraints(x, known) if self.constraints else []
        problem = cp.Problem(cp.Minimize(goal), [*bounds, *own])
        if not problem.is_dcp(dpp=True):
            raise ArgumentError.of(
                "constraints",
                found="a program that is not disciplined parametrised convex",
                expected="constraints that cvxpy accepts by its DPP rules",
                mend="look at problem.is_dcp(dpp=True) for each constraint by itself",
            )
        parameters, variables = problem.parameters(), problem.variables()
        variables.sort(key=lambda variable: variable is not x)
        layer = CvxpyLayer(problem, parameters=parameters, variables=variables)
        return _Layer(layer, problem, parameters, variables)

    def _values(
        self, probabilities: Tensor, problem: Problem, parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Value of every parameter by name, float64 on the CPU."""
        if set(parameters) != set(self.shapes):
            raise ArgumentError.of(
                "parameters",
                found=f"values of {sorted(parameters)}",
                expected=f"those of {sorted(self.shapes)}, whose shapes were declared",
                mend="pass parameters={name: tensor} with every batch",
            )
        p = probabilities.cpu().double()
        p = p.reshape(-1, p.shape[-1]) if p.ndim > 1 else p
        weight = np.broadcast_to(problem.weight, problem.member.shape[1:])
        # A row of weight 0 is in no cell; weighing it as 1 makes it stay as it is.
        share = torch.from_numpy(np.where(weight > 0, weight, 1.0))
        if self.distance == "squared":
            share = share.sqrt()
        pull = share * (p if self.distance == "squared" else _inner(p).logit())
        half = torch.from_numpy(np.minimum(problem.half, _FREE))
        rates = torch.from_numpy(problem.mean)
        own = {name: value.cpu().double() for name, value in parameters.items()}
        known = {"probabilities": p, "rates": rates, "half": half, "share": share, "pull": pull}
        return known | own

    def _solve(self, layer: _Layer, values: list[Tensor]) -> tuple[Tensor, ...]:
        args = self.solver_args
        if not (torch.is_grad_enabled() and any(value.requires_grad for value in values)):
            # Without derivatives diffcp would hand what concerns them to the solver.
            args = {name: args[name] for name in args if name not in _DERIVATIVE_ARGS}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                solutions: tuple[Tensor, ...] = layer.solve(*values, solver_args=args)
            except Exception as error:  # diffcp, its solvers and cvxpylayers each have their own
                raise _unsolved(f"{type(error).__name__}: {error}") from error
        for warning in caught:
            if "naccurate" in str(warning.message):
                raise _unsolved("a solution that the solver itself calls inaccurate")
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        return solutions


def _inner(p: Tensor) -> Tensor:
    if not bool(((p > 0) & (p < 1)).all()):
        raise ArgumentError.of(
            "probabilities",
            found="exactly 0 or 1",
            expected="strictly between them, for the logits that kl needs",
            mend="clamp the probabilities, or pass distance='squared'",
        )
    return p


def _violation(layer: _Layer, values: list[Tensor], solutions: tuple[Tensor, ...]) -> float:
    """Largest violation of any constraint in any model, by cvxpy: solvers may stop too early."""
    batched = solutions[0].ndim > 1
    worst = 0.0
    for model in range(len(solutions[0]) if batched else 1):
        for symbol, value in zip(
            [*layer.parameters, *layer.variables], [*values, *solutions], strict=True
        ):
            one = value[model] if value.ndim > symbol.ndim else value
            symbol.save_value(one.detach().numpy())
        found = [np.max(each.violation(), initial=0.0) for each in layer.problem.constraints]
        worst = max(worst, *map(float, found))
    return worst


def _unsolved(found: str) -> ArgumentError:
    return ArgumentError.of(
        "constraints",
        found=found,
        expected="a solution of the projection",
        mend="see whether epsilon and your constraints can hold together, or let solver_args "
        "iterate longer",
    )
