"""How well scores rank: the area under the ROC curve."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from fairlightning.functional.rows import (
    binary_logits,
    check_column,
    check_target,
    check_weight,
    positive_scores,
)
from fairlightning.metrics.base import ExactMetric


def auroc(score: Tensor, positive: Tensor, weight: Tensor | None = None) -> Tensor:
    """Area under the ROC curve: P(a positive scores above a negative), ties counting half.

    Args:
        score: `(N,)` scores.
        positive: `(N,)` bool labels.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `()` float64 in [0, 1]; NaN where it is not estimable: with one class only, or NaN scores.

    >>> auroc(torch.tensor([0.1, 0.4, 0.4]), torch.tensor([False, False, True])).item()
    0.75
    """
    score, order = score.sort(descending=True)
    positive = positive[order]
    mass = torch.ones_like(score) if weight is None else weight[order]
    # One corner of the curve after each run of equal scores.
    corner = torch.ones_like(positive)
    corner[:-1] = score[1:] != score[:-1]
    hits, alarms = (
        torch.cat([mass.new_zeros(1).double(), total[corner]])
        for total in (
            torch.where(positive, mass, 0).cumsum(0, dtype=torch.float64),
            torch.where(positive, 0, mass).cumsum(0, dtype=torch.float64),
        )
    )
    area = torch.trapezoid(hits, alarms) / (hits[-1] * alarms[-1])
    return torch.where(score.isnan().any(), torch.nan, area)


class AUROC(ExactMetric):
    """Area under the ROC curve of logits, over all rows, batches and processes.

    It keeps 12 bytes a row, logits and weights in float32. Unlike torchmetrics' `BinaryAUROC` it
    weighs rows, takes logits for logits even if all of a batch lie in [0, 1], keeps scores apart
    that float32 would round to 1, and allows a process without rows.

    Args:
        **kwargs: Passed on to `torchmetrics.Metric`.
    """

    higher_is_better = True

    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Keep the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class.
            target: `(N,)` labels 0 and 1.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape cannot be used; labels and weights are checked by `compute`.
        """
        logit = binary_logits(logits).float()
        size = len(logit)
        positive = check_column("target", target, size).float()
        mass = torch.ones_like(logit)
        if weight is not None:
            mass = check_column("weight", weight.detach(), size).float()
        # Flat, since a process without rows sends an empty tensor of one dimension.
        self.rows.append(torch.stack([logit, positive, mass], dim=1).flatten())

    def compute(self) -> Tensor:
        """Return the area, `()` float64; NaN where it is not estimable.

        Raises:
            ArgumentError: If a label is not 0 or 1, or a weight negative or NaN.
        """
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0, device=self.device)
        logit, target, mass = rows.view(-1, 3).unbind(1)
        size = len(logit)
        return auroc(positive_scores(logit), check_target(target, size), check_weight(mass, size))
