"""Complexity penalty: small or few weights as a proxy of interpretability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.tasks import TASKS
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term


class ComplexityPenalty(Objective):
    """Norm of the network's weight matrices: Σ w² (`l2`) or Σ |w| (`l1`).

    Biases and other vectors are left out: they shift the function without making it more complex.

    Args:
        groups: The sensitive attributes (kept for the common interface).
        norm: `l2` or `l1`.
        weight: Share in λ. The sums run over all weights, so useful values are small.

    Raises:
        ArgumentError: On an unknown norm or a negative weight; in `sums`, if no parameter is a
            matrix.

    >>> penalty = ComplexityPenalty(GroupSpec({"sex": ["Female", "Male"]}))
    >>> penalty(Step(parameters=[torch.ones(2, 3), torch.ones(3)])).value
    tensor(6.)
    """

    requires = ("parameters",)
    tasks = TASKS

    def __init__(
        self, groups: GroupSpec, *, norm: Literal["l2", "l1"] = "l2", weight: float = 1e-4
    ) -> None:
        super().__init__(groups, weight=weight)
        self.norm = check_choice("norm", norm, ("l2", "l1"))

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Norm `(...)` and 1: the mean over batches and ranks is the norm itself."""
        assert step.parameters is not None
        power = torch.Tensor.square if self.norm == "l2" else torch.Tensor.abs
        leading = self.weight.ndim  # 1 where several models are trained together
        weights = [
            power(weight).flatten(leading).sum(-1)
            for weight in step.parameters
            if weight.ndim > leading + 1
        ]
        if not weights:
            raise ArgumentError.of(
                "parameters",
                found=f"no matrix among {len(step.parameters)}",
                expected="the network's weights",
                mend="pass tuple(network.parameters()), or leave the method out",
            )
        norm = torch.stack(weights).sum(0)
        return norm, torch.ones_like(norm)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean of the norm over what was summed."""
        norm, count = sums
        return Term(norm / count)
