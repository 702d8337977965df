"""Combinations: from the task loss and the objectives' terms to one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import mean_scores
from fairlightning.objectives.base import Constraint, Losses, Objective, Term


class Combination(nn.Module):
    """Base of rules that make one loss of the task's and the objectives': total + Σ own_i.

    Args:
        task: Weight of the task loss, at least 0; the accuracy side of {accuracy, fairness,
            interpretability}.

    Attributes:
        replaces_weights: Whether the rule decides how much each term counts. λ then only scales
            the objective's value, and objectives that need a weight of their own are refused:
            constraints, and adversaries, whose λ sits inside the gradient reversal.
        requires: Fields of `Step` that the rule needs beside those of the objectives.
        stackable: Whether it works for several models trained together.
        in_units_of_the_loss: Names of its numbers that have to be multiplied along with the λ of
            all objectives for the loss to be multiplied by the same.

    Raises:
        ArgumentError: If the weight is negative or not finite.
    """

    replaces_weights: bool = False
    requires: tuple[str, ...] = ()
    stackable: bool = True
    in_units_of_the_loss: tuple[str, ...] = ("task",)

    def __init__(self, task: float = 1.0) -> None:
        super().__init__()
        if not 0 <= task < inf:
            raise ArgumentError.of(
                "task", found=task, expected="a finite weight of at least 0", mend="pass task=1.0"
            )
        self.task = float(task)

    def task_weight(self, weights: Mapping[str, Tensor]) -> float | Tensor:
        """Weight of the task loss: `task`, times `weights["task"]` `(K,)` where members differ."""
        return self.task * weights["task"] if "task" in weights else self.task

    def check(self, name: str, objective: Objective) -> None:
        """Refuse an objective whose weight the rule cannot take over.

        Raises:
            ArgumentError: Naming the rule and the objective.
        """
        kind = "constraint" if isinstance(objective, Constraint) else "objective"
        if self.replaces_weights and objective.weighs_itself:
            raise ArgumentError.of(
                "combination",
                found=f"{type(self).__name__} with the {kind} {name!r}",
                expected="a combination that keeps each objective's own weight",
                mend=f"use WeightedSum(), or a ParityPenalty in place of the {kind}",
            )

    def total(
        self, task_loss: Tensor, terms: Mapping[str, Term], weights: Mapping[str, Tensor]
    ) -> Tensor:
        """What is shown as the total: one loss of the values, without private losses.

        It is `task · L_task + Σ λ_i · value_i`, unless a rule has a loss of its own.
        """
        task = self.task_weight(weights)
        total = task_loss if isinstance(task, float) and task == 1.0 else task * task_loss
        for name, term in terms.items():
            total = torch.addcmul(total, weights[name], term.value)
        return total

    def minimised(
        self,
        total: Tensor,
        task_loss: Tensor,
        terms: Mapping[str, Term],
        weights: Mapping[str, Tensor],
        parameters: Sequence[Tensor] | None,
    ) -> Tensor:
        """What the network minimises; the total, unless a rule drives it otherwise."""
        return total

    def forward(
        self,
        task_loss: Tensor,
        terms: Mapping[str, Term],
        weights: Mapping[str, Tensor],
        parameters: Sequence[Tensor] | None = None,
    ) -> Losses:
        """Combine.

        Args:
            task_loss: `(...)`.
            terms: Terms by name.
            weights: λ in force by name, without gradient; under `task` its strengths, if given.
            parameters: The network's, for rules that require them.

        Returns:
            The loss with its parts.
        """
        total = self.total(task_loss, terms, weights)
        loss = self.minimised(total, task_loss, terms, weights, parameters)
        for term in terms.values():
            if term.own is not None:
                loss = loss + term.own
        parts = {"task": task_loss.detach()}
        parts |= {name: term.shown.detach() for name, term in terms.items()}
        support = {name: term.support for name, term in terms.items()}
        strict = {name: term.strict for name, term in terms.items() if term.strict is not None}
        return Losses(loss, total.detach(), parts, support, strict)


class WeightedSum(Combination):
    """Scalarise by a weighted sum: `task · L_task + Σ λ_i · value_i (+ Σ own_i)`.

    Args:
        task: Weight of the task loss, at least 0.

    Raises:
        ArgumentError: If the weight is negative.
    """


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
    weighted = task_loss * row_weight
    return mean_scores(weighted.sum(-1), row_weight.sum().to(weighted.dtype))
