"""The continuous sensitive attributes of a dependence penalty: sums, and the value made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from fairlightning.functional.continuous import (
    DEVIATIONS,
    GRID,
    contingency_from_sums,
    hsic_of_values,
    pearson_from_sums,
    product_moments,
    soft_bins,
)
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, criterion_cells
from fairlightning.functional.rates import mean_scores, segment_sums

ValueMeasure = Literal["correlation", "hsic", "hgr"]
VALUE_MEASURES: tuple[ValueMeasure, ...] = ("correlation", "hsic", "hgr")
"""Measures of dependence that a continuous attribute has."""


class Values:
    """Dependence of scores on one continuous attribute, under the conditions of a criterion.

    Args:
        axis: Position among the continuous attributes.
        measure: One of `VALUE_MEASURES`.
        criterion: Over which rows.
    """

    def __init__(self, axis: int, measure: ValueMeasure, criterion: Criterion) -> None:
        self.axis = axis
        self.measure = measure
        self.criterion = criterion
        self.conditions = NUM_CONDITIONS[criterion]

    def sums(
        self,
        scores: Tensor,
        target: Tensor,
        continuous: Tensor,
        weight: Tensor | None,
        ends: tuple[float, float],
        bandwidth: float,
    ) -> tuple[Tensor, ...]:
        """Additive sums, flat from the axis of the classes on.

        Args:
            scores: `(..., C, N)`.
            target: `(N,)`.
            continuous: `(N, B)`, NaN for unknown.
            weight: `(N,)` or None.
            ends: Grid of the scores.
            bandwidth: Of the scores.

        Returns:
            Sums `(..., C·S)`, the mass of the batch `()`, and rows by condition `(M,)`.
        """
        value = continuous[:, self.axis].to(scores.dtype)
        known = ~value.isnan()
        value = torch.where(known, value, 0.0)
        cell = criterion_cells(self.criterion, target, torch.where(known, 0, -1), 1)
        mass = scores.new_ones(scores.shape[-1]) if weight is None else weight.to(scores.dtype)
        rows = segment_sums((mass > 0).to(scores.dtype), cell, self.conditions)
        if self.measure == "hsic":
            found = [
                hsic_of_values(
                    scores, value, torch.where(cell == c, mass, 0.0), bandwidth=bandwidth
                )
                for c in range(self.conditions)
            ]
            return torch.stack(found, -1).flatten(-2) * mass.sum(), mass.sum(), rows
        if self.measure == "correlation":
            moments = product_moments(scores, value, mass)
        else:
            one, other = soft_bins(scores, ends), soft_bins(value, DEVIATIONS) * mass
            moments = (one.unsqueeze(-2) * other).flatten(-3, -2)
        # The class, then what is summed, then the condition.
        return segment_sums(moments, cell, self.conditions).flatten(-3), mass.sum(), rows

    def value(self, sums: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Value `(...)`, a mean over classes and the conditions with rows, and rows `(M, 1)`."""
        total, mass, rows = sums
        if self.measure == "hsic":
            found = mean_scores(total, mass.detach()).unflatten(-1, (-1, self.conditions))
        else:
            size = 6 if self.measure == "correlation" else GRID * GRID
            of = total.unflatten(-1, (-1, size, self.conditions)).transpose(-1, -2)
            if self.measure == "correlation":
                found = pearson_from_sums(of)
            else:
                found = contingency_from_sums(of.unflatten(-1, (GRID, GRID)))
        kept = (rows.detach() > 1).to(found.dtype)
        mean = (found * kept).sum(-1) / kept.sum(-1).clamp_min(1)
        return mean.mean(-1), rows.detach().unsqueeze(-1)
