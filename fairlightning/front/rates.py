"""A learning rate for each member, under one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fairlightning.exceptions import ArgumentError

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


class MemberRates:
    """Make optimizers that move each member by its share of the learning rate.

    The step of SGD, Adam, AdamW and most other optimizers, weight decay included, is a direction
    times the learning rate, and the direction does not depend on the rate. A member whose rate is
    a share s of the group's is thus where it belongs after `old + s · (new − old)`. That is what
    hooks around the optimizer's step do; schedulers change the group's rate, and with it all.
    With line searches and Rprop it is not so, and they are refused.

    Args:
        make: Makes the optimizer.
        shares: One in (0, 1] for each member.
    """

    def __init__(self, make: MakeOptimizer, shares: Sequence[float]) -> None:
        self.make = make
        self.shares = tuple(shares)

    def __call__(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Make the optimizer, whose parameters are `(K, ...)`."""
        optimizer = self.make(groups)
        if isinstance(optimizer, torch.optim.Rprop | torch.optim.LBFGS):
            raise ArgumentError.of(
                "learning_rate",
                found=f"different ones under {type(optimizer).__name__}",
                expected="an optimizer whose step is a direction times the rate",
                mend="pass one learning rate, or AdamW",
            )
        before: list[tuple[Tensor, Tensor]] = []

        def keep(optimizer: Optimizer, *_: Any) -> None:
            before[:] = [
                (parameter, parameter.detach().clone())
                for group in optimizer.param_groups
                for parameter in group["params"]
            ]

        @torch.no_grad()
        def shorten(*_: Any) -> None:
            for new, old in before:
                share = new.new_tensor(self.shares).view(-1, *[1] * (new.ndim - 1))
                new.copy_(torch.lerp(old, new, share))
            before.clear()

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(shorten)
        return optimizer


def with_member_rates(
    make: MakeOptimizer, rates: float | Sequence[float], members: int
) -> tuple[MakeOptimizer, float]:
    """Return what makes the optimizer, and the learning rate that it is to be given.

    Args:
        make: Makes the optimizer.
        rates: Learning rate of all members, or one for each.
        members: Their number K.

    Raises:
        ArgumentError: If there are not K, or several that are not all positive and finite.
    """
    if not isinstance(rates, Sequence):
        return make, rates
    if len(rates) != members or not all(rate > 0 and isfinite(rate) for rate in rates):
        raise ArgumentError.of(
            "learning_rate",
            found=rates,
            expected=f"a number, or {members} greater than 0, one for each member",
            mend="pass learning_rate=1e-3",
        )
    largest = max(rates)
    if min(rates) == largest:
        return make, largest
    return MemberRates(make, [rate / largest for rate in rates]), largest
