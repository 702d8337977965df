"""Two runs over the same rows, figure by figure: what got better, and what got worse for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from fairlightning.exceptions import DataError, check_choice
from fairlightning.functional.proportions import PROPORTIONS
from fairlightning.metrics import SMALL_SUPPORT, SUPPORT, Change, Key, Record, readable, signed
from fairlightning.report import is_shown

# Their supports are a matter of rows, labels and groups alone. Whether a ratio or F1 is estimable
# depends on the decisions too, and may well differ between two runs.
_OF_ROWS = {SUPPORT, "accuracy", "selection_rate", "true_positive_rate", "false_positive_rate"}

_SAME_ROWS = (
    "evaluate both runs on the same rows: figures over different ones cannot tell what the method "
    "did"
)

ROW_COLUMNS = ("split", "row", "target")
"""Columns of `predictions.parquet` that tell which rows were predicted."""


@dataclass(frozen=True)
class Comparison:
    """Every figure of a baseline beside that of an intervention.

    Attributes:
        rows: The changes, in the order of the baseline's records. All criteria are among them: a
            method that mends one may well harm another.
    """

    rows: tuple[Change, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that were compared."""
        return tuple(dict.fromkeys(row.key.stage for row in self.rows))

    def worse(self, stage: str) -> list[Change]:
        """Criteria of a stage that got visibly worse."""
        return [row for row in self._rows(stage) if row.key.attribute and row.better is False]

    def summary(self, stage: str | None = None) -> str:
        """Say in plain words what changed.

        Args:
            stage: Stage to speak of; the last one that was compared if not given.

        Returns:
            A line for every partition, one for the figures over all rows, and one that names each
            criterion that got worse.

        Raises:
            ArgumentError: If the stage was not compared.
        """
        stage = check_choice("stage", stage or self.stages[-1], self.stages)
        parts: dict[str | None, list[Change]] = {}
        for row in filter(lambda row: is_shown(row.key), self._rows(stage)):
            parts.setdefault(row.key.attribute, []).append(row)
        overall = parts.pop(None, [])
        lines = [_criteria_line(attribute, rows) for attribute, rows in parts.items()]
        if overall:
            lines.append(f"Overall: {'; '.join(map(_overall, overall))}.")
        return "\n".join([*lines, self._caution(stage)])

    def _caution(self, stage: str) -> str:
        worse = [f"{readable(row.key.metric)} ({row.key.attribute})" for row in self.worse(stage)]
        if worse:
            return f"Caution, this got worse: {', '.join(worse)}."
        if any(row.key.attribute and row.change is not None for row in self._rows(stage)):
            return "No fairness criterion got worse."
        return "No fairness criterion can be estimated in both runs."

    def _rows(self, stage: str) -> list[Change]:
        # Figures of single groups belong in a table, not into sentences.
        return [row for row in self.rows if row.key.stage == stage and row.key.group is None]


def compare(baseline: Iterable[Record], intervention: Iterable[Record]) -> Comparison:
    """Set two runs side by side.

    Args:
        baseline: Records of the first run.
        intervention: Records of the second run, over the same rows.

    Returns:
        The changes in all stages that both runs have.

    Raises:
        DataError: If the runs have no stage in common, a figure occurs twice or in one run only,
            or the supports show that the rows are not the same.
    """
    first, second = _by_key("baseline", baseline), _by_key("intervention", intervention)
    stages = {key.stage for key in first} & {key.stage for key in second}
    if not stages:
        raise DataError.of(
            "intervention",
            found=f"the stages {_stages(second)}",
            expected=f"one of the baseline's: {_stages(first)}",
            mend="evaluate both runs on the same split",
        )
    first = {key: record for key, record in first.items() if key.stage in stages}
    second = {key: record for key, record in second.items() if key.stage in stages}
    for name, here, there in (("intervention", second, first), ("baseline", first, second)):
        missing = [key for key in there if key not in here]
        if missing:
            raise DataError.of(
                name,
                found=f"{len(missing)} figures missing, the first {_describe(missing[0])}",
                expected="the same groups and metrics in both runs",
                mend="evaluate both runs with the same groups and the same version",
            )
    return Comparison(tuple(_change(first[key], second[key]) for key in first))


def check_same_rows(
    baseline: pd.DataFrame, intervention: pd.DataFrame, stages: Iterable[str]
) -> None:
    """Refuse predictions of two runs that are not of the same rows.

    Supports alone do not show it: two seeds split a table into parts of the same sizes.

    Args:
        baseline: `ROW_COLUMNS` of the first run.
        intervention: Those of the second run.
        stages: Splits to look at.

    Raises:
        DataError: If a row of these splits was predicted by one run alone, or with another target.
    """
    if _is_numbered(baseline) or _is_numbered(intervention):
        return
    for stage in stages:
        first, second = _rows_of(baseline, stage), _rows_of(intervention, stage)
        if first != second:
            raise DataError.of(
                "intervention",
                found=f"{len(second - first):,} of {len(second):,} {stage} rows that the baseline "
                "does not have, or has with another target",
                expected=f"the {len(first):,} rows of the baseline",
                mend=_SAME_ROWS,
            )


def _is_numbered(frame: pd.DataFrame) -> bool:
    # `evaluate` counts the rows of a file that does not say which they are: that tells nothing.
    return np.array_equal(frame["row"], np.arange(len(frame)))


def _rows_of(frame: pd.DataFrame, stage: str) -> set[tuple[object, object]]:
    part = frame[frame["split"] == stage]
    target = part["target"]
    if is_numeric_dtype(target):
        target = target.astype("float32")  # a run's own precision, which a CSV file does not keep
    return set(zip(part["row"].tolist(), target.tolist(), strict=True))


def _by_key(name: str, records: Iterable[Record]) -> dict[Key, Record]:
    table: dict[Key, Record] = {}
    for record in records:
        if record.key in table:
            raise DataError.of(
                name,
                found=f"{_describe(record.key)} twice",
                expected="every figure once",
                mend="pass the records of a single run",
            )
        table[record.key] = record
    return table


def _change(first: Record, second: Record) -> Change:
    if first.metric in _OF_ROWS and first.support != second.support:
        raise DataError.of(
            "intervention",
            found=f"{_describe(first.key)} over {second.support:,} rows",
            expected=f"{first.support:,}, as in the baseline",
            mend=_SAME_ROWS,
        )
    return Change(first.key, first.value, second.value, first.support, second.support)


def _criteria_line(attribute: str | None, rows: list[Change]) -> str:
    line = f"{attribute}: {'; '.join(map(_criterion, rows))}."
    supports = [rows for row in rows for rows in (row.baseline_support, row.intervention_support)]
    fewest = min(filter(None, supports), default=SMALL_SUPPORT)
    if fewest >= SMALL_SUPPORT:
        return line
    return f"{line} Beware: a group rests on {fewest} row{'' if fewest == 1 else 's'}."


def _criterion(row: Change) -> str:
    name = readable(row.key.metric)
    if row.change is None:
        return f"{name} {_value(row.baseline)} → {_value(row.intervention)}"
    if not row.visible:
        return f"{name} stayed at {row.intervention:.3f}"
    verb = "rose" if row.change > 0 else "fell"
    share = "" if row.relative is None else f" ({signed(100 * row.relative, 0)} %)"
    return f"{name} {verb} from {row.baseline:.3f} to {row.intervention:.3f}{share}"


def _overall(row: Change) -> str:
    change = ""
    if row.change is not None:
        share = row.key.metric in PROPORTIONS
        change = (
            f" ({signed(100 * row.change, 1)} points)" if share else f" ({signed(row.change, 3)})"
        )
    return f"{readable(row.key.metric)} {_value(row.baseline)} → {_value(row.intervention)}{change}"


def _value(value: float | None) -> str:
    return "not estimable" if value is None else f"{value:.3f}"


def _stages(records: dict[Key, Record]) -> str:
    return ", ".join(dict.fromkeys(key.stage for key in records)) or "none"


def _describe(key: Key) -> str:
    about = key.group or key.attribute
    return f"{key.stage} {readable(key.metric)}" + (f" of {about}" if about else "")
