"""Penalties that are a mean over rows, and the further looks that some of them take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fairlightning.functional.rates import mean_scores
from fairlightning.objectives.base import Objective, Step, Term


class RowPenalty(Objective):
    """Base of penalties of individual rows: a weighted mean over them, averaged over parts.

    Attributes:
        parts: Names of the P parts, such as attributes. One without rows takes no part.
    """

    parts: tuple[str, ...]

    @abstractmethod
    def rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Penalty of each row, and where it counts.

        Returns:
            `(..., N, P)` finite values, and `(N, P)` bool. P may be 1 in the first, where the
            parts differ in their rows alone.
        """

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Summed penalty `(..., P)`, and mass and rows `(P,)` of each part."""
        values, counts = self.rows(step)
        mass = counts.to(values.dtype)
        rows = mass.sum(0)
        if step.row_weight is not None:
            mass = mass * step.row_weight.unsqueeze(1).to(mass)
            rows = (mass > 0).sum(0).to(mass)
        return (values * mass).sum(-2), mass.sum(0), rows

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean of each part, averaged over those that have rows."""
        total, mass, rows = sums
        mass, rows = mass.detach(), rows.detach()
        present = (mass > 0).to(mass)
        value = (mean_scores(total, mass) * present).sum(-1) / present.sum(-1).clamp_min(1)
        return Term(value, support=dict(zip(self.parts, rows.unbind(-1), strict=True)))


def turns(number: int, count: int, device: torch.device) -> Tensor:
    """Which of `count` ways each row is looked at, in turn: `(N,)` int64.

    The first is drawn, so that each way is as likely for every row, however few there are.
    """
    first = torch.randint(count, (), device=device)
    return (torch.arange(number, device=device) + first) % count


def second_look(step: Step, inputs: Any) -> Tensor:
    """Logits `(..., N, C)` of other inputs, in the shape of those of the step.

    Layers with running statistics use these, as in evaluation, and learn nothing of what only
    objectives see: the statistics of a batch would follow its rows, and take off what moves them
    all. That needs a `predict` that is a module or a method of one.
    """
    assert step.predict is not None and step.logits is not None
    layers = _learning(step.predict)
    try:
        for layer in layers:
            layer.eval()
        found = step.predict(inputs)
    finally:
        for layer in layers:
            layer.train()
    logits: Tensor = found if isinstance(found, Tensor) else found[0]
    return logits.unsqueeze(-1) if logits.ndim < step.logits.ndim else logits


def first_look(step: Step) -> Tensor:
    """Logits `(..., N, C)` of the step, to be compared with those of a second look."""
    assert step.logits is not None
    return second_look(step, step.inputs) if _learning(step.predict) else step.logits


def _learning(predict: object) -> list[nn.Module]:
    """Layers of a network that use their batch, and keep running statistics of it."""
    network = getattr(predict, "__self__", predict)
    parts = network.modules() if isinstance(network, nn.Module) else ()
    return [
        part
        for part in parts
        if isinstance(part, _NormBase) and part.training and part.track_running_stats
    ]
