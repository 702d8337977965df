"""Rates of groups from their confusion tables, most of them shares of some rows among others.

A *proportion* is told by two masks over a 2×2 table: which rows it is about, and which of these it
counts. Its rate, its support and the trials that its interval needs all follow from the masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.rates import Rates, rates_from_sums

Mask = tuple[int, int, int, int]
"""Which rows count: true negatives, false positives, false negatives, true positives."""


class Proportion(NamedTuple):
    """The share of some rows of a 2×2 table among others.

    Attributes:
        counted: Rows that are counted.
        among: Rows that they are counted among.
        higher_is_better: Which way it should go; None if neither way is good in itself.
    """

    counted: Mask
    among: Mask
    higher_is_better: bool | None


PROPORTIONS: dict[str, Proportion] = {
    "selection_rate": Proportion((0, 1, 0, 1), (1, 1, 1, 1), None),
    "true_positive_rate": Proportion((0, 0, 0, 1), (0, 0, 1, 1), True),
    "false_positive_rate": Proportion((0, 1, 0, 0), (1, 1, 0, 0), False),
    "true_negative_rate": Proportion((1, 0, 0, 0), (1, 1, 0, 0), True),
    "false_negative_rate": Proportion((0, 0, 1, 0), (0, 0, 1, 1), False),
    "positive_predictive_value": Proportion((0, 0, 0, 1), (0, 1, 0, 1), True),
    "negative_predictive_value": Proportion((1, 0, 0, 0), (1, 0, 1, 0), True),
    "accuracy": Proportion((1, 0, 0, 1), (1, 1, 1, 1), True),
    "prevalence": Proportion((0, 0, 1, 1), (1, 1, 1, 1), None),
}
"""Figures of a group that are shares of its rows, and so have the intervals of a share."""


class Trials(NamedTuple):
    """A proportion as successes in trials, as intervals take it.

    Weighted rows count as Kish's effective number of rows, (Σw)² / Σw² (Kish 1965; Korn and
    Graubard 1998), which is their number where all weigh the same.

    Attributes:
        successes: `(..., G)` float64; integers where rows are not weighted.
        trials: `(..., G)` float64; 0 for a group without support.
    """

    successes: Tensor
    trials: Tensor


def proportions(table: ConfusionTable, names: Sequence[str]) -> Rates:
    """Several of `PROPORTIONS` for every group, in the time of one.

    Args:
        table: `(..., G, 2, 2)`; of any number of classes for the accuracy.
        names: Keys of `PROPORTIONS`, `P` of them.

    Returns:
        `(..., P, G)` float64 rate in [0, 1] and int64 support, the number of rows that it is among.
        A group whose rows have no mass has support 0.

    Raises:
        ArgumentError: If there is no such proportion, or the table has more than two classes.

    >>> table = ConfusionTable.of_counts(torch.tensor([[[2, 1], [0, 1]], [[0, 0], [0, 0]]]))
    >>> proportions(table, ["selection_rate"])
    Rates(rate=tensor([[0.5000, 0.5000]], dtype=torch.float64), support=tensor([[4, 0]]))
    """
    table = _binary(table, names)
    counted, among = _masks(tuple(names), table.mass.device)
    mass = _sums(table.mass, among)
    return _rates(_sums(table.mass, counted), mass, _sums(table.counts, among).long())


def proportion_rates(table: ConfusionTable, name: str) -> Rates:
    """One of `PROPORTIONS` for every group: `(..., G)`; see `proportions`."""
    rates = proportions(table, (name,))
    return Rates(rates.rate.squeeze(-2), rates.support.squeeze(-2))


def proportion_trials(table: ConfusionTable, name: str) -> Trials:
    """The same as successes in trials; arguments and errors are those of `proportions`.

    >>> table = ConfusionTable.of_counts(torch.tensor([[[2, 1], [0, 1]]]))
    >>> [column.item() for column in proportion_trials(table, "selection_rate")]
    [2.0, 4.0]
    """
    table = _binary(table, (name,))
    counted, among = _masks((name,), table.mass.device)
    mass, square = (_sums(sums, among).squeeze(-2) for sums in (table.mass, table.square))
    # Exactly 1 where rows are not weighted, so that counts stay integers.
    per_mass = torch.where(square > 0, mass / square.clamp_min(_TINY), 0.0)
    return Trials(_sums(table.mass, counted).squeeze(-2) * per_mass, mass * per_mass)


def f1_score(table: ConfusionTable) -> Rates:
    """F1 of the positive class of every group: 2·TP / (2·TP + FP + FN).

    Its support is all rows of the group, and 0 where nothing is positive and nothing selected:
    there F1 is 0/0. Takes and returns what `proportion_rates` does.
    """
    _check_binary(table, "f1_score")
    hits = 2 * table.mass[..., 1, 1]
    mass = hits + table.mass[..., 0, 1] + table.mass[..., 1, 0]
    return _rates(hits, mass, table.counts.sum((-2, -1)))


def balanced_accuracy(table: ConfusionTable) -> Rates:
    """Mean over the classes of the share of their rows that is decided rightly.

    Not estimable for a group in which a class does not occur; otherwise its support is all rows.

    Args:
        table: `(..., G, C, C)`.

    Returns:
        `(..., G)` float64 rate in [0, 1] and int64 support.
    """
    right, mass = table.mass.diagonal(dim1=-2, dim2=-1), table.mass.sum(-1)
    # Each class is a column of groups to pool over.
    recall = rates_from_sums(right.mT, mass.mT, mass.mT)
    support = torch.where((mass > 0).all(-1), table.counts.sum((-2, -1)), 0)
    return Rates(recall.rate.mean(-2), support)


def error_balance(table: ConfusionTable) -> Rates:
    """False negatives for each false positive, FN / FP, of every group.

    Equal treatment asks that groups agree in it (Berk et al. 2018, arXiv:1703.09207). A group
    without errors is not estimable. One with false negatives alone has no finite balance: its rate
    is infinite, and no difference between it and another is estimable.

    Args:
        table: `(..., G, 2, 2)`.

    Returns:
        `(..., G)` float64 rate in [0, ∞] and int64 support, the number of errors.
    """
    _check_binary(table, "error_balance")
    alarms, misses = table.mass[..., 0, 1], table.mass[..., 1, 0]
    finite = alarms > 0
    errors = torch.where(alarms + misses > 0, table.counts[..., 0, 1] + table.counts[..., 1, 0], 0)
    rates = rates_from_sums(torch.where(finite, misses, 0.0), alarms, errors)
    return Rates(torch.where(~finite & (misses > 0), torch.inf, rates.rate), errors)


RATES: dict[str, Callable[[ConfusionTable], Rates]] = {
    **{name: partial(proportion_rates, name=name) for name in PROPORTIONS},
    "balanced_accuracy": balanced_accuracy,
    "f1_score": f1_score,
    "error_balance": error_balance,
}
"""Every figure of a group that follows from its confusion table."""

_TINY = torch.finfo(torch.float64).tiny


def _rates(total: Tensor, mass: Tensor, support: Tensor) -> Rates:
    # Rows that all weigh 0 say nothing: their group counts as absent.
    return rates_from_sums(total, mass, torch.where(mass > 0, support, 0))


@lru_cache(maxsize=64)
def _masks(names: tuple[str, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    chosen = [PROPORTIONS[name] for name in names]
    counted, among = ([getattr(each, side) for each in chosen] for side in ("counted", "among"))
    return _float64(counted, device), _float64(among, device)


def _float64(values: list[Mask], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)


def _sums(table: Tensor, masks: Tensor) -> Tensor:
    # float64 is exact for counts up to 2⁵³.
    return masks @ table.double().flatten(-2).mT


def _binary(table: ConfusionTable, names: Sequence[str]) -> ConfusionTable:
    for name in names:
        check_choice("name", name, PROPORTIONS)
    if set(names) == {"accuracy"} and table.num_classes != 2:
        return table.agreement()
    _check_binary(table, ", ".join(names))
    return table


def _check_binary(table: ConfusionTable, name: str) -> None:
    if table.num_classes != 2:
        raise ArgumentError.of(
            "table",
            found=f"{table.num_classes} classes",
            expected=f"two, for the {name}",
            mend="call it on table.one_vs_rest(), which gives it for each class",
        )
