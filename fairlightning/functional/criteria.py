"""Fairness criteria: how far groups lie apart in the rates that a criterion wants equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import check_choice
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.parity import parity_gap
from fairlightning.functional.proportions import PROPORTIONS, RATES, proportions
from fairlightning.functional.rates import Rates

Method = Literal["between_groups", "to_overall"]

METHODS: tuple[Method, ...] = ("between_groups", "to_overall")


class ParityCriterion(NamedTuple):
    """Rates that have to be equal in all groups.

    Attributes:
        rates: Keys of `RATES`.
        combine: How several become one figure: the worst of them, or their sum.
    """

    rates: tuple[str, ...]
    combine: Literal["worst", "sum"] = "worst"


CRITERIA: dict[str, ParityCriterion] = {
    "demographic_parity": ParityCriterion(("selection_rate",)),
    "equal_opportunity": ParityCriterion(("true_positive_rate",)),
    "equalized_odds": ParityCriterion(("true_positive_rate", "false_positive_rate")),
    "equalized_odds_sum": ParityCriterion(("true_positive_rate", "false_positive_rate"), "sum"),
    "predictive_parity": ParityCriterion(("positive_predictive_value",)),
    "accuracy_parity": ParityCriterion(("accuracy",)),
    "treatment_equality": ParityCriterion(("error_balance",)),
}
"""Criteria by name. `equalized_odds` takes the larger of the two gaps, as fairlearn does by
default, `equalized_odds_sum` adds them up, as several benchmarks do."""


class Estimate(NamedTuple):
    """A figure with the rows that carry it.

    Attributes:
        value: `(...)` float64, never NaN. Where the support is 0 the figure is not estimable, and
            the value means nothing.
        support: `(...)` int64 number of rows behind it; of a difference or ratio, the smallest
            support among the groups that took part.
    """

    value: Tensor
    support: Tensor

    @property
    def or_nan(self) -> Tensor:
        """`(...)` the value, NaN where it is not estimable: for resampling and for plots."""
        return torch.where(self.support > 0, self.value, torch.nan)


class WorstGroup(NamedTuple):
    """The group that fares worst.

    Attributes:
        value: `(...)` its rate.
        group: `(...)` int64 its id, the first of several; `-1` where no group has support.
        support: `(...)` int64 number of rows behind the rate; 0 where no group has any.
    """

    value: Tensor
    group: Tensor
    support: Tensor


def criterion_difference(
    table: ConfusionTable, criterion: str, *, method: Method = "between_groups"
) -> Estimate:
    """Difference of groups in the rates of a criterion, as fairlearn's `difference` defines it.

    Groups without rows that a rate could be taken of have no part in it. Of several rates all must
    be estimable: one alone would only bound the figure from below.

    Args:
        table: `(..., G, 2, 2)` confusion tables of groups; of any number of classes for accuracy
            parity.
        criterion: Key of `CRITERIA`.
        method: `between_groups`: largest rate minus smallest. `to_overall`: largest distance of a
            group from the rate over the rows of all groups of the table.

    Returns:
        `(...)` difference, 0 where groups agree: in [0, 1], but in [0, 2] for `equalized_odds_sum`
        and in [0, ∞) for `treatment_equality`. Not estimable with fewer than two groups.

    Raises:
        ArgumentError: If there is no such criterion or method.

    >>> table = ConfusionTable.of_counts(torch.tensor([[[1, 1], [0, 2]], [[3, 0], [0, 1]]]))
    >>> criterion_difference(table, "demographic_parity")
    Estimate(value=tensor(0.5000, dtype=torch.float64), support=tensor(4))
    """
    chosen = CRITERIA[check_choice("criterion", criterion, CRITERIA)]
    rates, overall = _conditions(table, chosen, method)
    if overall is None:
        # One condition at a time, so that the gaps stay apart.
        gaps = parity_gap(_alone(rates), "max")
    else:
        distance = (rates.rate - overall).abs()
        gaps = torch.where(rates.present, distance, 0.0).amax(-1)
    value = gaps.sum(-1) if chosen.combine == "sum" else gaps.amax(-1)
    return _estimate(value, rates)


def criterion_ratio(
    table: ConfusionTable, criterion: str, *, method: Method = "between_groups"
) -> Estimate:
    """Ratio of groups in the rates of a criterion, as fairlearn's `ratio` defines it.

    Args:
        table: `(..., G, 2, 2)` confusion tables of groups; of any number of classes for accuracy
            parity.
        criterion: Key of `CRITERIA`, but for `equalized_odds_sum`, since ratios do not add up.
        method: `between_groups`: smallest rate by largest. `to_overall`: smallest ratio of a group
            to the rate over the rows of all groups, or of that to it, whichever is below 1.

    Returns:
        `(...)` ratio in [0, 1], 1 where groups agree. Not estimable with fewer than two groups, nor
        where all rates are 0, or all infinite.

    Raises:
        ArgumentError: If there is no such criterion, ratio or method.

    >>> table = ConfusionTable.of_counts(torch.tensor([[[1, 1], [0, 2]], [[3, 0], [0, 1]]]))
    >>> criterion_ratio(table, "demographic_parity")
    Estimate(value=tensor(0.3333, dtype=torch.float64), support=tensor(4))
    """
    names = [name for name, parity in CRITERIA.items() if parity.combine != "sum"]
    chosen = CRITERIA[check_choice("criterion", criterion, names)]
    rates, overall = _conditions(table, chosen, method)
    if overall is None:
        low = torch.where(rates.present, rates.rate, torch.inf).amin(-1)
        high = torch.where(rates.present, rates.rate, -torch.inf).amax(-1)
        ratio = low / high
    else:
        quotient = rates.rate / overall
        quotient = torch.minimum(quotient, 1 / quotient)
        # A group of which 0/0 would have to be taken makes the figure NaN, and so not estimable.
        ratio = torch.where(rates.present, quotient, torch.inf).amin(-1)
    return _estimate(ratio.amin(-1), rates)


def rates_difference(rates: Rates) -> Estimate:
    """Largest difference between the rates of two groups, for any figure that groups have.

    Args:
        rates: `(..., G)` values and supports.

    Returns:
        `(...)` difference; not estimable with fewer than two groups.
    """
    return _estimate(parity_gap(_alone(rates), "max"), _alone(rates))


def worst_group(rates: Rates, *, higher_is_better: bool) -> WorstGroup:
    """Find the group with the worst rate among those with support.

    Args:
        rates: `(..., G)` values and supports.
        higher_is_better: Whether the lowest value is the worst.

    Returns:
        `(...)` value, group and support.

    >>> worst_group(Rates(torch.tensor([0.9, 0.2]), torch.tensor([8, 5])), higher_is_better=True)
    WorstGroup(value=tensor(0.2000), group=tensor(1), support=tensor(5))
    """
    sign = 1.0 if higher_is_better else -1.0
    group = torch.where(rates.present, sign * rates.rate, torch.inf).argmin(-1, keepdim=True)
    support = rates.support.gather(-1, group).squeeze(-1)
    value = rates.rate.gather(-1, group).squeeze(-1)
    return WorstGroup(value, torch.where(support > 0, group.squeeze(-1), -1), support)


def _conditions(
    table: ConfusionTable, criterion: ParityCriterion, method: Method
) -> tuple[Rates, Tensor | None]:
    """Stack the rates as `(..., C, G)`, with those over all groups as `(..., C, 1)` if asked."""
    check_choice("method", method, METHODS)
    overall = None if method == "between_groups" else _rates(table.pooled(), criterion.rates).rate
    return _rates(table, criterion.rates), overall


def _rates(table: ConfusionTable, names: Sequence[str]) -> Rates:
    if set(names) <= PROPORTIONS.keys():
        return proportions(table, names)
    each = [RATES[name](table) for name in names]
    return Rates(
        torch.stack([rates.rate for rates in each], dim=-2),
        torch.stack([rates.support for rates in each], dim=-2),
    )


def _alone(rates: Rates) -> Rates:
    return Rates(rates.rate.unsqueeze(-2), rates.support.unsqueeze(-2))


def _estimate(value: Tensor, rates: Rates) -> Estimate:
    # (..., C, G) → (...); 0 where fewer than two groups can be compared under some condition.
    least = torch.where(rates.present, rates.support, torch.iinfo(torch.int64).max).amin(-1)
    support = torch.where(rates.present.sum(-1) > 1, least, 0).amin(-1)
    finite = value.isfinite()
    return Estimate(torch.where(finite, value, 0.0), torch.where(finite, support, 0))
