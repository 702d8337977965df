"""K models, each with its own λ, trained in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fairlightning.exceptions import ArgumentError
from fairlightning.front.stacked import Stacked
from fairlightning.functional.rows import positive_scores
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule, cross_entropy
from fairlightning.objectives import Objective, WeightedSum

fused_adamw = partial(torch.optim.AdamW, fused=True)
"""AdamW in one pass over each stacked parameter, which it reads and writes once a step."""


class FrontModule(FairModule):
    """Train K copies of a network together, each with its own strength λ, on the same batches.

    Parameters are stacked and the networks, with the heads of adversaries, mapped over them
    (`torch.vmap`); everything else is what `FairModule` does, on a leading axis of K. The loss is
    the sum over the members, so each gets the gradient that it would get alone, and an elementwise
    optimizer makes of it the same K models as K trainings with the same initial weights and
    batches.

    Args:
        network: One network, with whose weights all members begin, or K of one architecture. Each
            maps `inputs` to `(logits, representation)` of shapes `(N, 1)` and `(N, H)`.
        groups: The sensitive attributes.
        strength: One λ ≥ 0 for each member; see `FairModule`.
        objectives: Objectives by name. They are copied; the private parts of each (the head of an
            adversary) exist once for each member and begin with the same weights.
        combination: How terms become one loss; a weighted sum if None.
        learning_rate: Learning rate of all members.
        optimizer: Makes the one optimizer. It must treat each number by itself, as Adam does.
        scheduler: As for `FairModule`.

    Raises:
        ArgumentError: If the numbers of networks and strengths differ, or for a layer, objective or
            combination that does not work for several models together, by name.

    Shapes: logits `(K, N, 1)`, losses `(K,)`.
    """

    network: Stacked

    def __init__(
        self,
        network: nn.Module | Sequence[nn.Module],
        groups: GroupSpec | Mapping[str, Any],
        *,
        strength: Sequence[float],
        objectives: Mapping[str, Objective] | None = None,
        combination: WeightedSum | None = None,
        learning_rate: float = 1e-3,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] = fused_adamw,
        scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
    ) -> None:
        strength = tuple(strength)
        networks = [network] * len(strength) if isinstance(network, nn.Module) else list(network)
        if len(networks) != len(strength):
            raise ArgumentError.of(
                "network, strength",
                found=f"{len(networks)} networks and {len(strength)} strengths",
                expected="one strength for each network",
                mend="pass a single network, or as many as there are strengths",
            )
        if combination is not None and combination.replaces_weights:
            raise ArgumentError.of(
                "combination",
                found=type(combination).__name__,
                expected="one in which λ weighs the objectives, since members differ in λ",
                mend="use WeightedSum()",
            )
        stacked = {
            name: stacked_objective(name, objective, len(strength))
            for name, objective in (objectives or {}).items()
        }
        super().__init__(
            Stacked(networks),
            groups,
            objectives=stacked,
            strength=strength,
            combination=combination,
            learning_rate=learning_rate,
            optimizer=optimizer,
            scheduler=scheduler,
        )

    @property
    def members(self) -> int:
        """Number K of models."""
        return self.network.members

    def export(self, k: int) -> nn.Module:
        """Return a copy of the network of member `k`, as it would be without the front.

        Its `state_dict` loads into the same network of a `FairModule`, or of no module at all.

        Raises:
            ArgumentError: If there is no such member.
        """
        return self.network.member(k)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probabilities of the positive class, `(N, K)` float64."""
        return torch.stack([positive_scores(logits) for logits in self(batch.inputs)], -1)

    def _loss(self, batch: Any) -> Tensor:
        return super()._loss(batch).sum()

    def _task_loss(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Cross-entropy of `(K, N, M)` logits, `(K, N)`: members' rows are averaged later."""
        return cross_entropy(logits, target)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each member's part of each parameter group by itself."""
        if not gradient_clip_val or gradient_clip_algorithm == "value":
            return super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
        for group in optimizer.param_groups:
            clip_members(group["params"], gradient_clip_val)
        return None


def stacked_objective(name: str, objective: Objective, members: int) -> Objective:
    """Return a copy of an objective with its private parts once for each member.

    Raises:
        ArgumentError: If it has parameters outside of submodules, which cannot be mapped.
    """
    if any(True for _ in objective.parameters(recurse=False)):
        raise ArgumentError.of(
            f"objective {name!r}",
            found=f"{type(objective).__name__} with parameters of its own",
            expected="private parameters in submodules, which are mapped over the members",
            mend="put them into an nn.Module",
        )
    made = deepcopy(objective)
    for part, module in objective.named_children():
        if any(True for _ in module.parameters()):
            setattr(made, part, Stacked([module] * members, shared=False))
    return made


def clip_members(parameters: Sequence[Tensor], largest: float) -> None:
    """Scale the gradients of each member so that their joint norm is at most `largest`, in place.

    Args:
        parameters: Stacked parameters `(K, ...)`; those without gradient are left out.
        largest: Euclidean norm > 0.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    norm = torch.stack(squares).sum(0).sqrt()
    # As torch.nn.utils.clip_grad_norm_ does for one model.
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
