"""What networks return, and how tables enter them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Outputs(NamedTuple):
    """What a network computes; it knows nothing of fairness.

    Attributes:
        logits: `(N, C)`, C = 1 for a binary target.
        representation: `(N, H)`, what enters the last layer.
    """

    logits: Tensor
    representation: Tensor


class TabularEncoder(nn.Module):
    """Numeric columns beside the one-hot codes of the categorical ones.

    Args:
        numeric: Number of numeric columns `D`.
        cardinalities: Number of codes of every categorical column, the unknown one included.

    Shapes: `(N, D)` float and `(N, F)` int64 → `(N, out_features)`.
    """

    offsets: Tensor

    def __init__(self, numeric: int, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.num_codes = sum(cardinalities)
        self.out_features = numeric + self.num_codes
        starts = [sum(cardinalities[:i]) for i in range(len(cardinalities))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.long), persistent=False)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Encode a batch."""
        numeric, categorical = inputs
        if not self.num_codes:
            return numeric
        hot = numeric.new_zeros(len(numeric), self.num_codes)
        hot = hot.scatter(1, categorical + self.offsets, 1.0)
        return torch.cat([numeric, hot], dim=1)
