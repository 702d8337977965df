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

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.front.rates import MakeOptimizer, with_member_rates
from fairlightning.front.seeds import copies
from fairlightning.front.stacked import Stacked
from fairlightning.functional.rows import positive_scores
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule, cross_entropy
from fairlightning.objectives import Combination, Objective, Strength, Strengths

fused_adamw = partial(torch.optim.AdamW, fused=True)
"""AdamW in one pass over each stacked parameter, which it reads and writes once a step."""


STRENGTH = "front_strength"
"""Where a checkpoint keeps the strengths of its members."""


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
        strength: One λ ≥ 0 for each member; see `FairModule`. Or, by name, such a sequence for each
            objective (0 where a member goes without it) and, under `task`, of factors of the task's
            weight; see `fairlightning.functional.preferences.simplex_grid`.
        objectives: Objectives by name. They are copied; the private parts of each (the head of an
            adversary) exist once for each member and, without `seeds`, begin with the same weights.
        combination: How terms become one loss; a weighted sum if None.
        learning_rate: Learning rate of all members, or one > 0 for each.
        optimizer: Makes the one optimizer. It must treat each number by itself, as Adam does, and,
            where learning rates differ, move by a multiple of the rate, as SGD and Adam do.
        scheduler: As for `FairModule`.
        seeds: One for each member. Its weights and those of its private parts are drawn anew, as
            they would be if each were made after `torch.manual_seed(seed)`; of several networks the
            weights are kept, and only private parts drawn.

    Raises:
        ArgumentError: If the numbers of networks, strengths, learning rates or seeds differ, on
            strengths without an objective of that name, or for a layer, objective or combination
            that does not work for several models together, by name.

    Shapes: logits `(K, N, 1)`, losses `(K,)`.
    """

    network: Stacked

    def __init__(
        self,
        network: nn.Module | Sequence[nn.Module],
        groups: GroupSpec | Mapping[str, Any],
        *,
        strength: Sequence[float] | Mapping[str, Sequence[float]],
        objectives: Mapping[str, Objective] | None = None,
        combination: Combination | None = None,
        learning_rate: float | Sequence[float] = 1e-3,
        optimizer: MakeOptimizer = fused_adamw,
        scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        members = _count(strength, objectives or {})
        if isinstance(network, nn.Module):
            networks = copies(network, members, seeds, "network")
        else:
            networks = list(network)
        if len(networks) != members:
            raise ArgumentError.of(
                "network, strength",
                found=f"{len(networks)} networks and {members} strengths",
                expected="one strength for each network",
                mend="pass a single network, or as many as there are strengths",
            )
        stacked = {
            name: stacked_objective(name, objective, members, seeds)
            for name, objective in (objectives or {}).items()
        }
        optimizer, rate = with_member_rates(optimizer, learning_rate, members)
        super().__init__(
            Stacked(networks),
            groups,
            objectives=stacked,
            strength=strength,
            combination=combination,
            learning_rate=rate,
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the strengths, by which the members are known."""
        checkpoint[STRENGTH] = _plain(self.fairness.strength)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the members of another front.

        Raises:
            ArgumentError: If their strengths are not those of this one.
        """
        saved = checkpoint.get(STRENGTH)
        own = _plain(self.fairness.strength)
        if saved is not None and saved != own:
            raise ArgumentError.of(
                "strength",
                found=f"{own}, and {saved} in the checkpoint",
                expected="the same strengths in the same order",
                mend="pass the strengths of the run that wrote the checkpoint, or train anew",
            )

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


def _plain(strength: Strength) -> list[float] | dict[str, list[float]]:
    """Strengths as plain values, for checkpoints."""
    if isinstance(strength, Mapping):
        return {name: [*row] for name, row in strength.items()}
    return [*strength] if isinstance(strength, Sequence) else [strength]


def _count(
    strength: Sequence[float] | Mapping[str, Sequence[float]], objectives: Mapping[str, Objective]
) -> int:
    members = Strengths(strength).members
    if members is None:
        raise ArgumentError.of(
            "strength",
            found=strength,
            expected="one for each member",
            mend="pass strength=[0.0, 0.3, 1.0], or train a FairModule",
        )
    if isinstance(strength, Mapping):
        for name in strength:
            check_choice("strength", name, ("task", *objectives))
    return members


def stacked_objective(
    name: str, objective: Objective, members: int, seeds: Sequence[int] | None = None
) -> Objective:
    """Return a copy of an objective with its private parts once for each member.

    Args:
        name: What errors call it.
        objective: The objective for one model.
        members: Number K of models.
        seeds: If given, private parts of member k draw their weights with seed k.

    Raises:
        ArgumentError: As `with_parts`, or if, with seeds, a layer cannot draw its weights.
    """

    def stack(part: nn.Module) -> Stacked:
        return Stacked(copies(part, members, seeds, f"objective {name!r}"), shared=False)

    return with_parts(name, objective, stack)


def with_parts(
    name: str, objective: Objective, make: Callable[[nn.Module], nn.Module]
) -> Objective:
    """Return a copy of an objective with each of its private parts replaced by what `make` gives.

    Args:
        name: What errors call it.
        objective: The objective for one model.
        make: Takes a submodule with parameters.

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
            setattr(made, part, make(module))
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
