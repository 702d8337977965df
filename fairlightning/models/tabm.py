"""TabM: many multilayer perceptrons in one, with most of their weights in common."""

from __future__ import annotations

from collections.abc import Sequence

from tabm import EnsembleView, LinearEnsemble, make_tabm_backbone
from torch import Tensor, nn

from fairlightning.models.base import (
    EnsembleOutputs,
    TabularEncoder,
    check_sizes,
    mean_probability,
)
from fairlightning.models.embeddings import Embedding


class TabM(nn.Module):
    """An ensemble of M multilayer perceptrons that share all but a few weights.

    From Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with
    parameter-efficient ensembling" (ICLR 2025); the layers are those of `tabm`. Each member scales
    the inputs and outputs of the shared layers by weights of its own and has a last layer of its
    own. What is trained and what is fair: see `EnsembleOutputs`.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        members: Number M of perceptrons.
        layers: Number of hidden layers.
        width: Units of each.
        dropout: Share of units dropped in training, in [0, 1).
        embedding: Of the numeric columns, for all members; see `TabularEncoder`.

    Attributes:
        sizes: Number of features of `logits` and `representation`, M·width.

    Raises:
        ArgumentError: If a number is out of range.

    >>> import torch
    >>> network = TabM(2, [3], members=4, width=8)
    >>> logits, representation, members = network((torch.zeros(5, 2), torch.ones(5, 1).long()))
    >>> logits.shape, representation.shape, members.shape
    (torch.Size([5, 1]), torch.Size([5, 32]), torch.Size([5, 4]))
    """

    tasks = ("binary",)  # it decides by the mean probability of one class

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        members: int = 16,
        layers: int = 2,
        width: int = 128,
        dropout: float = 0.1,
        embedding: Embedding = "none",
    ) -> None:
        super().__init__()
        check_sizes(dropout=dropout, members=members, layers=layers, width=width)
        self.encoder = TabularEncoder(numeric, cardinalities, embedding)
        self.view = EnsembleView(k=members)
        self.body = make_tabm_backbone(
            d_in=self.encoder.out_features,
            n_blocks=layers,
            d_block=width,
            dropout=dropout,
            k=members,
            # As the paper advises: one random scale for all features of a column.
            start_scaling_init="random-signs" if self.encoder.embedding is None else "normal",
            start_scaling_init_chunks=self.encoder.widths,
        )
        self.output = LinearEnsemble(width, 1, k=members)
        self.sizes = {"logits": 1, "representation": members * width}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> EnsembleOutputs:
        """Compute logits `(N, 1)`, representation `(N, M·width)` and members' logits `(N, M)`."""
        features = self.body(self.view(self.encoder(inputs)))
        members = self.output(features).squeeze(-1)
        return EnsembleOutputs(mean_probability(members), features.flatten(1), members)
