"""Combinations: from the task loss and the objectives' terms to one loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.objectives.base import Losses, Term


class WeightedSum(nn.Module):
    """Scalarise by a weighted sum: `task · L_task + Σ λ_i · value_i (+ Σ own_i)`.

    Args:
        task: Weight of the task loss, at least 0; the accuracy side of {accuracy, fairness,
            interpretability}.

    Attributes:
        replaces_weights: Whether the rule sets every weight itself, which leaves no room for
            multipliers: `Fairness` then refuses constraints by name.

    Raises:
        ArgumentError: If the weight is negative.
    """

    replaces_weights: bool = False

    def __init__(self, task: float = 1.0) -> None:
        super().__init__()
        if not task >= 0:
            raise ArgumentError.of(
                "task", found=task, expected="a weight of at least 0", mend="pass task=1.0"
            )
        self.task = float(task)

    def forward(
        self, task_loss: Tensor, terms: Mapping[str, Term], weights: Mapping[str, Tensor]
    ) -> Losses:
        """Combine.

        Args:
            task_loss: `(...)`.
            terms: Terms by name.
            weights: λ in force by name, without gradient.

        Returns:
            The loss with its parts.
        """
        total = task_loss if self.task == 1.0 else self.task * task_loss
        for name, term in terms.items():
            total = torch.addcmul(total, weights[name], term.value)
        loss = total
        for term in terms.values():
            if term.own is not None:
                loss = loss + term.own
        parts = {"task": task_loss.detach()}
        parts |= {name: term.shown.detach() for name, term in terms.items()}
        support = {name: term.support for name, term in terms.items()}
        strict = {name: term.strict for name, term in terms.items() if term.strict is not None}
        return Losses(loss, total.detach(), parts, support, strict)


def mean_task_loss(
    task_loss: Tensor, row_weight: Tensor | None, members: int | None = None
) -> Tensor:
    """Reduce a task loss that was given per row.

    Args:
        task_loss: Scalar, which is returned as it is, or `(N,)`; `(K,)` or `(K, N)` for K models.
        row_weight: `(N,)` weights, or None.
        members: Number K of models trained together; None for one model, without that axis.

    Raises:
        ArgumentError: If it has any other shape.
    """
    reduced = () if members is None else (members,)
    if task_loss.shape == reduced:
        return task_loss
    if task_loss.shape[:-1] != reduced or task_loss.ndim == 0:
        raise ArgumentError.of(
            "task_loss",
            found=f"shape {tuple(task_loss.shape)}",
            expected="a scalar, or one value per row; with K models a leading axis of K",
            mend="average over all other axes",
        )
    if row_weight is None:
        return task_loss.mean(-1)
    mass = row_weight.sum().clamp_min(torch.finfo(task_loss.dtype).tiny)
    return (task_loss * row_weight).sum(-1) / mass
