"""The one place in which objectives cross ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # Every rank computes the same loss from the same sums, and DDP averages what each rank
        # sends back: summing here cancels that average, so the gradient of one process results.
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def world_size() -> int:
    """Number of ranks of the default process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor over all ranks, with the gradient that suits DDP's averaging.

    Every rank must call it, whatever its batch holds; without a process group it returns `x`.

    Args:
        x: Tensor of the same shape on all ranks.

    Returns:
        The sum, on every rank.
    """
    if world_size() == 1:
        return x
    total: Tensor = _SumOverRanks.apply(x)  # type: ignore[no-untyped-call]
    return total


def same_on_all_ranks(x: Tensor) -> Tensor:
    """Give all ranks what the first one has, in place and without gradient.

    Args:
        x: Tensor of the same shape on all ranks.

    Returns:
        `x`, as it is on rank 0.
    """
    if world_size() > 1:
        dist.broadcast(x, 0)
    return x
