"""Values of a figure in the groups of a partition, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from fairlightning.exceptions import ArgumentError, FairnessWarning
from fairlightning.functional.criteria import Estimate, WorstGroup, rates_difference, worst_group
from fairlightning.functional.rates import Rates


class GroupValues(NamedTuple):
    """Values of a metric in the groups of a partition.

    Attributes:
        names: The `G` groups, in the order of their ids.
        rows: `(G,)` int64 number of rows of each group.
        unknown: Number of rows that belong to no group, since a value is unknown.
        rates: `(..., G)` float64 values and their support: the rows of the group, or 0 where the
            metric is not estimable, because the group is absent, its value NaN or infinite, or the
            metric refuses its rows. Such a group holds the mean of the others, so that it can
            neither widen nor narrow a gap.
        difference: `(...)` largest difference between two groups; support 0 with fewer than two.
        worst: `(...)` the group that fares worst; None if the metric does not say which way is
            better and `PerGroup` was not told.
    """

    names: tuple[str, ...]
    rows: Tensor
    unknown: int
    rates: Rates
    difference: Estimate
    worst: WorstGroup | None

    @property
    def by_name(self) -> dict[str, Tensor | None]:
        """Value of each group by its name, `(...)`; None where no part of it is estimable."""
        values = zip(*(part.unbind(-1) for part in self.rates), strict=True)
        return {
            name: value if support.any() else None
            for name, (value, support) in zip(self.names, values, strict=True)
        }

    @classmethod
    def of(
        cls,
        computed: Sequence[Any],
        rows: Tensor,
        names: tuple[str, ...],
        unknown: int = 0,
        higher_is_better: bool | None = None,
    ) -> GroupValues:
        """Put the values of groups side by side.

        Args:
            computed: For each group a tensor `(...)`, or None where the group is absent.
            rows: `(G,)` int64 number of rows of each group, 0 where it is absent.
            names: The groups.
            unknown: Number of rows that belong to no group.
            higher_is_better: Whether the lowest value is the worst; None if neither is.

        Raises:
            ArgumentError: If the values are not tensors of one shape.
        """
        rates = _rates(computed, rows)
        worst = None
        if higher_is_better is not None:
            worst = worst_group(rates, higher_is_better=higher_is_better)
        return cls(names, rows, unknown, rates, rates_difference(rates), worst)


def computed_values(
    metrics: Sequence[Metric], sizes: Sequence[int], names: Sequence[str]
) -> list[Any]:
    """Values of the metrics of groups; None without rows, or where a metric refuses those it has.

    Raises:
        ValueError: If all refuse theirs, which has another cause than the rows of one group.
    """
    values = [_value(metric) if n else None for metric, n in zip(metrics, sizes, strict=True)]
    refused = {n: v for n, v in zip(names, values, strict=True) if isinstance(v, ValueError)}
    if refused:
        errors = list(refused.values())
        if len(errors) == sum(map(bool, sizes)):
            raise errors[0]
        warnings.warn(
            f"{type(metrics[0]).__name__} is not estimable in {', '.join(refused)}: {errors[0]} "
            "Mend: look at larger groups.",
            FairnessWarning,
            stacklevel=2,
        )
    return [None if isinstance(value, ValueError) else value for value in values]


def _value(metric: Metric) -> Any:
    try:
        return metric.compute()
    except ValueError as error:
        return error


def _rates(computed: Sequence[Any], rows: Tensor) -> Rates:
    # None for an absent group. (..., G)
    found = [value for value in computed if value is not None]
    shapes = {tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in found}
    if len(shapes) > 1 or any(isinstance(shape, str) for shape in shapes):
        raise ArgumentError.of(
            "metric",
            found=f"values of shapes or types {sorted(map(str, shapes))}",
            expected="one tensor of the same shape in every group",
            mend="choose an average, or thresholds, so that the metric returns one tensor",
        )
    shape = found[0].shape if found else ()
    absent = torch.full(shape, torch.nan, dtype=torch.float64, device=rows.device)
    value = torch.stack([absent if v is None else v.double() for v in computed], dim=-1)
    support = torch.where(value.isfinite(), rows, 0)
    return _filled(value, support)


def _filled(value: Tensor, support: Tensor) -> Rates:
    present = support > 0
    total = torch.where(present, value, 0.0).sum(-1, keepdim=True)
    mean = total / present.sum(-1, keepdim=True).clamp_min(1)
    return Rates(torch.where(present, value, mean), support)
