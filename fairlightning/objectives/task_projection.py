"""Projection of the task's gradient away from those of the objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.objectives.aggregation import jacobian
from fairlightning.objectives.base import Objective, Term
from fairlightning.objectives.combination import Combination
from fairlightning.objectives.distributed import same_on_all_ranks, sum_over_ranks, world_size


class TaskProjection(Combination):
    """Take out of the task's gradient what lies along the gradients of the objectives.

    The update of Zhang, Lemoine and Mitchell (2018, arXiv:1801.07593) for an adversary with loss
    L_A and parameters W of the network: ∇L_task − proj(∇L_task onto ∇L_A) − λ ∇L_A, so that no step
    on the task helps the adversary. With v = −L_A, and further objectives likewise, this is the
    gradient of one scalar loss, in which the c_i are fixed numbers:

        L_task + Σ (λ_i − c_i) v_i,   c = G⁺ b,   G_ij = ⟨∇v_i, ∇v_j⟩,   b_i = ⟨∇v_i, ∇L_task⟩

    The inner product is that of all parameters of the network as one vector, as in the paper's
    formula; implementations that project each layer by itself give another direction. What is
    projected away is the component along all ∇v_i together, whatever its sign.

    Costs a backward pass for the task and one for each objective, beside the usual one. On several
    ranks the gradients are those of the joined batch. An `Adversary` has to be `separate`.

    Args:
        task: Weight of the task loss, at least 0.

    Raises:
        ArgumentError: If the weight is negative.
    """

    requires = ("parameters",)
    stackable = False

    def check(self, name: str, objective: Objective) -> None:
        """Refuse an objective that has no gradient of its own to project on.

        Raises:
            ArgumentError: Naming the objective.
        """
        if objective.weighs_itself:
            raise ArgumentError.of(
                "combination",
                found=f"TaskProjection with the objective {name!r}, which weighs itself",
                expected="objectives whose value has a gradient",
                mend="pass separate=True to an Adversary; take a penalty in place of a constraint",
            )

    def minimised(
        self,
        total: Tensor,
        task_loss: Tensor,
        terms: Mapping[str, Term],
        weights: Mapping[str, Tensor],
        parameters: Sequence[Tensor] | None,
    ) -> Tensor:
        """In training, the total without the task's component along the objectives' gradients.

        Raises:
            MissingFieldError: If there are no parameters to train.
        """
        if not self.training or not terms:
            return total
        values = [term.value for term in terms.values()]
        with torch.autocast(total.device.type, enabled=False):
            rows = jacobian([self.task * task_loss, *values], parameters)
            rows = (sum_over_ranks(rows) / world_size()).double()
            task, others = rows[0], rows[1:]
            gram = torch.linalg.pinv(others @ others.T, hermitian=True)
            share = same_on_all_ranks(gram @ (others @ task))
        return total - torch.stack(values) @ share.to(total.dtype)
