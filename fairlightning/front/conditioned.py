"""One network for every λ: its weights lie on a line, along which λ moves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from math import expm1, inf, log1p
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fairlightning.exceptions import ArgumentError
from fairlightning.front.module import FrontModule, fused_adamw, with_parts
from fairlightning.front.stacked import check_layers, mapped, running
from fairlightning.functional.rows import positive_scores
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule
from fairlightning.objectives import Combination, Fairness, Objective

GOLDEN = (5**0.5 - 1) / 2
MARGIN = 0.1
"""Draws go this far beyond both ends of the line and are moved back, so that ends are drawn too."""


class StrengthRange(NamedTuple):
    """Where λ lies on the line: λ(t) = bend · ((1 + highest/bend)^t − 1), so λ(0) = 0.

    Attributes:
        highest: λ at t = 1, greater than 0.
        bend: λ, greater than 0, below which the scale is linear and above which it is logarithmic.

    >>> scale = StrengthRange(highest=3.0, bend=0.1)
    >>> scale.strength(0.0), round(scale.strength(0.5), 3), round(scale.strength(1.0), 3)
    (0.0, 0.457, 3.0)
    """

    highest: float
    bend: float

    def strength(self, position: float) -> float:
        """Return λ at a position t in [0, 1]."""
        return self.bend * expm1(position * log1p(self.highest / self.bend))

    def position(self, strength: float) -> float:
        """Return the position t in [0, 1] of a λ.

        Raises:
            ArgumentError: If λ is outside of [0, highest], where nothing was trained.
        """
        if not 0 <= strength <= self.highest:
            raise ArgumentError.of(
                "strength",
                found=strength,
                expected=f"a λ of the range that was trained, 0 to {self.highest}",
                mend="train with a larger one in `strength`",
            )
        return log1p(strength / self.bend) / log1p(self.highest / self.bend)


class Conditioned(nn.Module):
    """A module with the parameters W(t) = W0 + t·W1, evaluated at the positions `at`.

    W1 begins at zero, so at first all positions are the module that was given.

    Args:
        module: Any module whose layers `torch.vmap` can map. It is copied.
        positions: The M ≥ 1 positions at which `forward` evaluates it.
        shared: Whether all positions get the same inputs, or each its own along a leading axis.

    Attributes:
        start: Holds W0.
        slope: Holds W1, under the same names.
        at: `(M,)` positions in force.

    Raises:
        ArgumentError: For a layer with running statistics, which would be those of no λ, or a
            recurrent layer, by name.

    Shapes: what the module returns, with a leading axis of M.

    >>> line = Conditioned(nn.Linear(3, 1), [0.0, 0.5, 1.0])
    >>> line(torch.zeros(5, 3)).shape
    torch.Size([3, 5, 1])
    """

    at: Tensor

    def __init__(
        self, module: nn.Module, positions: Sequence[float], *, shared: bool = True
    ) -> None:
        super().__init__()
        check_layers(module)
        if running(module):
            raise ArgumentError.of(
                "network",
                found=f"running statistics, {running(module)[0]!r}",
                expected="layers without, since these would be those of no λ",
                mend="use LayerNorm in place of BatchNorm",
            )
        self.shared = shared
        self.start = deepcopy(module)
        self.slope = deepcopy(module)
        for parameter in self.slope.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("at", torch.tensor(positions, dtype=torch.float64), persistent=False)

    @property
    def members(self) -> int:
        """Number M of positions in force."""
        return len(self.at)

    def forward(self, inputs: Any) -> Any:
        """Run the module at each position."""
        if self.members > 1:
            return mapped(self.start, self.weights(), inputs, shared=self.shared)
        # A single position, as in training, needs no map, which would cost time.
        one = {name: weight[0] for name, weight in self.weights().items()}
        outputs = functional_call(self.start, one, (inputs if self.shared else inputs[0],))
        if isinstance(outputs, Tensor):
            return outputs.unsqueeze(0)
        return tuple(part.unsqueeze(0) for part in outputs)

    def weights(self) -> dict[str, Tensor]:
        """Return W(t) by name, `(M, ...)` each."""
        slopes = dict(self.slope.named_parameters())
        return {
            name: start + self.at.to(start.dtype).view(-1, *[1] * start.ndim) * slopes[name]
            for name, start in self.start.named_parameters()
        }

    def plain(self, position: float) -> nn.Module:
        """Return a copy of the module with the weights of a position, plain and by itself."""
        made = deepcopy(self.start)
        slopes = dict(self.slope.named_parameters())
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                parameter.add_(slopes[name], alpha=position)
        return made

    def member(self, k: int) -> nn.Module:
        """Return a copy of the module at position `at[k]`.

        Raises:
            ArgumentError: If there is no such member.
        """
        if not 0 <= k < self.members:
            raise ArgumentError.of(
                "k", found=k, expected=f"0 to {self.members - 1}", mend="pass k=0"
            )
        return self.plain(self.at[k].item())


class ConditionedModule(FrontModule):
    """Train one network that gives the model of any λ up to the largest.

    The weights are a line W0 + t·W1, where t is λ on a scale that holds 0 and is logarithmic
    above `bend` (`StrengthRange`). Each training step takes one t, and weighs the objectives by its
    λ: the loss-conditional training of Dosovitskiy and Djolonga (2020), with a line in weight space
    as in "You Only Debias Once" (arXiv:2503.07066). The positions follow the golden ratio, which
    covers the line evenly however many steps there are; they depend on the number of steps alone,
    which is part of the checkpoint and the same on all ranks.

    Validation, test and `predict_step` evaluate the K values of `strength`, the members of the
    front that `FrontMonitor`, `ParetoCheckpoint` and `LambdaRamp` see. In training there is one.

    Args:
        network: Maps `inputs` to `(logits, representation)` of shapes `(N, 1)` and `(N, H)`.
        groups: The sensitive attributes.
        strength: The K ≥ 1 λ that are evaluated, each 0 or more. Trained is all up to the largest.
        bend: λ above which the scale is logarithmic; a thirtieth of the largest if None.
        objectives: Objectives by name. They are copied; the head of an adversary lies on a line of
            its own, so that it, too, knows λ.
        combination: How terms become one loss; a weighted sum if None.
        options: `learning_rate`, `optimizer` and `scheduler`, as for `FrontModule`.

    Raises:
        ArgumentError: On values out of range, or for a layer, objective or combination that does
            not work with a λ that changes from step to step, by name.

    Shapes: in evaluation logits `(K, N, 1)` and losses `(K,)`; in training 1 for K.
    """

    network: Conditioned  # type: ignore[assignment]
    steps_drawn: Tensor

    def __init__(
        self,
        network: nn.Module,
        groups: GroupSpec | Mapping[str, Any],
        *,
        strength: Sequence[float],
        bend: float | None = None,
        objectives: Mapping[str, Objective] | None = None,
        combination: Combination | None = None,
        **options: Any,
    ) -> None:
        strength = tuple(map(float, strength))
        scale = _checked_range(strength, bend)
        positions = [scale.position(each) for each in strength]
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
            strength=strength,
            combination=combination,
            **options,
        )
        self.scale = scale
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
        kept = [line.at for line in lines]
        weights = {name: objective.weight for name, objective in fairness.items()}
        members = fairness.members
        growth = log1p(self.scale.highest / self.scale.bend)
        share = torch.expm1(position * growth) * (self.scale.bend / self.scale.highest)
        try:
            for line in lines:
                line.at = position
            for name, objective in fairness.items():
                # That of the largest λ, with the factor of the ramp.
                objective.weight = weights[name].amax(-1, True) * share.to(objective.weight.dtype)
            fairness.members = 1
            yield
        finally:
            for line, at in zip(lines, kept, strict=True):
                line.at = at
            for name, objective in fairness.items():
                objective.weight = weights[name]
            fairness.members = members

    def _penalised(self) -> tuple[Tensor, ...]:
        return tuple(self.network.weights().values())

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        """Clip each parameter group by itself, as for one model."""
        FairModule.configure_gradient_clipping(self, *arguments, **options)


def _checked_range(strength: Sequence[float], bend: float | None) -> StrengthRange:
    highest = max(strength, default=0.0)
    if not (min(strength, default=0.0) >= 0 < highest < inf):
        raise ArgumentError.of(
            "strength",
            found=list(strength),
            expected="finite λ of 0 or more, one of them greater than 0",
            mend="pass strength=[0.0, 0.3, 1.0, 3.0]",
        )
    bend = highest / 30 if bend is None else bend
    if not 0 < bend < inf:
        raise ArgumentError.of(
            "bend", found=bend, expected="a finite λ greater than 0", mend="pass bend=0.1"
        )
    return StrengthRange(highest, float(bend))
