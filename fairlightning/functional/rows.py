"""Rows as metrics take them: scores from logits, and the checks that keep counts right."""

from __future__ import annotations

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError


def positive_scores(logits: Tensor) -> Tensor:
    """Probability of the positive class, from logits and never anything else.

    In float64, so that distinct float32 logits up to ±36 keep distinct scores: in float32 all above
    17 tie at 1. Whoever saves scores should save these; the decisions and the AUROC taken from
    them are then exactly those of the metrics.

    Args:
        logits: `(N,)` or `(N, 1)` logits.

    Returns:
        `(N,)` float64 in [0, 1].

    Raises:
        ArgumentError: If the shape is another.
    """
    return torch.sigmoid(binary_logits(logits).double())


def binary_logits(logits: Tensor) -> Tensor:
    """Return the logits as `(N,)` without gradient, after checking their shape and type.

    Raises:
        ArgumentError: If they are not floating-point of shape `(N,)` or `(N, 1)`.
    """
    if logits.ndim == 2 and logits.shape[1] == 1:
        logits = logits[:, 0]
    if logits.ndim != 1 or not logits.is_floating_point():
        raise ArgumentError.of(
            "logits",
            found=f"{logits.dtype} of shape {tuple(logits.shape)}",
            expected="floating-point logits of shape (N,) or (N, 1), for a binary target",
            mend="pass the one logit of the positive class, before any sigmoid",
        )
    return logits.detach()


def check_column(argument: str, values: Tensor, rows: int) -> Tensor:
    """Return one value for each row as `(N,)`; `(N, 1)` is accepted.

    Raises:
        ArgumentError: If the shape is another.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (rows,):
        raise ArgumentError.of(
            argument,
            found=f"shape {tuple(values.shape)}",
            expected=f"({rows},): one value for each logit",
            mend="pass the values of the same batch as the logits",
        )
    return values


def check_target(target: Tensor, rows: int) -> Tensor:
    """Return the labels as `(N,)` bool after checking them.

    Args:
        target: `(N,)` or `(N, 1)` labels 0 and 1, of any type.
        rows: Number of rows `N` that there must be.

    Raises:
        ArgumentError: If the shape or a label is another. Off the CPU labels are asserted on the
            device, without waiting for it.
    """
    return check_labels(target, rows) == 1


def check_labels(target: Tensor, rows: int) -> Tensor:
    """Return the labels as `(N,)`, of the type they had; else as `check_target`."""
    target = check_column("target", target, rows)
    if not _all_labels(target):
        raise ArgumentError.of(
            "target",
            found=f"labels from {target.min().item()} to {target.max().item()}",
            expected="0 or 1 in every row",
            mend="code the positive class as 1 and the other as 0",
        )
    return target


def _all_labels(target: Tensor) -> bool:
    if target.dtype == torch.long and target.device.type == "cpu" and len(target):
        low, high = target.aminmax()  # half the time of two comparisons, in every training step
        return low.item() >= 0 and high.item() <= 1
    return _holds((target == 0) | (target == 1))


def check_weight(weight: Tensor, rows: int) -> Tensor:
    """Return the row weights as `(N,)` after checking that all are at least 0 and finite.

    Integers and booleans become float32, since masses are divided by.

    Raises:
        ArgumentError: If the shape or a weight is another; see `check_target`.
    """
    weight = check_column("weight", weight.detach(), rows)
    weight = weight if weight.is_floating_point() else weight.float()
    if not _holds((weight >= 0) & (weight < torch.inf)):
        raise ArgumentError.of(
            "weight",
            found=f"weights from {weight.min().item()} to {weight.max().item()}",
            expected="0 or more and finite in every row",
            mend="drop the rows, or give them the weight 0",
        )
    return weight


def check_standardised(argument: str, values: Tensor, mend: str) -> None:
    """Refuse values in raw units: of at least 8, nine in ten lie more than 5 from 0.

    Of values with mean 0 and standard deviation 1 at most 1 in 25 does (Chebyshev's inequality),
    however skewed they are.

    Args:
        argument: Name of the argument, for the message.
        values: `(N,)` or `(N, B)`, NaN for unknown.
        mend: How they are brought there, for the message.

    Raises:
        ArgumentError: If a column is in raw units, or a value infinite; see `check_target`.
    """
    known, far = (~values.isnan()).sum(0), (values.abs() > 5).sum(0)
    if not _holds(~values.isinf().any(0) & ((known < 8) | (10 * far < 9 * known))):
        low, high = values[~values.isnan()].aminmax()
        raise ArgumentError.of(
            argument,
            found=f"values from {low:g} to {high:g}",
            expected="finite ones, of mean 0 and standard deviation 1 over the training rows",
            mend=mend,
        )


def check_threshold(threshold: float) -> float:
    """Return the threshold after checking that it lies strictly between 0 and 1.

    Raises:
        ArgumentError: If it does not.
    """
    if not 0 < threshold < 1:
        raise ArgumentError.of(
            "threshold",
            found=threshold,
            expected="a probability strictly between 0 and 1",
            mend="pass 0.5; the threshold applies to the score, not to the logit",
        )
    return float(threshold)


def _holds(condition: Tensor) -> bool:
    fine = condition.all()
    if fine.device.type == "cpu":
        return bool(fine)
    torch._assert_async(fine)
    return True
