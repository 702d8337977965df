"""Transformer layers that can be mapped over copies, in training and evaluation alike.

Those of `torch.nn`, and its fused attention on the CPU, are run copy by copy by `torch.vmap`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError
from fairlightning.models.base import check_sizes


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: Features of each position.
        heads: Number of heads, a divisor of `width`.
        dropout: Share of attention weights dropped in training, in [0, 1).

    Shapes: `(N, T, width)` → `(N, T, width)`.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """Let positions attend to those that are `known` `(N, T)`; all, if None."""
        parts = self.projection(features).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if known is not None:
            scores = scores.masked_fill(~known[:, None, None, :], -torch.inf)
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        attended: Tensor = self.output(mixed)
        return attended


class TransformerLayer(nn.Module):
    """Attention and a hidden layer for each position, each after LayerNorm and added to its input.

    Args:
        width: Features of each position.
        heads: Number of attention heads.
        dropout: Share of units dropped in training, in [0, 1).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """Transform `(N, T, width)` features."""
        features = features + self.drop(self.attention(self.norm(features), known))
        hidden: Tensor = self.hidden(features)
        return features + hidden


class Transformer(nn.Module):
    """Pre-norm transformer layers with a last LayerNorm.

    After Vaswani et al., "Attention is all you need" (NeurIPS 2017), and Xiong et al., "On layer
    normalization in the transformer architecture" (ICML 2020).

    Args:
        layers: Number of layers.
        width: Features of each position.
        heads: Number of attention heads, a divisor of `width`.
        dropout: Share of units and of attention weights dropped in training, in [0, 1).

    Raises:
        ArgumentError: If a number is out of range.

    Shapes: `(N, T, width)` → `(N, T, width)`.
    """

    def __init__(self, layers: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        check_sizes(dropout=dropout, layers=layers, width=width, heads=heads)
        if width % heads:
            raise ArgumentError.of(
                "heads",
                found=f"{heads} for width {width}",
                expected="a divisor of the width",
                mend=f"pass width={heads * (width // heads + 1)}",
            )
        made = (TransformerLayer(width, heads, dropout) for _ in range(layers))
        self.layers = nn.ModuleList(made)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """Transform the positions of each row.

        Args:
            features: `(N, T, width)`.
            known: `(N, T)` bool, False where a position is padding that none attends to; each row
                needs one that is not.
        """
        for layer in self.layers:
            features = layer(features, known)
        normed: Tensor = self.norm(features)
        return normed
