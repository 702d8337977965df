"""Decision trees with soft oblique splits, trained by gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.routes import routes
from fairlightning.models.base import Outputs, TabularEncoder, check_sizes
from fairlightning.models.embeddings import Embedding


class SoftForest(nn.Module):
    """Trees in which a row goes both ways at every node, with probabilities that add up to 1.

    After Irsoy, Yildiz and Alpaydin, "Soft decision trees" (ICPR 2012), and Kontschieder et al.,
    "Deep neural decision forests" (ICCV 2015). Each inner node routes by the sigmoid of a linear
    function of all columns; a leaf is reached with the product of the probabilities on its way, and
    adds its value times that to the logit. The representation holds these probabilities of leaves,
    from which `routes` brings back how each node routes: so what is fair about the representation
    is fair about the splits. Trees learn faster at a learning rate of 0.01 than at 0.001.

    Args:
        numeric: Number of numeric columns.
        cardinalities: Number of codes of every categorical column.
        trees: Number T of trees; 1 for a single tree.
        depth: Number of splits ≥ 1 on the way to a leaf, at most 12.
        embedding: Of the numeric columns; see `TabularEncoder`.
        outputs: Outputs of a row: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`, T · 2^depth, and of `trees`.

    Raises:
        ArgumentError: If there is no column, or a number is out of range.
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        trees: int = 16,
        depth: int = 4,
        embedding: Embedding = "none",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, trees=trees, depth=depth)
        if depth > 12:
            raise ArgumentError.of(
                "depth", found=depth, expected="at most 12", mend="pass more trees instead"
            )
        self.encoder = TabularEncoder(numeric, cardinalities, embedding)
        self.trees = trees
        self.depth = depth
        self.gates = nn.Linear(self.encoder.out_features, trees * (2**depth - 1))
        leaves = trees * 2**depth
        self.output = nn.Linear(leaves, outputs)
        # At first a row reaches all leaves, whose values largely cancel: small ones learn slowly.
        nn.init.normal_(self.output.weight)
        self.sizes = {"logits": outputs, "representation": leaves, "trees": trees}

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, T · 2^depth)`."""
        gates = self.gates(self.encoder(inputs)).sigmoid()
        gates = gates.unflatten(1, (self.trees, 2**self.depth - 1))
        reached = torch.ones_like(gates[..., :1])
        for level in range(self.depth):
            right = gates[..., 2**level - 1 : 2 ** (level + 1) - 1]
            reached = torch.stack([reached * (1 - right), reached * right], -1).flatten(-2)
        leaves = reached.flatten(1)
        return Outputs(self.output(leaves), leaves)

    def routes(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each row every node receives, and passes on to the right.

        Args:
            representation: `(N, T · 2^depth)` probabilities of leaves, as `forward` returns them.

        Returns:
            Two tensors `(N, T, 2^depth − 1)`, nodes level by level: the probability with which a
            row reaches a node, and that with which it reaches the node's right child.
        """
        return routes(representation.unflatten(-1, (self.trees, 2**self.depth)))
