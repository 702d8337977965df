"""Everything that is counted of a binary classifier, and the figures of groups that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import (
    CRITERIA,
    Estimate,
    criterion_difference,
    criterion_ratio,
    rates_difference,
    worst_group,
)
from fairlightning.functional.proportions import (
    PROPORTIONS,
    balanced_accuracy,
    error_balance,
    f1_score,
    proportion_rates,
)
from fairlightning.functional.rates import Rates
from fairlightning.functional.score_figures import (
    BinnedRanking,
    binned_auroc,
    brier_score,
    calibration_error,
)
from fairlightning.functional.score_histogram import ScoreTable
from fairlightning.groups import GroupSpec

WORST_GROUP = "accuracy"
"""Rate whose worst group is a figure of its own, `worst_group_accuracy`."""

OF_TABLES: dict[str, Callable[[ConfusionTable], Rates]] = {
    "f1": f1_score,
    "balanced_accuracy": balanced_accuracy,
    "error_balance": error_balance,
}
"""Figures of a confusion table that are no simple rate."""

OF_MOMENTS: dict[str, Callable[[Tensor, Tensor], Rates]] = {
    "brier": brier_score,
    "calibration_error": calibration_error,
}
"""Figures of the scores that sums tell exactly."""

RANKING: dict[str, Callable[[BinnedRanking], Rates]] = {
    "auroc": lambda ranking: ranking.within.rates,
    "auroc_bpsn": lambda ranking: ranking.bpsn.rates,
    "auroc_bnsp": lambda ranking: ranking.bnsp.rates,
}
"""Figures of how scores rank, within a group and against the others."""

GROUP_METRICS = (*PROPORTIONS, *OF_TABLES, *OF_MOMENTS, *RANKING)
"""Figures of every single group, and of all rows but for those across groups."""

OVERALL_METRICS = tuple(m for m in GROUP_METRICS if m not in ("auroc_bpsn", "auroc_bnsp"))
"""Figures over all rows."""

GAP_METRICS = (
    *(f"{name}_difference" for name in CRITERIA),
    "demographic_parity_ratio",
    "auroc_difference",
    f"worst_group_{WORST_GROUP}",
)
"""Figures over the groups of a partition."""


class GroupTables(NamedTuple):
    """What was counted, by cell or by group.

    Attributes:
        confusion: Rows by label and decision.
        scores: Rows by label and score.
    """

    confusion: ConfusionTable
    scores: ScoreTable

    def partition(self, groups: GroupSpec, partition: Sequence[str]) -> GroupTables:
        """Sum cells to the groups of a partition.

        Raises:
            ArgumentError: If the partition names no attribute or one that does not exist.
        """
        return GroupTables(
            self.confusion.partition(groups, partition), self.scores.partition(groups, partition)
        )

    def pooled(self) -> GroupTables:
        """Make one group of all rows, whatever is known of their groups."""
        return GroupTables(self.confusion.pooled(), self.scores.pooled())

    def ranking(self) -> BinnedRanking:
        """Areas under the ROC curve of every group, with the bound on their binning error."""
        return binned_auroc(self.scores.histogram, self.scores.rows)

    def rates(self) -> dict[str, Rates]:
        """Every one of `GROUP_METRICS`, `(G,)` values and supports."""
        ranking = self.ranking()
        moments, rows = self.scores.moments, self.scores.rows
        return {
            **{name: proportion_rates(self.confusion, name) for name in PROPORTIONS},
            **{name: rate(self.confusion) for name, rate in OF_TABLES.items()},
            **{name: rate(moments, rows) for name, rate in OF_MOMENTS.items()},
            **{name: rate(ranking) for name, rate in RANKING.items()},
        }

    def gaps(self, rates: dict[str, Rates]) -> dict[str, Estimate]:
        """Every one of `GAP_METRICS`, from these tables and their `rates`."""
        worst = worst_group(rates[WORST_GROUP], higher_is_better=True)
        return {
            **{f"{c}_difference": criterion_difference(self.confusion, c) for c in CRITERIA},
            "demographic_parity_ratio": criterion_ratio(self.confusion, "demographic_parity"),
            "auroc_difference": rates_difference(rates["auroc"]),
            f"worst_group_{WORST_GROUP}": Estimate(worst.value, worst.support),
        }


def estimable(rates: Rates) -> Tensor:
    """`(G,)` bool: groups whose figure is there and finite."""
    return rates.present & torch.isfinite(rates.rate)
