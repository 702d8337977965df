"""Gradient reversal: the identity forward, the gradient times −λ backward."""

from __future__ import annotations

import torch
from torch import Tensor


def reverse_gradient(x: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Return `x` unchanged; on the way back its gradient is multiplied by `−weight`.

    What is trained behind it learns at full strength, what lies before it learns to defeat that
    (Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", arXiv:1505.07818).

    Args:
        x: Floating-point tensor of any shape, finite.
        weight: λ ≥ 0, a number or a tensor that broadcasts to `x`, so that it may change at every
            step and differ between models trained together.

    Returns:
        The values of `x`, exactly.

    >>> x = torch.ones(2, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad
    tensor([-0.5000, -0.5000])
    """
    # One plain operation: an autograd Function of one's own, with the rules that vmap needs, takes
    # longer to bind its arguments than a small adversary takes to guess. Between x and x there is
    # only x; what moves along is one end.
    weight = torch.as_tensor(weight, dtype=x.dtype, device=x.device).detach()
    return torch.lerp(x.detach(), x, -weight)
