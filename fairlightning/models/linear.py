"""The linear model: logistic regression, or a linear support vector machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairlightning.models.base import Outputs, TabularEncoder


class Linear(nn.Module):
    """Outputs linear in the encoded columns; the representation are these.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is no column.
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = TabularEncoder(numeric, cardinalities)
        width = self.encoder.out_features
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, H)`."""
        representation = self.encoder(inputs)
        return Outputs(self.output(representation), representation)

    @torch.no_grad()
    def set_coefficients(self, coefficients: Tensor) -> None:
        """Take over `(H + 1,)` coefficients, the intercept last."""
        self.output.weight.copy_(coefficients[:-1])
        self.output.bias.copy_(coefficients[-1:])
