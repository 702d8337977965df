"""All figures of one stage: from logits batch by batch, or from tables already counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan

from torch import Tensor, nn

from fairlightning.exceptions import FairnessWarning, check_choice
from fairlightning.functional import confusion as fn
from fairlightning.functional.rates import Rates
from fairlightning.groups import GroupSpec
from fairlightning.metrics.confusion import ConfusionTable, GroupConfusion
from fairlightning.metrics.ranking import AUROC
from fairlightning.metrics.records import STAGES, SUPPORT, Record

OVERALL: dict[str, Callable[[Tensor, Tensor], Rates]] = {
    "accuracy": fn.accuracy,
    "f1": fn.f1_score,
    "selection_rate": fn.selection_rate,
}
"""Figures over all rows, beside the AUROC."""

CRITERIA: dict[str, Callable[[Tensor, Tensor], fn.Estimate]] = {
    "demographic_parity_difference": fn.demographic_parity_difference,
    "demographic_parity_ratio": fn.demographic_parity_ratio,
    "equal_opportunity_difference": fn.equal_opportunity_difference,
    "equalized_odds_difference": fn.equalized_odds_difference,
}
"""Figures over the groups of a partition."""

GROUP_RATES: dict[str, Callable[[Tensor, Tensor], Rates]] = {
    "selection_rate": fn.selection_rate,
    "true_positive_rate": fn.true_positive_rate,
    "false_positive_rate": fn.false_positive_rate,
    "accuracy": fn.accuracy,
}
"""Figures of every single group."""


class FairnessMetrics(nn.Module):
    """Performance and fairness of a binary classifier over one stage.

    Feed it every batch, compute at the end of the epoch, then reset. Under distributed training
    `compute` gathers the counts and rows of all processes, so that every process must call it.

    Args:
        groups: Sensitive attributes and their categories.
        stage: `"train"`, `"val"` or `"test"`.
        threshold: Score, strictly between 0 and 1, from which a row is selected.

    Raises:
        ArgumentError: If the groups, the stage or the threshold cannot be used.
    """

    def __init__(
        self,
        groups: GroupSpec | Mapping[str, Iterable[object]],
        stage: str,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.stage = check_choice("stage", stage, STAGES)
        self.confusion = GroupConfusion(groups, threshold)
        self.auroc = AUROC()

    def update(
        self, logits: Tensor, target: Tensor, sensitive: Tensor, weight: Tensor | None = None
    ) -> None:
        """Take in the rows of a batch; see `GroupConfusion.update`."""
        self.confusion.update(logits, target, sensitive, weight)
        self.auroc.update(logits, target, weight)

    def compute(self) -> list[Record]:
        """Return the records of all rows so far; see `fairness_records`."""
        table = self.confusion.compute()
        return fairness_records(self.stage, self.confusion.groups, table, self.auroc.compute())

    def reset(self) -> None:
        """Forget all rows."""
        self.confusion.reset()
        self.auroc.reset()


def fairness_records(
    stage: str, groups: GroupSpec, table: ConfusionTable, auroc: Tensor
) -> list[Record]:
    """Turn counts into records, always the same keys in the same order.

    First the figures over all rows (`OVERALL` and `auroc`). Then for every partition of the groups
    its criteria (`CRITERIA`); the number of its rows of unknown group, as metric `support` of the
    group `"<attribute>=unknown"`; and the rates of each of its groups (`GROUP_RATES`).

    Args:
        stage: Stage that the records are of.
        groups: The attributes whose cells were counted.
        table: Counts of all rows.
        auroc: `()` area under the ROC curve, NaN where it is not estimable.

    Returns:
        The records. A value is None where it is not estimable. If the score of any row is NaN, all
        are None but the counts, with a `FairnessWarning`: such a row is neither selected nor not.
    """
    records = list(_overall(stage, table, auroc.item()))
    for partition in groups.partitions:
        records += _of_partition(stage, groups, partition, table)
    undecided = int(table.undecided)
    if undecided:
        warnings.warn(
            f"{stage}: {undecided:,} rows have the score NaN, so that no rate can be estimated. "
            "Mend: look for the step at which the loss became NaN, or lower the learning rate.",
            FairnessWarning,
            stacklevel=2,
        )
        records = [r if r.metric == SUPPORT else r._replace(value=None) for r in records]
    return records


def _overall(stage: str, table: ConfusionTable, auroc: float) -> Iterator[Record]:
    # One group of all rows, whatever is known of their groups.
    counts, mass = table.counts.sum(0, keepdim=True), table.mass.sum(0, keepdim=True)
    for metric, rate in OVERALL.items():
        value, support = rate(counts, mass)
        yield _record(stage, metric, value.item(), int(support))
    rows = 0 if isnan(auroc) else int(counts.sum())
    yield _record(stage, "auroc", auroc, rows)


def _of_partition(
    stage: str, groups: GroupSpec, partition: Sequence[str], table: ConfusionTable
) -> Iterator[Record]:
    attribute = " & ".join(partition)
    counts = fn.partition_confusion(table.counts, groups, partition)
    mass = fn.partition_confusion(table.mass, groups, partition)
    for metric, criterion in CRITERIA.items():
        value, support = criterion(counts, mass)
        yield _record(stage, metric, value.item(), int(support), attribute)
    unknown = int(table.counts.sum() - counts.sum())
    yield Record(
        stage, SUPPORT, attribute, f"{attribute}=unknown", float(unknown), None, None, unknown
    )
    names = groups.group_names(partition)
    for metric, rate in GROUP_RATES.items():
        rates = rate(counts, mass)
        for group, value, support in zip(
            names, rates.rate.tolist(), rates.support.tolist(), strict=True
        ):
            yield _record(stage, metric, value, support, attribute, group)


def _record(
    stage: str,
    metric: str,
    value: float,
    support: int,
    attribute: str | None = None,
    group: str | None = None,
) -> Record:
    return Record(stage, metric, attribute, group, value if support else None, None, None, support)
