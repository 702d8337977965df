"""What our metrics share: states that keep their type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class ExactMetric(Metric):
    """A metric whose states move between devices, but are never cast.

    Casting a model, as training in bfloat16 does, casts the metrics that it holds: sums would lose
    their digits, and processes would exchange states of different types, which aborts them.
    """

    full_state_update = False
    is_differentiable = False

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take in the rows of another metric; what was computed before is out of date."""
        super().merge_state(incoming_state)
        self._computed = None

    def _apply(
        self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ""
    ) -> nn.Module:
        return super()._apply(lambda state: state.to(fn(state).device), exclude_state)


def writable(state: Tensor) -> Tensor:
    """The state, or a copy where it was made in inference mode and that has ended."""
    return (
        state.clone() if state.is_inference() and not torch.is_inference_mode_enabled() else state
    )
