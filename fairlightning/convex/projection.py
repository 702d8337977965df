"""`FairProjection`: a layer that moves probabilities onto the fair set.

The Newton path (`fairlightning.functional.projection`) knows parity constraints and nothing else.
The general path poses the same program in cvxpy, where further constraints can be added, and
differentiates it by cvxpylayers (Agrawal et al. 2019, arXiv:1910.12430).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from fairlightning.convex.cone import ConeProjection, Constraints, Shape
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import CRITERIA, Criterion
from fairlightning.functional.projection import (
    DISTANCES,
    Distance,
    Projection,
    fair_projection,
    parity_cells,
    projection_distance,
)
from fairlightning.functional.projection.problem import check_epsilon, check_rows
from fairlightning.functional.rows import check_labels
from fairlightning.groups import GroupSpec


class FairProjection(nn.Module):
    """Nearest probabilities whose group gaps are at most ε; differentiable, without parameters.

    Args:
        groups: The sensitive attributes.
        epsilon: Largest gap ≥ 0 between the rates of two groups, in the batch.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`.
        attributes: Attributes that it is about; all if None.
        intersections: False: a gap for every attribute, all of them at most ε. True: one for the
            intersections of the attributes.
        distance: `squared` or `kl`; see `fairlightning.functional.projection.fair_projection`.
        constraints: Further constraints. Called with the cvxpy variable x `(N,)` and the
            parameters by name, it returns DPP constraints. Beside those of `parameters` there are
            `probabilities` `(N,)` and `rates` `(M, N)`, whose product with x gives the rates of
            the cells. Given this, cvxpylayers solves.
        parameters: Shapes of the parameters of these constraints, where "N" stands for the
            number of rows; their values are given with every batch.
        solver: `newton`, `cvxpylayers`, or None for Newton unless there are `constraints`.
        solver_args: Arguments of diffcp, instead of those in `convex.cone`: the solver is named by
            `solve_method` (`Clarabel` or `SCS`).
        tolerance: Largest violation of a constraint that the general path accepts.

    Raises:
        ArgumentError: On ε < 0, unknown names, or what is for cvxpylayers alone with
            Newton.

    A group that is absent from a batch is left out; rows whose group is unknown stay as they are.

    >>> import torch
    >>> layer = FairProjection(GroupSpec({"sex": ["Female", "Male"]}), epsilon=0.2)
    >>> layer(torch.tensor([0.2, 0.4, 0.8]), torch.tensor([[0], [0], [1]]))
    tensor([0.3000, 0.5000, 0.6000])
    """

    def __init__(
        self,
        groups: GroupSpec,
        *,
        epsilon: float = 0.05,
        criterion: Criterion = "demographic_parity",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        distance: Distance = "squared",
        constraints: Constraints | None = None,
        parameters: Mapping[str, Shape] | None = None,
        solver: Literal["newton", "cvxpylayers"] | None = None,
        solver_args: Mapping[str, Any] | None = None,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        check_choice("criterion", criterion, CRITERIA)
        check_choice("distance", distance, DISTANCES)
        solver = solver or ("cvxpylayers" if constraints else "newton")
        check_choice("solver", solver, ("newton", "cvxpylayers"))
        if solver == "newton" and (constraints or parameters or solver_args):
            raise ArgumentError.of(
                "solver",
                found="'newton' with constraints, parameters or solver_args",
                expected="'cvxpylayers', which takes them",
                mend="pass solver='cvxpylayers', or leave them out",
            )
        self.groups = groups
        self.epsilon = check_epsilon(epsilon)
        self.criterion: Criterion = criterion
        self.partitions = groups.partitions_of(attributes, intersections)
        self.distance: Distance = distance
        # No module: as a submodule its sparse buffers break DDP, averaging and deepcopy.
        self.program: ConeProjection | None = None
        if solver == "cvxpylayers":
            self.program = ConeProjection(
                distance=distance,
                constraints=constraints,
                parameters=parameters,
                solver_args=solver_args,
                tolerance=tolerance,
            )

    def forward(
        self,
        probabilities: Tensor,
        sensitive: Tensor,
        target: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Project a batch; see `project`."""
        return self.project(
            probabilities, sensitive, target, weight=weight, parameters=parameters
        ).value

    def project(
        self,
        probabilities: Tensor,
        sensitive: Tensor,
        target: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Projection:
        """Project a batch and say how exactly.

        Args:
            probabilities: `(..., N)` in [0, 1].
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            target: `(N,)` labels in {0, 1}; not needed for demographic parity.
            weight: `(N,)` row weights ≥ 0.
            parameters: Values of the parameters of your own constraints.

        Returns:
            Projected probabilities and residual.

        Raises:
            ArgumentError: On wrong shapes, types or ranges, NaN, a missing target, constraints
                that cannot be satisfied together, or a solution that violates them.
        """
        rows = check_rows(probabilities)
        if target is not None:
            target = check_labels(target, rows).long()
        cells = parity_cells(
            self.criterion,
            target,
            self.groups.check(sensitive, rows),
            self.groups,
            self.partitions,
        )
        if self.program is not None:
            return self.program(
                probabilities, cells, self.epsilon, weight=weight, parameters=parameters
            )
        if parameters:
            raise ArgumentError.of(
                "parameters",
                found=f"values of {sorted(parameters)}",
                expected="none, as the layer has no constraints of its own",
                mend="pass constraints and the shapes of their parameters to FairProjection",
            )
        return fair_projection(
            probabilities, cells, self.epsilon, weight=weight, distance=self.distance
        )

    def penalty(
        self,
        probabilities: Tensor,
        sensitive: Tensor,
        target: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Distance of a batch to the fair set, `(...)`; 0 if and only if it is in there.

        Arguments and errors are those of `project`; see `projection_distance` for the unit.
        """
        value = self.project(
            probabilities, sensitive, target, weight=weight, parameters=parameters
        ).value
        # Constraints of one's own may depend on the probabilities.
        through = self.program is not None and self.program.constraints is not None
        return projection_distance(
            probabilities, value, weight=weight, distance=self.distance, through=through
        )

    def extra_repr(self) -> str:
        """Epsilon, criterion and distance."""
        return f"epsilon={self.epsilon}, criterion={self.criterion}, distance={self.distance}"
