"""Multilayer perceptron and its special case without hidden layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fairlightning.models.base import Outputs, TabularEncoder, check_sizes
from fairlightning.models.embeddings import Embedding


class MLP(nn.Module):
    """Fully connected ReLU network on a table.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        hidden: Widths of the hidden layers; empty for a linear model, whose representation is the
            encoded input.
        dropout: Share of units dropped in training, in [0, 1).
        embedding: Of the numeric columns; see `TabularEncoder`.
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is nothing to learn from, or a width or the dropout is out of range.
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        embedding: Embedding = "none",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, dropout=dropout, hidden=min(hidden, default=1))
        self.encoder = TabularEncoder(numeric, cardinalities, embedding)
        width = self.encoder.out_features
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, H)`."""
        representation = self.body(self.encoder(inputs))
        return Outputs(self.output(representation), representation)
