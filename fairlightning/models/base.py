"""What networks return, and how tables enter them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fairlightning.exceptions import ArgumentError
from fairlightning.models.embeddings import Embedding, make_embedding


class Outputs(NamedTuple):
    """What a network computes; it knows nothing of fairness.

    Attributes:
        logits: `(N, C)`, C = 1 for a binary target; of a regression the predictions.
        representation: `(N, H)`, what enters the last layer.
    """

    logits: Tensor
    representation: Tensor


class EnsembleOutputs(NamedTuple):
    """What an ensemble computes: its own decision first, so that fairness is that of the ensemble.

    Training minimises the mean task loss of the members, each by itself: the loss of the averaged
    decision would let them rely on each other. Everything else (objectives of fairness, validation,
    prediction) sees `logits` only.

    Attributes:
        logits: `(N, 1)`, those of the members' mean probability.
        representation: `(N, M·H)`, what enters the last layers of all members, side by side: what
            one member knows of the group, the ensemble knows.
        members: `(N, M)` logits of the M members.
    """

    logits: Tensor
    representation: Tensor
    members: Tensor


def mean_probability(members: Tensor) -> Tensor:
    """Logit of the mean probability of M members, without overflow.

    Shapes: `(N, M)` → `(N, 1)`.

    >>> mean_probability(torch.tensor([[0.0, 0.0], [90.0, -90.0]]))
    tensor([[0.],
            [0.]])
    """
    positive = torch.logsumexp(logsigmoid(members), -1, keepdim=True)
    negative = torch.logsumexp(logsigmoid(-members), -1, keepdim=True)
    return positive - negative


def check_sizes(*, dropout: float = 0.0, **sizes: int) -> None:
    """Check the numbers that make up a network.

    Raises:
        ArgumentError: If one of `sizes` is below 1, or `dropout` outside of [0, 1).
    """
    wrong = {name: size for name, size in sizes.items() if size < 1}
    if not 0 <= dropout < 1:
        wrong["dropout"] = dropout  # type: ignore[assignment]
    if wrong:
        raise ArgumentError.of(
            ", ".join(wrong),
            found=", ".join(map(str, wrong.values())),
            expected="sizes ≥ 1, dropout in [0, 1)",
            mend="check the model's configuration",
        )


def check_columns(numeric: int, cardinalities: Sequence[int]) -> None:
    """Check that a table has columns.

    Raises:
        ArgumentError: If there is none, or a number is out of range.
    """
    if not numeric + len(cardinalities) or numeric < 0 or min(cardinalities, default=1) < 1:
        raise ArgumentError.of(
            "numeric, cardinalities",
            found=f"{numeric}, {list(cardinalities)}",
            expected="at least one input column, each categorical one with at least one code",
            mend="check the columns of the data set",
        )


def code_offsets(cardinalities: Sequence[int]) -> Tensor:
    """Position of each categorical column's first code among those of all columns, `(F,)`."""
    starts = [sum(cardinalities[:i]) for i in range(len(cardinalities))]
    return torch.tensor(starts, dtype=torch.long)


class TabularEncoder(nn.Module):
    """Numeric columns, as they are or embedded, beside one-hot codes of the categorical ones.

    Args:
        numeric: Number of numeric columns `D`.
        cardinalities: Number of codes of every categorical column, the unknown one included.
        embedding: Of the numeric columns: `none`, `piecewise_linear` or `periodic`, or a mapping
            with options; see `make_embedding`.

    Attributes:
        widths: Number of features that each column becomes, numeric columns first.

    Raises:
        ArgumentError: If there is no column.

    Shapes: `(N, D)` float and `(N, F)` int64 → `(N, out_features)`. In place of codes it takes a
    share of each code, `(N, ΣC)` float, of which a code is the case of a single one: so a network
    can be differentiated along categorical columns.
    """

    offsets: Tensor

    def __init__(
        self, numeric: int, cardinalities: Sequence[int], embedding: Embedding = "none"
    ) -> None:
        super().__init__()
        check_columns(numeric, cardinalities)
        self.embedding = make_embedding(embedding, numeric)
        width = 1 if self.embedding is None else self.embedding.width
        self.widths = [*[width] * numeric, *cardinalities]
        self.num_codes = sum(cardinalities)
        self.out_features = sum(self.widths)
        self.register_buffer("offsets", code_offsets(cardinalities), persistent=False)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Encode a batch."""
        numeric, categorical = inputs
        if self.embedding is not None:
            numeric = self.embedding(numeric).flatten(1)
        if not self.num_codes:
            return numeric
        if not categorical.is_floating_point():
            hot = numeric.new_zeros(len(categorical), self.num_codes)
            categorical = hot.scatter(1, categorical + self.offsets, 1.0)
        return torch.cat([numeric, categorical], dim=1)
