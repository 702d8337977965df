"""Running group rates: the value from many batches, the gradient from the newest.

A group of 2 % has one row in a batch of 64, or none: its rate in the batch says nothing, and a
constraint on it would be driven by chance. The rates here are those of an exponentially fading
memory of group sums; only their gradient comes from the batch at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.functional.rates import rates_from_sums

MOMENTS = 4
"""Rows of a memory: Σ soft, Σ hard, Σ weight, number of rows; its last column holds all rows."""


class RunningRates(NamedTuple):
    """Rates of a memory.

    Attributes:
        soft: `(..., K)` mean soft score per cell.
        hard: `(..., K)` rate of decisions per cell, without gradient.
        support: `(..., K)` rows behind each rate, faded like the sums; 0: never seen.
    """

    soft: Tensor
    hard: Tensor
    support: Tensor


def cell_moments(soft: Tensor, hard: Tensor, weight: Tensor | None) -> Tensor:
    """Stack the moments of each row that a memory sums per cell.

    Args:
        soft: `(..., N)` soft scores.
        hard: `(..., N)` decisions 0 or 1.
        weight: `(N,)` row weights, or None where each row counts once.

    Returns:
        `(..., 4, N)`, rows as in `MOMENTS`. A row of weight 0 does not count as a row.
    """
    mass = torch.ones_like(soft) if weight is None else torch.ones_like(soft) * weight
    return torch.stack([soft * mass, hard * mass, mass, (mass > 0).to(soft.dtype)], -2)


def remember(memory: Tensor, sums: Tensor, rows: float | None) -> Tensor:
    """Fade a memory by the rows of a batch and add the batch.

    What was seen `rows` rows ago counts 1/e, so the memory means the same at every batch size.

    Args:
        memory: `(..., 4, K + 1)` memory; zeros when nothing has been seen.
        sums: `(..., 4, K + 1)` sums of the batch, of which the last column holds its rows.
        rows: Length of the memory in rows; None: only the batch counts.

    Returns:
        The new memory.

    >>> old, batch = torch.zeros(4, 2), torch.full((4, 2), 10.0)
    >>> remember(old, batch, 100.0)[0, 0].item()
    10.0
    """
    if rows is None:
        return sums
    return memory * torch.exp(-sums[..., -1:, -1:] / rows) + sums


def memory_rates(memory: Tensor) -> RunningRates:
    """Rates of a memory, without gradient.

    Args:
        memory: `(..., 4, K + 1)`, as `remember` returns it.
    """
    memory = memory.detach()
    rates = rates_from_sums(memory[..., :2, :-1], memory[..., 2:3, :-1])
    soft, hard = rates.rate.unbind(-2)
    return RunningRates(soft, hard, memory[..., 3, :-1])


def running_rates(memory: Tensor, sums: Tensor) -> RunningRates:
    """Rates of a memory, with the gradient of the batch that was added last.

    The gradient of a group's rate is ∇r = E[1_g ∇s] / P(g) over rows. Differentiating the memory
    itself would give only the batch's share of it, about N / (rows of the memory), and with it a
    penalty that all but vanishes; dividing by the batch's own n_g is undefined without rows of g,
    and of a variance like 1/n_g. Instead the sum over the batch is divided by the rows that g has
    in a batch of this size on average, N · P̂(g), with P̂(g) the group's share of the memory. The
    mean over all batches, those without the group included, is then ∇r up to the error of P̂(g)
    (of the order 1 / rows of g in the memory). With nothing but the batch in the memory this is
    the plain gradient of the batch's rate.

    Args:
        memory: `(..., 4, K + 1)` memory with the batch in it, as `remember` returns it.
        sums: `(..., 4, K + 1)` sums of the batch, differentiable.

    Returns:
        Rates per cell, of which the soft ones have a gradient.
    """
    rates = memory_rates(memory)
    memory = memory.detach()
    tiny = torch.finfo(memory.dtype).tiny
    share = memory[..., 2, :-1] / memory[..., 3, -1:].clamp_min(tiny)
    expected = (sums[..., 3, -1:].detach() * share).clamp_min(tiny)
    batch = sums[..., 0, :-1]
    return rates._replace(soft=rates.soft + (batch - batch.detach()) / expected)
