"""From the probabilities of a soft tree's leaves back to what its nodes do."""

from __future__ import annotations

import torch
from torch import Tensor


def routes(leaves: Tensor) -> tuple[Tensor, Tensor]:
    """How much every node of complete binary trees receives, and passes on to the right.

    It is linear: sums over rows give sums over rows.

    Args:
        leaves: `(..., 2^D)` probabilities with which the leaves are reached, from left to right.

    Returns:
        Two tensors `(..., 2^D − 1)`, nodes level by level: what reaches a node, and what reaches
        its right child.

    >>> routes(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    (tensor([1.0000, 0.3000, 0.7000]), tensor([0.7000, 0.2000, 0.4000]))
    """
    reach: list[Tensor] = []
    right: list[Tensor] = []
    while leaves.shape[-1] > 1:
        pair = leaves.unflatten(-1, (-1, 2))
        leaves = pair.sum(-1)
        reach.insert(0, leaves)
        right.insert(0, pair[..., 1])
    return torch.cat(reach, -1), torch.cat(right, -1)
