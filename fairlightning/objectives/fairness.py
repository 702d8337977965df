"""All the state that fairness adds to a model: objectives, their weights, their combination."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.rows import check_standardised
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import (
    Adaptive,
    Constraint,
    Losses,
    Objective,
    Step,
    checked_step,
)
from fairlightning.objectives.combination import Combination, WeightedSum, mean_task_loss
from fairlightning.objectives.distributed import sum_over_ranks, world_size
from fairlightning.objectives.strengths import Strength, Strengths

Sums: TypeAlias = Mapping[str, tuple[Tensor, ...]]
"""Additive sums by the name of the objective."""

_TELL_UNIT = "pass task=Task('regression', center=mean, scale=deviation of the target)"


class Observation(NamedTuple):
    """What callbacks may see of the last batch; everything detached.

    Attributes:
        step: Logits, target, sensitive codes and row weights.
        losses: Losses of this batch; `loss` too without its graph.
        sums: In evaluation, additive sums of the task and of each objective for
            `Fairness.finish`. In training those of adaptive objectives, of all ranks.
    """

    step: Step
    losses: Losses
    sums: Sums


class Fairness(nn.Module):
    """Objectives by name and the combination that makes one loss of them.

    Args:
        groups: The sensitive attributes, as `GroupSpec` or plain mapping.
        strength: Multiplies the λ of every objective; at least 0. A sequence of K gives the λ of K
            models trained together: tensors of the network then have a leading axis of K, and so
            has every loss. A mapping gives K for each objective by name; those under `task`
            multiply the weight of the task loss.
        combination: How terms become one loss; `WeightedSum()` if None.
        task: What is predicted, as `Task` or the name of its kind.

    Attributes:
        members: Number K of models trained together; None for one model, without that axis.
        adaptive: Those of the objectives that learn from each optimizer step, by name.
        constraints: Those of them that are weighed by multipliers, by name.

    Raises:
        ArgumentError: If a strength is negative, or there is none, or the combination is for one
            model alone and there are several.
    """

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Any],
        *,
        strength: Strength = 1.0,
        combination: Combination | None = None,
        task: Task | str = "binary",
    ) -> None:
        super().__init__()
        self.groups = GroupSpec.of(groups)
        self.task = Task.of(task)
        self._strengths = Strengths(strength)
        self.members = self._strengths.members
        self.combination = combination or WeightedSum()
        if self.members is not None and not self.combination.stackable:
            raise ArgumentError.of(
                "combination",
                found=f"{type(self.combination).__name__} for {self.members} models trained "
                "together",
                expected="a combination with stackable = True",
                mend="use WeightedSum() or SmoothChebyshev(), or train the models one by one",
            )
        self.objectives = nn.ModuleDict()
        self.adaptive: dict[str, Adaptive] = {}
        self.constraints: dict[str, Constraint] = {}
        self._factors: dict[str, float] = {}
        self.register_load_state_dict_post_hook(_weigh_anew)  # type: ignore[no-untyped-call]
        # Set in every step: assigning an attribute of a module takes 3 µs, appending 0.1.
        self._seen: deque[Observation] = deque(maxlen=1)

    @property
    def last(self) -> Observation | None:
        """What callbacks may see of the last batch; None before the first, or once taken."""
        return self._seen[-1] if self._seen else None

    def take(self) -> Observation | None:
        """Return `last` and forget it, so that a batch is not taken for the next one too."""
        return self._seen.pop() if self._seen else None

    @property
    def strength(self) -> Strength:
        """Multiplies the λ of every objective; once assigned, from the next step on."""
        return self._strengths.given

    @strength.setter
    def strength(self, strength: Strength) -> None:
        found = Strengths(strength)
        if found.members != self.members:
            raise ArgumentError.of(
                "strength",
                found=strength,
                expected="a number" if self.members is None else f"{self.members} numbers",
                mend="pass as many as when the module was made",
            )
        for name in self.objectives:
            found.of(name)
        self._strengths = found
        for name, factor in self._factors.items():
            self.set_factor(name, factor)

    def add(self, name: str, objective: Objective) -> None:
        """Add an objective under a name of its own, at its full weight until a ramp sets another.

        Raises:
            ArgumentError: If the name is taken, the combination refuses the objective, it is for
                another task, or several models are trained together and it is for one alone.
        """
        objective.check_task(self.task.kind)
        if self.members is not None and not objective.stackable:
            raise ArgumentError.of(
                f"objective {name!r}",
                found=f"{type(objective).__name__} for {self.members} models trained together",
                expected="an objective with stackable = True",
                mend="take a penalty in its place, or train the models one by one",
            )
        self.combination.check(name, objective)
        if name in self.objectives or name in ("task", "total"):
            raise ArgumentError.of(
                "name",
                found=f"{name!r} a second time",
                expected="a name not in use: " + ", ".join(["task", "total", *self.objectives]),
                mend="give each objective a name of its own",
            )
        self.objectives[name] = objective
        if self.members is not None:
            objective.weight = objective.weight.new_empty(self.members)
        if isinstance(objective, Adaptive):
            self.adaptive[name] = objective
        if isinstance(objective, Constraint):
            self.constraints[name] = objective
        self.set_factor(name, 1.0)

    @property
    def requires(self) -> set[str]:
        """Fields of `Step` that some objective or the combination needs."""
        needed = {name for _, objective in self.items() for name in objective.requires}
        return needed | set(self.combination.requires)

    def items(self) -> Iterator[tuple[str, Objective]]:
        """Names and objectives."""
        yield from self.objectives.items()  # type: ignore[misc]

    def set_factor(self, name: str, factor: float) -> tuple[float, ...]:
        """Set λ of an objective to strength × weight × factor, in place.

        Args:
            name: Name of the objective.
            factor: Value of its schedule.

        Returns:
            The λ that are now in force, one for each model.
        """
        check_choice("objective", name, self.objectives)
        self._factors[name] = factor
        objective: Objective = self.objectives[name]  # type: ignore[assignment]
        objective.factor.fill_(factor)
        weights = self.weights(name)
        if self.members is None:
            objective.weight.fill_(weights[0])
        else:
            objective.weight.copy_(torch.tensor(weights, dtype=torch.float64))
        return weights

    def weights(self, name: str) -> tuple[float, ...]:
        """Return the λ of an objective that are in force, one for each model."""
        objective: Objective = self.objectives[name]  # type: ignore[assignment]
        full = objective.full_weight
        factor = self._factors[name]
        return tuple(strength * full * factor for strength in self._strengths.of(name))

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimizer groups of the objectives' private parameters, each at its own learning rate.

        Args:
            learning_rate: The network's.

        Returns:
            A group for each objective that has any, with `fused` set on CPU and CUDA: a head is a
            few small tensors, and going through them one by one costs more than their arithmetic.
            As an option of the group it leaves clipping and mixed precision as they are, and
            optimizers without a fused update ignore it.
        """
        return [
            {
                "params": private,
                "lr": learning_rate * objective.learning_rate_factor,
                "name": name,
                "fused": all(p.device.type in ("cpu", "cuda") for p in private) or None,
            }
            for name, objective in self.items()
            if (private := list(objective.parameters()))
        ]

    def forward(self, task_loss: Tensor, step: Step) -> Tensor:
        """Combine the task loss with every objective's term on this batch.

        In training the sums are added over all ranks, so that the loss is that of the joined
        batch; in evaluation they stay on this rank until the epoch's sums are finished.

        Args:
            task_loss: Scalar, or `(N,)` per row; `(K,)` or `(K, N)` for K models.
            step: What the batch offers; logits may be `(N,)` or `(N, C)`; `(K, N, C)`.

        Returns:
            Scalar loss; `(K,)` for K models.

        Raises:
            ArgumentError: On fields of the wrong shape, type or range.
            MissingFieldError: If an objective misses a field.
            SetupError: When training on several ranks with an objective that cannot.
        """
        objectives = tuple(self.items())
        if objectives or not self.training:
            step = checked_step(step, self.groups, self.task)
        task = mean_task_loss(task_loss, step.row_weight, self.members)
        seen = self._standardised(step) if self.task.kind == "regression" else step
        sums: dict[str, tuple[Tensor, ...]] = {}
        for name, objective in objectives:
            objective.check(seen)
            if self.training and not objective.additive:
                _refuse_ranks(name)
            sums[name] = objective.sums(seen)
        joined = self._reduced(sums) if sums and self.training else sums
        losses = self._combine(task, objectives, joined, step.parameters)
        self._seen.append(self._observe(step, task, joined, losses))
        return losses.loss

    def _standardised(self, step: Step) -> Step:
        """What objectives see of a regression: predictions and targets in deviations."""
        if step.logits is None or step.target is None:
            return step
        one, other = map(self.task.standardised, (step.logits, step.target))
        if any(objective.in_deviations for _, objective in self.items()):
            check_standardised("target", other, _TELL_UNIT)
        return step._replace(logits=one, target=other)

    def finish(self, sums: Sums) -> Losses:
        """Turn sums added over batches into the losses of all their rows, on all ranks.

        Args:
            sums: Sums by name, as in `Observation.sums`; every rank must call this.
        """
        total = dict(self._reduced(sums))
        weighted, mass = total.pop("task")
        return self._combine(weighted / mass, self.items(), total)

    def _combine(
        self,
        task: Tensor,
        objectives: Iterable[tuple[str, Objective]],
        sums: Sums,
        parameters: Sequence[Tensor] | None = None,
    ) -> Losses:
        terms, weights = {}, {}
        for name, objective in objectives:
            terms[name] = objective.term(sums[name])
            weights[name] = objective.weight
        if self._strengths.task is not None:
            weights["task"] = task.new_tensor(self._strengths.task)
        losses: Losses = self.combination(task, terms, weights, parameters)
        return losses

    def _observe(self, step: Step, task: Tensor, sums: Sums, losses: Losses) -> Observation:
        losses = losses._replace(loss=losses.loss.detach())
        seen = Step(
            logits=None if step.logits is None else step.logits.detach(),
            target=step.target,
            sensitive=step.sensitive,
            row_weight=step.row_weight,
            task=step.task,
            ordered=step.ordered,
        )
        if self.training:
            kept = {name: sums[name] for name in self.adaptive}
            return Observation(seen, losses, _detached(kept))
        rows = 1 if step.target is None else len(step.target)
        mass = task.new_tensor(rows) if step.row_weight is None else step.row_weight.sum()
        return Observation(seen, losses, _detached({"task": (task * mass, mass), **sums}))

    @staticmethod
    def _reduced(sums: Sums) -> Sums:
        """Add over ranks with one collective for all objectives."""
        if world_size() == 1:
            return sums
        local = [part for parts in sums.values() for part in parts]
        packed = sum_over_ranks(torch.cat([part.flatten() for part in local]))
        pieces = iter(packed.split([part.numel() for part in local]))
        return {
            name: tuple(next(pieces).view_as(part) for part in parts)
            for name, parts in sums.items()
        }


def _weigh_anew(fairness: Fairness, _: object) -> None:
    """Set λ after loading: the factors of the checkpoint times the strength of this module."""
    for name, objective in fairness.items():
        if not objective.factor.is_meta:
            fairness.set_factor(name, float(objective.factor))


def _detached(sums: Sums) -> Sums:
    return {name: tuple(part.detach() for part in parts) for name, parts in sums.items()}


def _refuse_ranks(name: str) -> None:
    if (ranks := world_size()) > 1:
        raise SetupError.of(
            f"objective {name!r}",
            found=f"training on {ranks} ranks",
            expected="one: its value on a batch does not follow from sums over parts of the batch",
            mend="train with devices=1, or take a parity penalty",
        )
