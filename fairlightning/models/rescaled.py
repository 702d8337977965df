"""A network for a regression, in units of the target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import at_least_float32
from fairlightning.functional.tasks import check_network


class Rescaled(nn.Module):
    """A network whose outputs, of mean 0 and deviation 1, become predictions in the target's units.

    So the network learns at the same pace whatever the unit, and alone is what to export.

    Args:
        network: Maps inputs to `(logits, representation)`.
        center: Mean of the target.
        scale: Standard deviation of the target, above 0.

    Attributes:
        sizes: Those of the network.

    Raises:
        ArgumentError: If the scale is not above 0, or the network is for classifiers alone.

    Shapes: those of the network.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, center: float, scale: float) -> None:
        super().__init__()
        check_network(type(network), "regression")
        if not scale > 0:
            raise ArgumentError.of(
                "scale", found=scale, expected="above 0", mend="pass the target's deviation"
            )
        self.network = network
        self.register_buffer("center", torch.tensor(float(center)))
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.sizes: dict[str, int] = network.sizes  # type: ignore[assignment]

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        """Compute predictions `(N, 1)` and representation `(N, H)`."""
        outputs, *others = self.network(inputs)
        # Of some thousands, the half precision of autocast would leave multiples of 8 or 16.
        return (at_least_float32(outputs) * self.scale + self.center, *others)
