"""The records that every evaluation results in, and their names in logs and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fairlightning.functional.proportions import PROPORTIONS

STAGES = ("train", "val", "test")
"""Stages of a run, as records and log tags name them."""

SUPPORT = "support"
"""Metric that counts rows alone; used for the rows whose group is unknown."""

SMALL_SUPPORT = 30
"""Below so many rows a figure is marked wherever it is shown: chance alone moves it widely."""

_HIGHER_IS_BETTER = {
    **{name: proportion.higher_is_better for name, proportion in PROPORTIONS.items()},
    **dict.fromkeys(("f1", "balanced_accuracy", "auroc", "auroc_bpsn", "auroc_bnsp"), True),
    **dict.fromkeys(("brier", "calibration_error"), False),
    **dict.fromkeys(("mean_absolute_error", "root_mean_squared_error"), False),
}
_NAMES = {
    "auroc": "AUROC",
    "auroc_bpsn": "AUROC (BPSN)",
    "auroc_bnsp": "AUROC (BNSP)",
    "auroc_difference": "AUROC difference",
    "brier": "Brier score",
    "equalized_odds_sum_difference": "equalized-odds difference (sum)",
    "f1": "F1",
    "worst_group_accuracy": "worst-group accuracy",
}


class Key(NamedTuple):
    """What a record is about; at most one record of a run has it."""

    stage: str
    metric: str
    attribute: str | None
    group: str | None


class Record(NamedTuple):
    """One figure of an evaluation.

    Attributes:
        stage: `"train"`, `"val"`, `"test"`, or the name of a split.
        metric: Name of the figure, such as `"accuracy"` or `"demographic_parity_difference"`.
        attribute: Partition that it speaks of, such as `"sex"` or `"sex & race"`; None overall.
        group: One group of the partition, such as `"sex=Female & race=Black"`; None for a figure
            over the whole partition.
        value: The figure; None where it is not estimable.
        low: Lower end of its interval; None without an interval.
        high: Upper end of its interval; None without an interval.
        support: Rows that the figure is over (for a true positive rate the positives); of a
            difference or ratio, the smallest support among the groups that took part. 0 where
            there is nothing to estimate from.
    """

    stage: str
    metric: str
    attribute: str | None
    group: str | None
    value: float | None
    low: float | None
    high: float | None
    support: int

    @property
    def key(self) -> Key:
        """What the record is about: everything but its figures."""
        return Key(self.stage, self.metric, self.attribute, self.group)


@dataclass(frozen=True)
class Change:
    """One figure of two runs over the same rows.

    Attributes:
        key: What the figure is about.
        baseline: Its value in the first run; None where it is not estimable.
        intervention: Its value in the second run; None where it is not estimable.
        baseline_support: Rows that the figure is over in the first run, 0 without any. That of a
            gap, or of a rate among the selected, hangs on the decisions too.
        intervention_support: The same of the second run.
    """

    key: Key
    baseline: float | None
    intervention: float | None
    baseline_support: int
    intervention_support: int

    @property
    def change(self) -> float | None:
        """Intervention minus baseline; None unless both are estimable."""
        if self.baseline is None or self.intervention is None:
            return None
        return self.intervention - self.baseline

    @property
    def relative(self) -> float | None:
        """The change as a share of the baseline; None where the baseline is 0."""
        change = self.change
        return change / self.baseline if change is not None and self.baseline else None

    @property
    def better(self) -> bool | None:
        """Whether the change is for the better.

        None where it is not estimable, too small to show with three decimals, or neither good nor
        bad in itself, as with the selection rate of one group.
        """
        good = higher_is_better(self.key.metric)
        if good is None or self.change is None or not self.visible:
            return None
        return (self.change > 0) == good

    @property
    def visible(self) -> bool:
        """Whether there is a change that shows with three decimals."""
        if self.baseline is None or self.intervention is None:
            return False
        shown = round(self.baseline, 3) != round(self.intervention, 3)
        return shown and round(self.intervention - self.baseline, 3) != 0


def higher_is_better(metric: str) -> bool | None:
    """Say which way a metric should go; None if neither way is good in itself.

    The figure of the worst group should go the way of the figure itself.

    >>> higher_is_better("demographic_parity_difference"), higher_is_better("selection_rate")
    (False, None)
    """
    metric = metric.removeprefix("worst_group_")
    if metric.endswith("_difference"):
        return False
    if metric.endswith("_ratio"):
        return True
    return _HIGHER_IS_BETTER.get(metric)


def readable(metric: str) -> str:
    """Name of a metric for people.

    >>> readable("equal_opportunity_difference"), readable("auroc")
    ('equal-opportunity difference', 'AUROC')
    """
    if metric in _NAMES:
        return _NAMES[metric]
    criterion, _, kind = metric.rpartition("_")
    if kind in ("difference", "ratio"):
        return f"{criterion.replace('_', '-')} {kind}"
    return metric.replace("_", " ")


def signed(number: float, digits: int) -> str:
    """Write a number with its sign, which 0 has none of.

    >>> signed(-0.0951, 3), signed(52.4, 0), signed(-0.0001, 3)
    ('−0.095', '+52', '0.000')
    """
    text = f"{abs(number):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if number < 0 else "+") + text


def tag(record: Record) -> str:
    """Name of a record in logs.

    >>> tag(Record("val", "auroc", None, None, 0.9, None, None, 100))
    'val/auroc'
    >>> tag(Record("val", "demographic_parity_ratio", "sex", None, 0.8, None, None, 40))
    'val/fairness/demographic_parity_ratio/sex'
    >>> tag(Record("val", "selection_rate", "sex", "sex=Female", 0.2, None, None, 40))
    'val/groups/selection_rate/sex=Female'
    """
    if record.group is not None:
        return f"{record.stage}/groups/{record.metric}/{record.group}"
    if record.attribute is not None:
        return f"{record.stage}/fairness/{record.metric}/{record.attribute}"
    return f"{record.stage}/{record.metric}"
