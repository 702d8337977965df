"""A network whose weights lie on a line, and where on that line a λ is."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import expm1, log1p
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fairlightning.exceptions import ArgumentError
from fairlightning.front.stacked import check_layers, mapped, running


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
                mend="train with a larger `highest`",
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
        at = self.at.to(next(self.start.parameters()).dtype)
        return {
            name: torch.addcmul(start, at.view(-1, *[1] * start.ndim), slopes[name])
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
