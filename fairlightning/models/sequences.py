"""Networks for sequences of different lengths: recurrent, and transformer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.models.attention import Transformer
from fairlightning.models.base import Outputs, check_sizes


class Steps(nn.Module):
    """Vectors for the steps of sequences, made from tokens or from features.

    Args:
        width: Features `E` of a vector.
        vocabulary: Number of tokens, where steps are tokens.
        features: Number of features `D` of a step, where steps are vectors already.

    Raises:
        ArgumentError: Unless exactly one of `vocabulary` and `features` is given, and ≥ 1.

    Shapes: `(N, T)` int64 tokens or `(N, T, D)` float features → `(N, T, E)`.
    """

    def __init__(self, width: int, vocabulary: int | None, features: int | None) -> None:
        super().__init__()
        if (vocabulary is None) == (features is None):
            raise ArgumentError.of(
                "vocabulary, features",
                found=f"{vocabulary}, {features}",
                expected="one of them, and None for the other",
                mend="pass vocabulary for tokens, features for vectors",
            )
        check_sizes(width=width, steps=vocabulary or features or 0)
        self.layer: nn.Module = (
            nn.Linear(features, width) if features else nn.Embedding(vocabulary or 0, width)
        )

    def forward(self, values: Tensor) -> Tensor:
        """Make the vectors of a batch."""
        vectors: Tensor = self.layer(values)
        return vectors


class RNN(nn.Module):
    """Recurrent network over sequences; its representation is the state after the last step.

    Steps go from left to right, so what is padded on the right does not change what comes before
    it. `FrontModule` refuses recurrent layers by name; see `SequenceTransformer`.

    Args:
        vocabulary: Number of tokens, where steps are tokens.
        features: Number of features `D` of a step, where steps are vectors.
        width: Features of the state, and of the vectors of tokens.
        layers: Number of recurrent layers.
        cell: `gru` (Cho et al., EMNLP 2014) or `lstm` (Hochreiter and Schmidhuber, 1997).
        dropout: Share of units dropped in training between layers and before the last, in [0, 1).
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If an argument is out of range.

    >>> network = RNN(vocabulary=10)
    >>> tokens, lengths = torch.tensor([[3, 4, 0], [5, 6, 7]]), torch.tensor([2, 3])
    >>> network((tokens, lengths)).logits.shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        vocabulary: int | None = None,
        features: int | None = None,
        width: int = 64,
        layers: int = 1,
        cell: Literal["gru", "lstm"] = "gru",
        dropout: float = 0.0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, dropout=dropout, width=width, layers=layers)
        check_choice("cell", cell, ["gru", "lstm"])
        self.encoder = Steps(width, vocabulary, features)
        kind = nn.GRU if cell == "gru" else nn.LSTM
        between = dropout if layers > 1 else 0.0
        self.body = kind(width, width, layers, batch_first=True, dropout=between)
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, width)`.

        Args:
            inputs: `(N, T)` tokens or `(N, T, D)` features, padded on the right with anything in
                range, and `(N,)` int64 lengths in 1 to T.
        """
        values, lengths = inputs
        states, _ = self.body(self.encoder(values))
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
        representation = self.drop(states.gather(1, last).squeeze(1))
        return Outputs(self.output(representation), representation)


class SequenceTransformer(nn.Module):
    """Transformer over sequences; its representation is that of a step of its own before all.

    Args:
        vocabulary: Number of tokens, where steps are tokens.
        features: Number of features `D` of a step, where steps are vectors.
        longest: Largest number of steps, each of which has a learned place.
        layers: Number of transformer layers.
        width: Features of each step.
        heads: Number of attention heads, a divisor of `width`.
        dropout: Share of units dropped in training, in [0, 1).
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If an argument is out of range; in `forward`, if sequences are too long.

    >>> network = SequenceTransformer(features=3, longest=8)
    >>> network((torch.zeros(2, 5, 3), torch.tensor([2, 5]))).logits.shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        vocabulary: int | None = None,
        features: int | None = None,
        longest: int = 128,
        layers: int = 2,
        width: int = 64,
        heads: int = 4,
        dropout: float = 0.1,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, longest=longest)
        self.body = Transformer(layers, width, heads, dropout)
        self.encoder = Steps(width, vocabulary, features)
        self.places = nn.Parameter(torch.randn(1 + longest, width) * width**-0.5)
        self.output = nn.Linear(width, outputs)
        self.sizes = {"logits": outputs, "representation": width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, width)`.

        Args:
            inputs: `(N, T)` tokens or `(N, T, D)` features, padded on the right with anything in
                range, and `(N,)` int64 lengths in 1 to T.
        """
        values, lengths = inputs
        steps = values.shape[1]
        if steps >= len(self.places):
            raise ArgumentError.of(
                "inputs",
                found=f"{steps} steps",
                expected=f"at most {len(self.places) - 1}",
                mend=f"cut the sequences, or build the network with longest={steps}",
            )
        vectors = self.encoder(values) + self.places[1 : steps + 1]
        # The first place is that of the sequence as a whole.
        whole = self.places[:1].expand(len(vectors), 1, -1)
        known = torch.arange(steps + 1, device=lengths.device) <= lengths.unsqueeze(1)
        representation = self.body(torch.cat([whole, vectors], 1), known)[:, 0]
        return Outputs(self.output(representation), representation)
