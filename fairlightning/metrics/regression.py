"""Regression per group: errors from one state, and distances between distributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.counting import check_slots
from fairlightning.functional.distribution import (
    Distances,
    Histogram,
    binned_distances,
    exact_distances,
    partition_histogram,
    segment_histogram,
)
from fairlightning.functional.moments import cell_groups
from fairlightning.functional.regression import QUANTITIES, regression_moments
from fairlightning.functional.rows import check_column, check_weight
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric
from fairlightning.metrics.moments import GroupMoments


class GroupRegression(GroupMoments):
    """Predictions and errors of a regression by intersection of sensitive values.

    From `compute`, or `of_partition` for the groups of one partition, follow the figures of
    `functional.regression`. They keep their digits where targets are far from zero. On 1,024 rows
    an update takes some 0.5 ms on a CPU.

    Args:
        groups: Sensitive attributes and their categories.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups cannot be used.

    >>> from fairlightning.functional.regression import mean_absolute_error
    >>> metric = GroupRegression({"sex": ["Female", "Male"]})
    >>> sensitive = torch.tensor([[1], [1], [-1]])
    >>> metric.update(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 4.0, 0.0]), sensitive)
    >>> mean_absolute_error(metric.of_partition(("sex",)))
    Rates(rate=tensor([2., 2.], dtype=torch.float64), support=tensor([0, 2]))
    """

    def __init__(self, groups: GroupSpec | Mapping[str, Iterable[object]], **kwargs: Any) -> None:
        super().__init__(groups, len(QUANTITIES), **kwargs)

    def update(
        self, prediction: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Take in the rows of a batch.

        Args:
            prediction: `(N,)` or `(N, 1)` floating-point predictions.
            target: `(N,)` or `(N, 1)` targets.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape, a code or a weight cannot be used. Rows in which prediction
                or target is NaN or infinite do not raise: they are counted as `undefined`.
        """
        prediction, cell, weight = _rows(prediction, sensitive, weight, self.groups)
        target = check_column("target", target, len(prediction))
        size = self.groups.num_cells
        self.add(regression_moments(prediction, target, cell, size, weight))


class GroupDistribution(ExactMetric):
    """Histogram of predictions by intersection of sensitive values, of fixed size.

    For the distances between the groups' distributions, each with a bound of its error; the state
    takes 16 bytes for each bin of each cell.

    Args:
        groups: Sensitive attributes and their categories.
        low: Lower end of the range in which predictions are expected.
        high: Upper end of the range. Predictions outside it are kept, but less precisely.
        bins: Number of bins of equal width in the range.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups or the range cannot be used, or the state would be too large.

    >>> metric = GroupDistribution({"sex": ["Female", "Male"]}, low=0.0, high=10.0)
    >>> metric.update(torch.tensor([2.0, 4.0, 5.0]), torch.tensor([[0], [0], [1]]))
    >>> metric.distances(("sex",)).wasserstein.largest().value
    tensor(2., dtype=torch.float64)
    """

    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        *,
        low: float,
        high: float,
        bins: int = 200,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        if not (isfinite(low) and isfinite(high) and low < high and bins >= 1):
            raise ArgumentError.of(
                "low, high, bins",
                found=(low, high, bins),
                expected="finite low < high, and one bin or more",
                mend="pass the range of the predictions, such as low=0, high=1, bins=200",
            )
        self.low, self.high, self.bins = float(low), float(high), bins
        cells = self.groups.num_cells
        check_slots(cells, 2, bins + 2)
        self.add_state("counts", torch.zeros(2, cells, dtype=torch.long), dist_reduce_fx="sum")
        sums = torch.zeros(2, bins + 2, cells, dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, sensitive: Tensor, weight: Tensor | None = None) -> None:
        """Take in the rows of a batch; see `GroupRegression.update`."""
        prediction, cell, weight = _rows(prediction, sensitive, weight, self.groups)
        histogram = segment_histogram(
            prediction,
            cell,
            self.groups.num_cells,
            low=self.low,
            high=self.high,
            bins=self.bins,
            weight=weight,
        )
        self.counts = self.counts + torch.stack(histogram[2:4])
        self.sums = self.sums + torch.stack(histogram[4:])

    def compute(self) -> Histogram:
        """Return the histogram `(num_cells,)` of all rows so far, over all processes."""
        return Histogram(self.low, self.high, *self.counts, *self.sums)

    def distances(self, partition: Sequence[str]) -> Distances:
        """Return the distances between the groups of a partition; see `binned_distances`.

        It computes, so that under distributed training every process must call it.
        """
        return binned_distances(partition_histogram(self.compute(), self.groups, partition))


class ExactGroupDistribution(ExactMetric):
    """Predictions of all rows, for exact distances between the groups' distributions.

    It keeps 24 bytes a row; see `GroupDistribution` for a state of fixed size, and faster results.

    Args:
        groups: Sensitive attributes and their categories.
        partitions: Attributes or intersections to look at; `GroupSpec.partitions` if not given.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups or a partition cannot be used.

    >>> metric = ExactGroupDistribution({"sex": ["Female", "Male"]})
    >>> metric.update(torch.tensor([2.0, 4.0, 5.0]), torch.tensor([[0], [0], [1]]))
    >>> metric.compute()["sex"].wasserstein.largest().value
    tensor(2., dtype=torch.float64)
    """

    rows: list[Tensor]

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        partitions: Sequence[Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.partitions = tuple(map(tuple, partitions or self.groups.partitions))
        for partition in self.partitions:
            self.groups.axes(partition)
        self.add_state("rows", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the rows, and so of what a process without rows sends."""
        return torch.float64

    def update(self, prediction: Tensor, sensitive: Tensor, weight: Tensor | None = None) -> None:
        """Keep the rows of a batch; see `GroupRegression.update`."""
        prediction, cell, weight = _rows(prediction, sensitive, weight, self.groups)
        mass = torch.ones_like(prediction) if weight is None else weight.double()
        # Flat, since a process without rows sends an empty tensor of one dimension.
        self.rows.append(torch.stack([prediction, mass, cell.double()], dim=1).flatten())

    def compute(self) -> dict[str, Distances]:
        """Return the distances between groups of all rows so far, over all processes.

        By partition, named like `"sex"` or `"sex & race"`; see `exact_distances`.
        """
        empty = torch.empty(0, device=self.device, dtype=self.dtype)
        rows = dim_zero_cat(self.rows) if len(self.rows) else empty
        prediction, weight, cell = rows.view(-1, 3).unbind(1)
        found = {}
        for partition in self.partitions:
            group = cell_groups(self.groups, partition).to(cell.device)[cell.long()]
            size = self.groups.num_groups(partition)
            found[" & ".join(partition)] = exact_distances(prediction, group, size, weight)
        return found


def _rows(
    prediction: Tensor, sensitive: Tensor, weight: Tensor | None, groups: GroupSpec
) -> tuple[Tensor, Tensor, Tensor | None]:
    # Prediction in float64, cell and weight of each row.
    if not prediction.is_floating_point() or prediction.ndim not in (1, 2):
        raise ArgumentError.of(
            "prediction",
            found=f"{prediction.dtype} of shape {tuple(prediction.shape)}",
            expected="floating-point predictions of shape (N,) or (N, 1)",
            mend="pass one prediction for each row",
        )
    rows = len(prediction)
    prediction = check_column("prediction", prediction.detach(), rows).double()
    cell = groups.cell_ids(groups.check(sensitive, rows))
    return prediction, cell, None if weight is None else check_weight(weight, rows)
