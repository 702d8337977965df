"""The linear model: logistic regression, or a linear support vector machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairlightning.models.base import Outputs, TabularEncoder


class Linear(nn.Module):
    """One logit, linear in the encoded columns; its representation are these.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is no column.
    """

    def __init__(self, numeric: int, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.encoder = TabularEncoder(numeric, cardinalities)
        width = self.encoder.out_features
        self.output = nn.Linear(width, 1)
        self.sizes = {"logits": 1, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, 1)` and representation `(N, H)`."""
        representation = self.encoder(inputs)
        return Outputs(self.output(representation), representation)

    @torch.no_grad()
    def set_coefficients(self, coefficients: Tensor) -> None:
        """Take over `(H + 1,)` coefficients, the intercept last."""
        self.output.weight.copy_(coefficients[:-1])
        self.output.bias.copy_(coefficients[-1:])
