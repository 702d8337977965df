"""A constrained linear model under the Trainer: an epoch is a pass of the convex solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from fairlightning.callbacks.common import log_epoch
from fairlightning.convex.constraints import LinearConstraint, as_constraint
from fairlightning.convex.linear import LinearResult, linear_result
from fairlightning.convex.losses import make_loss
from fairlightning.convex.objective import Objective
from fairlightning.convex.passes import Sums
from fairlightning.convex.sequential import SequentialQuadratic
from fairlightning.exceptions import SetupError
from fairlightning.groups import GroupSpec
from fairlightning.models import Linear
from fairlightning.module import FairModule
from fairlightning.objectives.distributed import sum_over_ranks, world_size


class ConvexModule(FairModule):
    """Linear model whose training is `fairlightning.convex`, and all else that of `FairModule`.

    Every epoch sums gradient and Hessian over all training rows, and ends with one step; so it
    needs a loader that gives every row once, as `TabularDataModule(every_row=True)` does, and says
    so if it does not get one. It stops the Trainer once the relative duality gap is at most the
    tolerance. Logged at the end of every epoch: `convex/objective`, `convex/duality_gap`,
    `convex/relative_gap` and `constraints/<name>/{value,bound,multiplier}`, in units of the logit.

    The solution is float64; the network takes over the best coefficients so far, which are those of
    the certificate, in its own precision.

    Args:
        network: The linear model; its weights are set, not trained by gradients.
        groups: The sensitive attributes.
        constraints: `LogitParity` and `LogitBounds`, or mappings of their arguments; a mapping of
            names to them is accepted too.
        loss: `logistic`, `squared_hinge` or `hinge`.
        l2: Weight ≥ 0 of ‖β‖²/2.
        l1: Weight ≥ 0 of ‖β‖₁.
        class_weight: Weights of the rows of label 0 and 1.
        tolerance: Relative duality gap at which to stop.
    """

    network: Linear

    def __init__(
        self,
        network: Linear,
        groups: GroupSpec | Mapping[str, Any],
        *,
        constraints: Mapping[str, Any] | Sequence[LinearConstraint | Mapping[str, Any]] = (),
        loss: str = "logistic",
        l2: float = 1e-4,
        l1: float = 0.0,
        class_weight: Sequence[float] = (1.0, 1.0),
        tolerance: float = 1e-8,
    ) -> None:
        super().__init__(network, groups)
        self.automatic_optimization = False
        asked = constraints.values() if isinstance(constraints, Mapping) else constraints
        self.solver = SequentialQuadratic(
            Objective(loss, l2, l1, tuple(class_weight)),  # type: ignore[arg-type]
            self.fairness.groups,
            [as_constraint(value) for value in asked],
            tolerance=tolerance,
            reduce=_over_ranks,
        )
        self._row_loss = make_loss(loss)

    def configure_optimizers(self) -> Optimizer:
        """An optimizer that moves nothing: loggers and checkpoints go by the steps it counts."""
        return torch.optim.SGD(self.network.parameters(), lr=0.0)

    def on_fit_start(self) -> None:
        """Refuse what would not be exact."""
        if world_size() > 1 and self.solver.objective.loss == "hinge":
            raise SetupError.of(
                "loss",
                found="'hinge' on several processes",
                expected="'logistic' or 'squared_hinge', whose sums add up over processes",
                mend="pass trainer.devices=1, or loss=squared_hinge",
            )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Add a batch to the pass; the last one of an epoch ends it."""
        with torch.no_grad():
            inputs = self.network.encoder(batch.inputs)
            self.solver.add(inputs, batch.target, batch.sensitive, batch.weight)
            loss = self._loss(batch)
        if self.trainer.is_last_batch:
            self._step()
        return loss

    def _step(self) -> None:
        done = self.solver.finish_pass()
        self.trainer.should_stop = self.trainer.should_stop or done
        self.network.set_coefficients(torch.tensor(self.solver.best))
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.step()
        log_epoch(self.trainer, self, self._figures())

    def _figures(self) -> dict[str, float]:
        solver = self.solver
        figures = {
            "convex/objective": solver.objective_value,
            "convex/duality_gap": solver.gap if np.isfinite(solver.gap) else np.inf,
            "convex/relative_gap": solver.relative_gap if np.isfinite(solver.gap) else np.inf,
        }
        for value in solver.constraint_values():
            tag = f"constraints/{value.name}"
            bound = value.upper if np.isfinite(value.upper) else value.lower
            figures |= {f"{tag}/value": value.value, f"{tag}/multiplier": value.multiplier}
            if np.isfinite(bound):
                figures[f"{tag}/bound"] = bound
        return figures

    def result(self) -> LinearResult:
        """Coefficients, constraint values and certificate of the best θ so far."""
        return linear_result(self.solver)

    def _loss(self, batch: Any) -> Tensor:
        logits = self.network(batch.inputs)[0]
        margin = (2.0 * batch.target - 1) * logits.squeeze(-1)
        return self.fair_loss(
            self._row_loss.value(margin),
            logits=logits,
            target=batch.target,
            sensitive=batch.sensitive,
            weight=batch.weight,
        )

    def get_extra_state(self) -> dict[str, Any]:
        """The solver's state, so that a run resumes exactly."""
        return self.solver.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the solver's state."""
        self.solver.load_state_dict(state)


def _over_ranks(sums: Sums) -> Sums:
    if world_size() == 1:
        return sums
    total = sum_over_ranks(torch.cat([value.flatten() for value in sums.values()]))
    parts = total.split([value.numel() for value in sums.values()])
    return {
        name: part.view_as(value) for (name, value), part in zip(sums.items(), parts, strict=True)
    }
