"""Regression per group: predictions, errors, and how far groups lie apart in them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fairlightning.exceptions import check_choice
from fairlightning.functional.criteria import WorstGroup, worst_group
from fairlightning.functional.moments import (
    Moments,
    mean_rates,
    segment_moments,
    standard_errors,
)
from fairlightning.functional.rates import Rates

QUANTITIES = (
    "prediction",
    "target",
    "residual",
    "absolute_residual",
    "squared_residual",
)
"""What is averaged over rows, in the order of the moments; a residual is prediction − target."""


def regression_moments(
    prediction: Tensor,
    target: Tensor,
    cell: Tensor,
    num_cells: int,
    weight: Tensor | None = None,
) -> Moments:
    """Pool the rows of a regression to cells.

    Everything is computed in float64 from the values as they come: residuals of float32 values
    around 1e8 are exact, but those values themselves lie 8 apart.

    Args:
        prediction: `(..., N)` floating-point predictions.
        target: `(N,)` targets.
        cell: `(N,)` int64 ids in `[0, num_cells)`, such as `GroupSpec.cell_ids` gives.
        num_cells: Number of cells `M`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(..., M)` moments of the five `QUANTITIES`.
    """
    prediction = prediction.detach().double()
    target = target.detach().double().expand(prediction.shape)
    residual = prediction - target
    values = [prediction, target, residual, residual.abs(), residual.square()]
    return segment_moments(torch.stack(values, dim=-2), cell, num_cells, weight)


def mean_prediction(moments: Moments) -> Rates:
    """Mean prediction of every group.

    Args:
        moments: `(..., G)` moments of the five `QUANTITIES`.

    Returns:
        `(..., G)` float64 figures in units of the target, and int64 support; see `mean_rates`.
    """
    return mean_rates(moments, 0)


def mean_target(moments: Moments) -> Rates:
    """Mean target of every group; see `mean_prediction`."""
    return mean_rates(moments, 1)


def mean_residual(moments: Moments) -> Rates:
    """Mean of prediction − target of every group: above 0 where it is overrated.

    See `mean_prediction`.
    """
    return mean_rates(moments, 2)


def mean_absolute_error(moments: Moments) -> Rates:
    """Mean absolute error of every group; see `mean_prediction`."""
    return mean_rates(moments, 3)


def root_mean_squared_error(moments: Moments) -> Rates:
    """Root of the mean squared error of every group; see `mean_prediction`."""
    squared = mean_rates(moments, 4)
    return Rates(squared.rate.clamp_min(0.0).sqrt(), squared.support)


FIGURES: dict[str, Callable[[Moments], Rates]] = {
    "mean_prediction": mean_prediction,
    "mean_target": mean_target,
    "mean_residual": mean_residual,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}
"""Figures of every single group."""


def figure_errors(moments: Moments, figure: str) -> Tensor:
    """Standard error of a figure in every group.

    Args:
        moments: `(..., G)` moments of the five `QUANTITIES`.
        figure: One of `FIGURES`.

    Returns:
        `(..., G)` float64 in units of the target, infinite where it is not estimable. That of the
        root mean squared error follows from that of the mean square by the delta method.

    Raises:
        ArgumentError: If there is no such figure.
    """
    quantity = list(FIGURES).index(check_choice("figure", figure, FIGURES))
    error = standard_errors(moments, quantity)
    if figure != "root_mean_squared_error":
        return error
    root = root_mean_squared_error(moments).rate
    # Without any residual the mean square does not vary either.
    return torch.where(root > 0, error / (2 * root).clamp_min(1e-300), error)


def worst_figure(moments: Moments, figure: str) -> WorstGroup:
    """Name the group with the largest error, or with the mean residual farthest from 0.

    Args:
        moments: `(..., G)` moments of the five `QUANTITIES`.
        figure: `"mean_residual"`, `"mean_absolute_error"` or `"root_mean_squared_error"`.

    Raises:
        ArgumentError: If it is another, neither end of which is worse in itself.
    """
    rates = FIGURES[check_choice("figure", figure, tuple(FIGURES)[2:])](moments)
    worst = worst_group(Rates(rates.rate.abs(), rates.support), higher_is_better=False)
    signed = rates.rate.gather(-1, worst.group.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return worst._replace(value=signed)
