"""One network for every λ, trained with one λ in each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite, log1p
from typing import Any

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.front.line import Conditioned, StrengthRange
from fairlightning.front.module import FrontModule, fused_adamw, with_parts
from fairlightning.functional.rows import positive_scores
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule
from fairlightning.objectives import Combination, Fairness, Objective

GOLDEN = (5**0.5 - 1) / 2
SCALE = "front_scale"
"""Where a checkpoint keeps `highest` and `bend`."""

MARGIN = 0.1
"""Draws go this far beyond both ends of the line and are moved back, so that ends are drawn too."""


class ConditionedModule(FrontModule):
    """Train one network that gives the model of any λ in [0, highest].

    The weights are a line W0 + t·W1, where t is λ on a scale that holds 0 and is logarithmic
    above `bend` (`StrengthRange`). Each training step takes one t, and weighs the objectives by its
    λ: the loss-conditional training of Dosovitskiy and Djolonga (2020), with a line in weight space
    as in "You Only Debias Once" (arXiv:2503.07066). The positions follow the golden ratio, which
    covers the line evenly however many steps there are; they depend on the number of steps alone,
    which is part of the checkpoint and the same on all ranks. The weights of a step, the task's
    and the objectives', and so the loss, are divided by 1 + Σλ, so that large λ do not drown the
    steps of small ones. Losses of private parts, such as an adversary's head, keep their full
    strength.

    Validation, test and `predict_step` evaluate the λ of `grid`. They are the members of the front
    that `FrontMonitor`, `ParetoCheckpoint` and `LambdaRamp` see. In training there is one.

    Args:
        network: Maps `inputs` to `(logits, representation)` of shapes `(N, 1)` and `(N, H)`.
        groups: The sensitive attributes.
        highest: Largest λ, greater than 0.
        bend: λ above which the scale is logarithmic; a hundredth of `highest` if None.
        grid: The λ that are evaluated, at least 2; or how many, even on the scale. Each takes its
            time in validation, none in training.
        objectives: Objectives by name. They are copied; the head of an adversary lies on a line of
            its own, so that it, too, knows λ.
        combination: How terms become one loss; a weighted sum if None.
        options: `learning_rate`, `optimizer` and `scheduler`, as for `FrontModule`.

    Raises:
        ArgumentError: On values out of range, or for a layer, objective or combination that does
            not work with a λ that changes from step to step, by name.

    Shapes: in evaluation logits `(grid, N, 1)` and losses `(grid,)`; in training 1 for `grid`.

    Example:
        >>> from fairlightning.models import MLP
        >>> from fairlightning.objectives import ParityPenalty
        >>> groups = GroupSpec({"sex": ["F", "M"]})
        >>> penalty = {"parity": ParityPenalty(groups)}
        >>> made = ConditionedModule(MLP(3, ()), groups, highest=5.0, objectives=penalty)
        >>> [round(strength, 2) for strength in made.fairness.strength]
        [0.0, 0.18, 1.03, 5.0]
        >>> made.predict((torch.zeros(2, 3), torch.zeros(2, 0).long()), strength=0.3).shape
        torch.Size([2])
    """

    network: Conditioned  # type: ignore[assignment]
    steps_drawn: Tensor

    def __init__(
        self,
        network: nn.Module,
        groups: GroupSpec | Mapping[str, Any],
        *,
        highest: float,
        bend: float | None = None,
        grid: int | Sequence[float] = 4,
        objectives: Mapping[str, Objective] | None = None,
        combination: Combination | None = None,
        **options: Any,
    ) -> None:
        scale = _checked_range(highest, bend)
        strengths = _checked_grid(grid, scale)
        positions = [scale.position(strength) for strength in strengths]
        head = partial(Conditioned, positions=positions, shared=False)
        options.setdefault("optimizer", fused_adamw)
        # Past FrontModule's own, which makes K networks.
        FairModule.__init__(
            self,
            Conditioned(network, positions),
            groups,
            objectives={
                name: with_parts(name, objective, head)
                for name, objective in (objectives or {}).items()
            },
            strength=strengths,
            combination=combination,
            **options,
        )
        self.scale = scale
        self._top_strength, self._top = max((one, k) for k, one in enumerate(strengths))
        self.register_buffer("steps_drawn", torch.zeros((), dtype=torch.int64))

    def export_at(self, strength: float) -> nn.Module:
        """Return a copy of the network with the weights of a λ, as one trained with it alone.

        Its `state_dict` loads into the same network of a `FairModule`, or of no module at all.

        Raises:
            ArgumentError: If λ is outside of [0, highest].
        """
        return self.network.plain(self.scale.position(strength))

    @torch.no_grad()
    def predict(self, inputs: Any, strength: float) -> Tensor:
        """Probabilities of the positive class at any λ, `(N,)` float64.

        Raises:
            ArgumentError: If λ is outside of [0, highest].
        """
        network = self.export_at(strength).eval()
        return positive_scores(network(inputs)[0])

    def next_position(self) -> Tensor:
        """Return the position t, `(1,)` float64, of the training step that comes next."""
        even = (self.steps_drawn.double() * GOLDEN) % 1.0
        return ((1 + 2 * MARGIN) * even - MARGIN).clamp(0.0, 1.0).view(1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of a batch at the λ of this step."""
        with self._placed(self.next_position()):
            loss = self._loss(batch)
        self.steps_drawn += 1
        return loss

    @contextmanager
    def _placed(self, position: Tensor) -> Iterator[None]:
        """Make the module one of a single λ for the time of a forward pass."""
        lines = [part for part in self.modules() if isinstance(part, Conditioned)]
        fairness: Fairness = self.fairness
        combination = fairness.combination
        kept = [line.at for line in lines]
        weights = {name: objective.weight for name, objective in fairness.items()}
        own = {name: getattr(combination, name) for name in combination.in_units_of_the_loss}
        members = fairness.members
        placed, share = self._weights_at(position, weights)
        try:
            for line in lines:
                line.at = position
            for name, objective in fairness.items():
                objective.weight = placed[name]
            for name, number in own.items():
                setattr(combination, name, number * share)
            fairness.members = 1
            yield
        finally:
            for line, at in zip(lines, kept, strict=True):
                line.at = at
            for name, objective in fairness.items():
                objective.weight = weights[name]
            for name, number in own.items():
                setattr(combination, name, number)
            fairness.members = members

    def _weights_at(
        self, position: Tensor, weights: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """λ of each objective at a position, and the factor of all weights, `(1,)` each."""
        growth = log1p(self.scale.highest / self.scale.bend)
        strength = torch.expm1(position * growth) * self.scale.bend
        # A member's λ is its strength times weight and ramp, which are thus known from any above 0.
        own = {
            name: strength * weight[self._top] / self._top_strength
            for name, weight in weights.items()
        }
        share = 1 / (1 + sum(own.values(), torch.zeros_like(strength)))
        scaled = {name: (share * one).to(weights[name].dtype) for name, one in own.items()}
        return scaled, share.to(next(self.network.parameters()).dtype)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the scale beside the strengths: by it the line is known."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[SCALE] = [*self.scale]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights on another line.

        Raises:
            ArgumentError: If the grid, `highest` or `bend` are not those of this one.
        """
        super().on_load_checkpoint(checkpoint)
        saved, own = checkpoint.get(SCALE), [*self.scale]
        if saved is not None and saved != own:
            raise ArgumentError.of(
                "highest, bend",
                found=f"{own}, and {saved} in the checkpoint",
                expected="the same scale, which says where on the line a λ is",
                mend="pass those of the run that wrote the checkpoint, or train anew",
            )

    def _penalised(self) -> tuple[Tensor, ...]:
        return tuple(self.network.weights().values())

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        """Clip each parameter group by itself, as for one model."""
        FairModule.configure_gradient_clipping(self, *arguments, **options)


def _checked_range(highest: float, bend: float | None) -> StrengthRange:
    bend = highest / 100 if bend is None else bend
    for name, value in (("highest", highest), ("bend", bend)):
        if not (value > 0 and isfinite(value)):
            raise ArgumentError.of(
                name, found=value, expected="a finite λ greater than 0", mend=f"pass {name}=3.0"
            )
    return StrengthRange(float(highest), float(bend))


def _checked_grid(grid: int | Sequence[float], scale: StrengthRange) -> tuple[float, ...]:
    if isinstance(grid, int):
        count = max(grid, 0)
        found = [scale.strength(k / max(count - 1, 1)) for k in range(count)]
        if found:
            found[-1] = scale.highest  # to the last digit
    else:
        found = [float(strength) for strength in grid]
    if len(set(found)) < max(len(found), 2):
        raise ArgumentError.of(
            "grid", found=grid, expected="at least 2 different λ", mend="pass grid=4"
        )
    return tuple(found)
