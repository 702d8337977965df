"""Individual fairness over all rows: consistency with neighbours, and flips of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.individual import (
    check_features,
    check_neighbors,
    flip_moments,
    flips,
    row_consistency,
)
from fairlightning.functional.moments import Moments, partition_moments, segment_moments
from fairlightning.functional.rows import check_threshold, check_weight, positive_scores
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric
from fairlightning.metrics.moments import GroupMoments


class CounterfactualFlips(GroupMoments):
    """Count decisions that flip when a sensitive attribute takes another value.

    From `compute`, or `of_partition` for the groups of one partition, follow `flip_rates` and
    `mean_score_changes` of `functional.individual`, which tells what they mean.

    Args:
        groups: Sensitive attributes and their categories.
        threshold: Score, strictly between 0 and 1, from which a row is selected.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups or the threshold cannot be used.

    >>> from fairlightning.functional.individual import flip_rates
    >>> metric = CounterfactualFlips({"sex": ["Female", "Male"]})
    >>> as_female, as_male = torch.tensor([1.0, -1.0]), torch.tensor([2.0, 1.0])
    >>> metric.update(as_female, [as_female, as_male], torch.tensor([0, 0]))
    >>> flip_rates(metric.of_partition(("sex",)))
    Rates(rate=tensor([0.5000, 0.5000], dtype=torch.float64), support=tensor([2, 0]))
    """

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(groups, 2, **kwargs)
        self.threshold = check_threshold(threshold)

    def update(
        self,
        logits: Tensor,
        counterfactual: Sequence[Tensor],
        sensitive: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        """Take in the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class, or `(N, C)`.
            counterfactual: For each value of the attribute the logits that the same rows have if
                all take that value; of the shape of `logits`.
            sensitive: `(N, A)` int64 codes of the rows as they are, `-1` for unknown.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape, a code or a weight cannot be used. NaN logits do not raise:
                their rows are counted as `undefined`.
        """
        found = flips(logits, counterfactual, self.threshold)
        rows = len(found.change)
        cell = self.groups.cell_ids(self.groups.check(sensitive, rows))
        if weight is not None:
            weight = check_weight(weight, rows)
        self.add(flip_moments(found, cell, self.groups.num_cells, weight))


class Consistency(ExactMetric):
    """Consistency of rows with their nearest neighbours among all rows.

    It keeps all rows, 4 bytes for each feature and 8 more, and looks for neighbours in `compute`,
    among the rows of all processes. See `functional.individual.consistency` for the definition.

    Args:
        groups: Sensitive attributes and their categories.
        neighbors: Number of neighbours `k` ≥ 1.
        threshold: Take decisions, score ≥ threshold, in place of scores.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups, the neighbours or the threshold cannot be used.
    """

    rows: list[Tensor]
    columns: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        neighbors: int = 5,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.neighbors = check_neighbors(neighbors)
        self.threshold = None if threshold is None else check_threshold(threshold)
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("columns", torch.tensor(0), dist_reduce_fx="max")

    def update(self, logits: Tensor, features: Tensor, sensitive: Tensor) -> None:
        """Keep the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class.
            features: `(N, D)` features in which rows are alike or not, standardised; the same `D`
                in every batch. Kept in float32.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.

        Raises:
            ArgumentError: If a shape or a code cannot be used, or a feature is NaN or infinite.
        """
        score = positive_scores(logits)
        output = score if self.threshold is None else _decisions(score, self.threshold)
        rows = check_features(output, features)
        if int(self.columns) not in (0, features.shape[1]):
            raise ArgumentError.of(
                "features",
                found=f"{features.shape[1]} columns",
                expected=f"{int(self.columns)}, as in the batches before",
                mend="pass the same features of every row, or reset the metric",
            )
        cell = self.groups.cell_ids(self.groups.check(sensitive, rows))
        table = [output.unsqueeze(1), cell.unsqueeze(1), features.detach()]
        # Flat, since a process without rows sends an empty tensor of one dimension.
        self.rows.append(torch.cat([column.float() for column in table], dim=1).flatten())
        self.columns = torch.full_like(self.columns, features.shape[1])

    def compute(self) -> Moments:
        """Return the moments `(num_cells,)` of the consistency of all rows, of all processes.

        Its means follow from `mean_rates(…, 0)`. Where there are no more rows than neighbours, all
        rows are `undefined`.
        """
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0, device=self.device)
        rows = rows.view(-1, int(self.columns) + 2)
        agreement = row_consistency(rows[:, 0], rows[:, 2:], self.neighbors)
        cell = rows[:, 1].long()
        return segment_moments(agreement.unsqueeze(0), cell, self.groups.num_cells)

    def of_partition(self, partition: Sequence[str]) -> Moments:
        """Return the moments `(G,)` of the groups of a partition; see `partition_moments`.

        It computes, so that under distributed training every process must call it.
        """
        return partition_moments(self.compute(), self.groups, partition)


def _decisions(score: Tensor, threshold: float) -> Tensor:
    # A NaN score is no decision.
    return torch.where(score.isnan(), torch.nan, (score >= threshold).double())
