"""Gradient reversal: the identity forward, the gradient times −λ backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reverse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        (weight,) = ctx.saved_tensors
        return -weight.to(grad.dtype) * grad, None


def reverse_gradient(x: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Return `x` unchanged; on the way back its gradient is multiplied by `−weight`.

    What is trained behind it learns at full strength, what lies before it learns to defeat that
    (Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", arXiv:1505.07818).

    Args:
        x: Floating-point tensor of any shape.
        weight: λ ≥ 0, a number or a tensor that broadcasts to `x`, so that it may change at every
            step and differ between models trained together.

    Returns:
        A view of `x`.

    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    weight = torch.as_tensor(weight, dtype=torch.float32, device=x.device).detach()
    result: Tensor = _Reverse.apply(x, weight)  # type: ignore[no-untyped-call]
    return result
