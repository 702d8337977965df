"""What figures say and in which order: words for stages and metrics, picked and ranked records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.metrics import SMALL_SUPPORT, Record, readable

SMALL_NOTE = f"○ fewer than {SMALL_SUPPORT} rows, where chance alone moves it widely."

_STAGES = {"train": "training", "val": "validation", "test": "test"}
_METRICS = {"selection_rate": "selected share"}


@dataclass(frozen=True)
class Ranked:
    """A group and what decides its place.

    Attributes:
        group: Name of the group.
        support: Rows of the group.
        distance: How far it lies from all rows; None where that is not estimable.
    """

    group: str
    support: int
    distance: float | None


Item = TypeVar("Item", bound=Ranked)


def of_stage(records: Iterable[Record], stage: str) -> list[Record]:
    """Records of a stage.

    Raises:
        ArgumentError: If there are none.
    """
    records = list(records)
    if not records:
        raise ArgumentError.of(
            "records",
            found="none",
            expected="the records of an evaluation",
            mend="pass what `evaluate` or `FairnessMonitor.records` gives",
        )
    check_choice("stage", stage, dict.fromkeys(record.stage for record in records))
    return [record for record in records if record.stage == stage]


def of_attribute(records: Iterable[Record], stage: str, attribute: str) -> list[Record]:
    """Records of the groups of an attribute.

    Raises:
        ArgumentError: If there are none.
    """
    records = [record for record in of_stage(records, stage) if record.group is not None]
    check_choice("attribute", attribute, dict.fromkeys(str(r.attribute) for r in records))
    return [record for record in records if record.attribute == attribute]


def metric_words(metric: str) -> str:
    """Name of a metric in a title.

    >>> metric_words("selection_rate"), metric_words("auroc")
    ('Selected share', 'AUROC')
    """
    words = metric_name(metric)
    return words[0].upper() + words[1:]


def metric_name(metric: str) -> str:
    """Name of a metric in a sentence."""
    return _METRICS.get(metric, readable(metric))


def title(subject: str, stage: str, level: float | None = None) -> str:
    """Title of a figure.

    >>> title("Selected share by sex", "val", 0.95)
    'Selected share by sex, validation, with 95 % intervals'
    """
    tail = "" if level is None else f", with {100 * level:g} % intervals"
    return f"{subject}, {_STAGES.get(stage, stage)}{tail}"


def shown_level(records: Iterable[Record], level: float) -> float | None:
    """The level that the title names: None where no figure has an interval."""
    return level if any(has_interval(record) for record in records) else None


def has_interval(record: Record) -> bool:
    """Whether there is a figure and an interval around it, which may have no end on one side."""
    return record.value is not None and (record.low is not None or record.high is not None)


def interval(record: Record, between: str = ", ") -> str:
    """Write the ends of an interval; an end that is not known is `–`.

    >>> interval(Record("val", "f1", None, None, 0.7, 0.6512, None, 40))
    '0.651, –'
    """
    return between.join("–" if end is None else f"{end:.3f}" for end in (record.low, record.high))


def number_of(rows: float) -> str:
    """Number of rows, rounded where it is in the millions.

    >>> number_of(41_250), number_of(12_345_678)
    ('41,250', '12.3M')
    """
    return f"{rows:,.0f}" if rows < 1e6 else f"{rows / 1e6:,.1f}M"


def is_small(support: int) -> bool:
    """Whether there are rows, but so few that what they say is marked."""
    return 0 < support < SMALL_SUPPORT


def categories(group: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Categories of a group of the named attributes; None if it is no group of them.

    >>> categories("sex=Female & race=Black & other", ["sex", "race"])
    ('Female', 'Black & other')
    """
    pattern = " & ".join(f"{re.escape(name)}=(.*)" for name in names)
    found = re.fullmatch(pattern, group, re.DOTALL)
    return found.groups() if found else None


def short_name(group: str, attribute: str) -> str:
    """Name of a group where the attribute stands above it.

    >>> short_name("sex=Female & race=Black", "sex & race")
    'Female & Black'
    """
    found = categories(group, attribute.split(" & "))
    return " & ".join(found) if found else group


def rank(groups: Iterable[Item], limit: int, *, near: str) -> tuple[list[Item], list[str]]:
    """Put those farthest from all rows first, then small groups, then those without a figure.

    Args:
        groups: The groups.
        limit: Most groups that are shown.
        near: Words for being little of what `distance` measures, such as "nearer to all rows".

    Returns:
        The groups to show, and a note that counts those left out, if any.
    """
    ordered = sorted(groups, key=lambda group: (_kind(group), -(group.distance or 0.0)))
    shown, rest = ordered[:limit], ordered[limit:]
    if not rest:
        return shown, []
    words = (near, f"with fewer than {SMALL_SUPPORT} rows", "without rows")
    counts = [sum(_kind(group) == kind for group in rest) for kind in range(len(words))]
    parts = [f"{count} {word}" for count, word in zip(counts, words, strict=True) if count]
    return shown, [f"Not shown: {len(rest)} of {len(ordered)} groups ({', '.join(parts)})."]


def _kind(group: Ranked) -> int:
    if group.distance is None:
        return 2
    return int(is_small(group.support))
