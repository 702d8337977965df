"""All that is counted of a binary classifier, in one pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.counting import unknown_last
from fairlightning.functional.rows import (
    binary_logits,
    check_labels,
    check_threshold,
    check_weight,
)
from fairlightning.functional.score_histogram import ScoreTable, add_rows
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric, writable
from fairlightning.metrics.confusion import GroupConfusion, selected
from fairlightning.metrics.scores import GroupScores
from fairlightning.metrics.tables import GroupTables


class GroupCounts(ExactMetric):
    """What `GroupConfusion` and `GroupScores` count, in one pass over the rows.

    Args:
        groups: Sensitive attributes and their categories.
        threshold: Score, strictly between 0 and 1, from which a row is selected.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups or the threshold cannot be used, or a table would have more
            than `MAX_SLOTS` slots.

    >>> import torch
    >>> metric = GroupCounts({"sex": ["Female", "Male"]})
    >>> metric.update(torch.tensor([2.0, -1.0]), torch.tensor([1, 0]), torch.tensor([[1], [-1]]))
    >>> metric.compute().scores.rows.sum(1)  # Female, Male, unknown
    tensor([0, 1, 1])
    """

    histogram: Tensor

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.threshold = check_threshold(threshold)
        parts = (GroupConfusion(self.groups, threshold), GroupScores(self.groups))
        for name, zeros in {k: v for part in parts for k, v in part.metric_state.items()}.items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self, logits: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Count the rows of a batch; arguments and errors are those of `GroupConfusion.update`."""
        logits = binary_logits(logits)
        rows = len(logits)
        self.histogram = writable(self.histogram)
        confusion, scores = add_rows(
            self.histogram,
            logits,
            selected(logits, self.threshold),
            check_labels(target, rows),
            self.groups.check(sensitive, rows),
            self.groups,
            weight=None if weight is None else check_weight(weight, rows),
        )
        counted = scores._asdict() | confusion._asdict()
        del counted["histogram"]
        for name, table in counted.items():
            setattr(self, name, getattr(self, name) + table)

    def compute(self) -> GroupTables:
        """Return the tables of all rows so far, over all processes."""
        confusion, scores = (
            [getattr(self, name) for name in kind._fields] for kind in (ConfusionTable, ScoreTable)
        )
        found = ScoreTable(*scores)
        histogram = unknown_last(self.histogram, self.groups)
        return GroupTables(ConfusionTable(*confusion), found._replace(histogram=histogram))
