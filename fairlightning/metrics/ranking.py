"""How well scores rank, exactly: metrics that keep a few bytes of every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.ranking import GroupRanking, auroc, group_auroc
from fairlightning.functional.rows import (
    binary_logits,
    check_column,
    check_target,
    check_weight,
    positive_scores,
)
from fairlightning.groups import GroupSpec
from fairlightning.metrics.base import ExactMetric


class _Rows(ExactMetric):
    """Keep columns of every row in float32, over all batches and processes."""

    num_columns: int
    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def _keep(self, *columns: Tensor) -> None:
        # Flat, since a process without rows sends an empty tensor of one dimension.
        self.rows.append(torch.stack([each.float() for each in columns], dim=1).flatten())

    def _columns(self) -> tuple[Tensor, ...]:
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0, device=self.device)
        return rows.view(-1, self.num_columns).unbind(1)

    @staticmethod
    def _checked(
        logits: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = binary_logits(logits)
        size = len(logits)
        mass = torch.ones_like(logits)
        if weight is not None:
            mass = check_column("weight", weight.detach(), size)
        return logits, check_column("target", target, size), mass


class AUROC(_Rows):
    """Area under the ROC curve of logits, over all rows, batches and processes.

    It keeps 12 bytes a row, logits and weights in float32. Unlike torchmetrics' `BinaryAUROC` it
    weighs rows, takes logits for logits even if all of a batch lie in [0, 1], keeps scores apart
    that float32 would round to 1, and allows a process without rows.

    Args:
        **kwargs: Passed on to `torchmetrics.Metric`.
    """

    higher_is_better = True
    num_columns = 3

    def update(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Keep the rows of a batch.

        Args:
            logits: `(N,)` or `(N, 1)` logits of the positive class.
            target: `(N,)` labels 0 and 1.
            weight: `(N,)` row weights ≥ 0; without them each row of the batch weighs 1.

        Raises:
            ArgumentError: If a shape cannot be used; labels and weights are checked by `compute`.
        """
        self._keep(*self._checked(logits, target, weight))

    def compute(self) -> Tensor:
        """Return the area, `()` float64; NaN where it is not estimable.

        Raises:
            ArgumentError: If a label is not 0 or 1, or a weight negative or NaN.
        """
        logit, target, mass = self._columns()
        size = len(logit)
        return auroc(positive_scores(logit), check_target(target, size), check_weight(mass, size))


class GroupAUROC(_Rows):
    """Exact areas under the ROC curve of all groups, within and across them.

    It keeps 12 bytes a row and 4 for each attribute; `GroupCounts` has the same areas, within a
    stated error, from a state that does not grow. A million rows in 200 groups take half a
    second to compute.

    Args:
        groups: Sensitive attributes and their categories.
        **kwargs: Passed on to `torchmetrics.Metric`.

    Raises:
        ArgumentError: If the groups cannot be used.
    """

    higher_is_better = True

    def __init__(self, groups: GroupSpec | Mapping[str, Iterable[object]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = GroupSpec.of(groups)
        self.num_columns = 3 + len(self.groups.names)

    def update(
        self, logits: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Keep the rows of a batch; arguments and errors are those of `GroupConfusion.update`."""
        columns = self._checked(logits, target, weight)
        sensitive = self.groups.check(sensitive, len(columns[0]))
        self._keep(*columns, *sensitive.unbind(1))

    def compute(self) -> dict[tuple[str, ...], GroupRanking]:
        """Return the areas of the groups of every partition.

        Raises:
            ArgumentError: If a logit is NaN, a label is not 0 or 1, or a weight negative or NaN.
        """
        logit, target, mass, *codes = self._columns()
        size = len(logit)
        if logit.isnan().any():
            raise ArgumentError.of(
                "logits",
                found=f"{int(logit.isnan().sum()):,} rows of NaN",
                expected="numbers, since NaN has no place in a ranking",
                mend="look for the step at which the loss became NaN",
            )
        score = positive_scores(logit)
        positive, mass = check_target(target, size), check_weight(mass, size)
        sensitive = torch.stack(codes, dim=1).long()
        return {
            partition: group_auroc(
                score,
                positive,
                self.groups.group_ids(sensitive, partition),
                self.groups.num_groups(partition),
                mass,
            )
            for partition in self.groups.partitions
        }
