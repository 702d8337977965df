"""Residual network for tables."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fairlightning.models.base import Outputs, TabularEncoder, check_sizes
from fairlightning.models.embeddings import Embedding


class TabularResNet(nn.Module):
    """Blocks of two layers, each added to what it started from.

    After Gorishniy, Rubachev, Khrulkov and Babenko, "Revisiting deep learning models for tabular
    data" (NeurIPS 2021), with LayerNorm in place of BatchNorm: rows stay independent of their
    batch, and copies can be trained together in a `FrontModule`.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        blocks: Number of blocks.
        width: Features between blocks.
        hidden: Units within a block.
        dropout: Share of a block's units dropped in training, in [0, 1).
        embedding: Of the numeric columns; see `TabularEncoder`.
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is no column, or a number is out of range.
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        blocks: int = 2,
        width: int = 64,
        hidden: int = 128,
        dropout: float = 0.1,
        embedding: Embedding = "none",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, dropout=dropout, blocks=blocks, width=width, hidden=hidden)
        self.encoder = TabularEncoder(numeric, cardinalities, embedding)
        self.first = nn.Linear(self.encoder.out_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, width),
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(nn.LayerNorm(width), nn.ReLU())
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, width)`."""
        features = self.first(self.encoder(inputs))
        for block in self.blocks:
            features = features + block(features)
        representation = self.last(features)
        return Outputs(self.output(representation), representation)
