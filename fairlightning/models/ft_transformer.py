"""FT-Transformer: attention between the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rtdl_num_embeddings import LinearEmbeddings
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.models.attention import Transformer
from fairlightning.models.base import Outputs, check_columns, code_offsets
from fairlightning.models.embeddings import Embedding, make_embedding


class Tokenizer(nn.Module):
    """A vector for each column of a row, after one of its own for the row as a whole.

    Args:
        numeric: Number of numeric columns `D`.
        cardinalities: Number of codes of each of the `F` categorical columns.
        width: Features `E` of a vector.
        embedding: Of the numeric columns; `none` makes vectors that are linear in the number.

    Raises:
        ArgumentError: If there is no column, or the embedding has a width of its own.

    Shapes: `(N, D)` float and `(N, F)` int64, or shares of codes `(N, ΣC)` as `TabularEncoder`
    takes them, → `(N, 1 + D + F, E)`.
    """

    offsets: Tensor

    def __init__(
        self, numeric: int, cardinalities: Sequence[int], width: int, embedding: Embedding = "none"
    ) -> None:
        super().__init__()
        check_columns(numeric, cardinalities)
        options: dict[str, Any] = (
            {"kind": embedding} if isinstance(embedding, str) else dict(embedding)
        )
        if "width" in options:
            raise ArgumentError.of(
                "embedding",
                found=f"width {options['width']}",
                expected="none: every column has the network's width",
                mend="leave it out",
            )
        if options != {"kind": "none"}:
            options["width"] = width
        made: nn.Module | None = make_embedding(options, numeric)
        if made is None and numeric:
            made = LinearEmbeddings(numeric, width)
        self.embedding = made
        self.row = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.codes = nn.Embedding(sum(cardinalities), width) if cardinalities else None
        self.register_buffer("offsets", code_offsets(cardinalities), persistent=False)
        self.cardinalities = list(cardinalities)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Make the vectors of a batch."""
        numeric, categorical = inputs
        tokens = [self.row.expand(len(numeric), 1, -1)]
        if self.embedding is not None:
            tokens.append(self.embedding(numeric))
        if self.codes is not None:
            tokens.append(self._vectors(self.codes, categorical))
        return torch.cat(tokens, 1)

    def _vectors(self, codes: nn.Embedding, categorical: Tensor) -> Tensor:
        if not categorical.is_floating_point():
            vectors: Tensor = codes(categorical + self.offsets)
            return vectors
        parts = zip(
            categorical.split(self.cardinalities, 1),
            codes.weight.split(self.cardinalities),
            strict=True,
        )
        return torch.stack([shares @ weight for shares, weight in parts], 1)


class FTTransformer(nn.Module):
    """Columns as a sequence of vectors that attend to each other.

    From Gorishniy, Rubachev, Khrulkov and Babenko, "Revisiting deep learning models for tabular
    data" (NeurIPS 2021). The representation is the row's own vector after the last layer. Time and
    memory grow with the square of the number of columns.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        layers: Number of transformer layers.
        width: Features of each column's vector.
        heads: Number of attention heads, a divisor of `width`.
        dropout: Share of units dropped in training, in [0, 1).
        embedding: Of the numeric columns, without a width of its own: `none` (linear),
            `piecewise_linear` or `periodic`; see `make_embedding`.
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
        layers: int = 2,
        width: int = 32,
        heads: int = 4,
        dropout: float = 0.1,
        embedding: Embedding = "none",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.body = Transformer(layers, width, heads, dropout)
        self.encoder = Tokenizer(numeric, cardinalities, width, embedding)
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, width)`."""
        representation = self.body(self.encoder(inputs))[:, 0]
        return Outputs(self.output(representation), representation)
