"""Records from a table of predictions, whatever system made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, DataError, check_choice
from fairlightning.functional.regression import regression_moments
from fairlightning.functional.rows import check_threshold
from fairlightning.functional.score_histogram import confusion_and_scores
from fairlightning.functional.tasks import TASK_NAMES, Task, TaskKind
from fairlightning.groups import GroupSpec, as_labels
from fairlightning.metrics import (
    INTERVALS,
    STAGES,
    ConfusionTable,
    GroupTables,
    Intervals,
    Record,
    fairness_records,
    multiclass_records,
    regression_records,
)

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Rows = Tensor | slice
Count = Callable[..., list[Record]]
"""Records of a stage, from its name, groups, rows, sensitive codes, weights and intervals."""
Groups = GroupSpec | Mapping[str, Iterable[object]] | Iterable[str] | str


def evaluate(
    frame: pd.DataFrame,
    groups: Groups,
    *,
    score: str = "score",
    target: str = "target",
    weight: str | None = None,
    split: str | None = None,
    threshold: float = 0.5,
    intervals: Intervals | None = INTERVALS,
    task: str | None = None,
) -> list[Record]:
    """Measure performance and fairness of the predictions in a table.

    The figures are those of `FairnessMetrics` on the logits that gave the scores, by the same
    functions; a row is selected where `score >= threshold`. Of several classes they are those of
    `MulticlassMetrics`, with the class of the highest probability as the decision, and of a
    regression those of `RegressionMetrics`.

    Args:
        frame: One row per prediction.
        groups: Sensitive attributes, each the name of a column: names alone, whose categories are
            then the values that occur, sorted; or names with categories, or a `GroupSpec`. Missing
            values, and values that are no category, are of unknown group.
        score: Column of the probabilities of the positive class, in [0, 1]; or of a regression's
            predictions, by default `prediction`. Of several classes what stands before the name of
            each: `score_<class>` are its probabilities.
        target: Column of the labels, 0 or 1; names of classes; amounts.
        weight: Column of row weights ≥ 0; each row weighs 1 without it.
        split: Column that names the stage of each row; `"split"` if there is such a column.
            Without one, all rows are of the stage `"test"`.
        threshold: Score, strictly between 0 and 1, from which a row is selected.
        intervals: Confidence of the interval of each figure, which takes some 40 ms for each
            group; None for figures alone.
        task: What was predicted, one of `TASK_NAMES`; by default the columns tell, see
            `task_of_columns`. They do not tell `ordinal`, whose columns go from low to high.

    Returns:
        The records of every stage, as `fairness_records` orders them.

    Raises:
        ArgumentError: If there is no such column, or the groups or threshold cannot be used.
        DataError: If there is no row, a score, label, weight or split cannot be used (the message
            names the first such row), or rows of several models are mixed.

    >>> frame = pd.DataFrame({"score": [0.9, 0.2], "target": [1, 0], "sex": ["Male", "Female"]})
    >>> [r.value for r in evaluate(frame, "sex") if r.metric == "demographic_parity_difference"]
    [1.0]
    """
    _check_rows(frame)
    check_threshold(threshold)
    spec = _group_spec(frame, groups)
    if task is not None:
        check_choice("task", task, TASK_NAMES)
    told = Task.of(task or task_of_columns(frame, score))
    masses = None
    if weight is not None:
        masses = numeric_column(
            frame, "weight", weight, lambda x: (x >= 0) & (x < np.inf), "0 or more"
        )
    sensitive = spec.encode(frame)
    if told.kind == "binary":
        count = _binary(frame, score, target, threshold)
    elif told.kind == "multiclass":
        count = _multiclass(frame, score, target, ordered=told.ordered)
    else:
        count = _regression(frame, score, target)
    records = []
    for stage, rows in _stages(frame, split):
        mass = None if masses is None else masses[rows]
        records += count(stage, spec, rows, sensitive[rows], mass, intervals)
    return records


def task_of_columns(frame: pd.DataFrame, score: str = "score") -> TaskKind:
    """Tell the task of predictions from their columns.

    Args:
        frame: One row per prediction.
        score: As for `evaluate`.

    Returns:
        `binary` with a column of that name; else `multiclass` with columns `<score>_<class>`, or
        `regression` with a column `prediction`; `binary` without any of them.
    """
    if score in frame:
        return "binary"
    if len(class_columns(frame, score)) > 1:
        return "multiclass"
    return "regression" if "prediction" in frame else "binary"


def class_columns(frame: pd.DataFrame, score: str = "score") -> dict[str, str]:
    """Columns of the classes' probabilities, by the name of the class, in their order."""
    prefix = f"{score}_"
    names = [str(name) for name in frame.columns if str(name).startswith(prefix)]
    return {name.removeprefix(prefix): name for name in names}


def _binary(frame: pd.DataFrame, score: str, target: str, threshold: float) -> Count:
    scores = numeric_column(frame, "score", score, lambda x: (x >= 0) & (x <= 1), "0 to 1")
    labels = numeric_column(frame, "target", target, lambda x: (x == 0) | (x == 1), "0 or 1")

    def count(
        stage: str,
        spec: GroupSpec,
        rows: Rows,
        sensitive: Tensor,
        weight: Tensor | None,
        intervals: Intervals | None,
    ) -> list[Record]:
        score, of = scores[rows], (labels[rows] == 1, sensitive, spec)
        logits, selected = torch.logit(score), score >= threshold
        tables = GroupTables(*confusion_and_scores(logits, selected, *of, weight=weight))
        return fairness_records(stage, spec, tables, intervals=intervals)

    return count


def _multiclass(frame: pd.DataFrame, score: str, target: str, ordered: bool) -> Count:
    columns = class_columns(frame, score)
    if len(columns) < 3:
        raise ArgumentError.of(
            "score",
            found=f"the columns {list(columns.values())}",
            expected=f"probabilities of three classes or more, in columns {score}_<class>",
            mend=f"name them {score}_<class>, or pass another task",
        )
    parts = [
        numeric_column(frame, "score", name, lambda x: (x >= 0) & (x <= 1), "0 to 1")
        for name in columns.values()
    ]
    decided = torch.stack(parts, 1).argmax(1)
    check_choice("target", target, map(str, frame.columns))
    codes = pd.Categorical(as_labels(frame[target]), categories=list(columns)).codes
    if (codes < 0).any():
        first = int((codes < 0).argmax())
        raise DataError.of(
            f"target column {target!r}",
            found=f"{frame[target].iloc[first]!r} in row {frame.index[first]!r}",
            expected=f"one of {', '.join(columns)} in every row",
            mend="name the classes as the columns of their probabilities do",
        )
    labels = torch.tensor(codes.astype(np.int64))

    def count(
        stage: str,
        spec: GroupSpec,
        rows: Rows,
        sensitive: Tensor,
        weight: Tensor | None,
        intervals: Intervals | None,
    ) -> list[Record]:
        of = (decided[rows], labels[rows], sensitive, spec)
        table = ConfusionTable.of_rows(*of, weight=weight, num_classes=len(columns))
        return multiclass_records(
            stage, spec, table, classes=list(columns), ordered=ordered, intervals=intervals
        )

    return count


def _regression(frame: pd.DataFrame, score: str, target: str) -> Count:
    if score not in frame and "prediction" in frame:
        score = "prediction"
    predictions = numeric_column(frame, "score", score, np.isfinite, "a finite number")
    targets = numeric_column(frame, "target", target, np.isfinite, "a finite number")

    def count(
        stage: str,
        spec: GroupSpec,
        rows: Rows,
        sensitive: Tensor,
        weight: Tensor | None,
        intervals: Intervals | None,
    ) -> list[Record]:
        of = (predictions[rows], targets[rows], spec.cell_ids(sensitive), spec.num_cells)
        moments = regression_moments(*of, weight)
        return regression_records(stage, spec, moments, intervals=intervals)

    return count


def _check_rows(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise DataError.of(
            "frame",
            found="no rows",
            expected="one row per prediction",
            mend="check how the table was read or filtered",
        )
    if {"row", "member"} <= set(frame.columns) and frame["member"].nunique() > 1:
        raise DataError.of(
            "frame",
            found=f"predictions of {frame['member'].nunique()} members",
            expected="those of one, so that no row counts twice",
            mend="keep one member, such as frame[frame['member'] == 0]",
        )


def _group_spec(frame: pd.DataFrame, groups: Groups) -> GroupSpec:
    if isinstance(groups, GroupSpec | Mapping):
        spec = GroupSpec.of(groups)
        for name in spec.names:
            check_choice("groups", name, map(str, frame.columns))
        return spec
    names = [groups] if isinstance(groups, str) else list(groups)
    for name in names:
        check_choice("groups", name, map(str, frame.columns))
    return GroupSpec({name: sorted(as_labels(frame[name]).dropna().unique()) for name in names})


def numeric_column(
    frame: pd.DataFrame,
    argument: str,
    column: str,
    allowed: Callable[[Numbers], np.ndarray[Any, np.dtype[np.bool_]]],
    expected: str,
) -> Tensor:
    """Return a column of predictions as `(N,)` float64, after checking every number.

    Raises:
        ArgumentError: If there is no such column.
        DataError: Naming the first row whose value is none, or is not allowed.
    """
    check_choice(argument, column, map(str, frame.columns))
    series = pd.to_numeric(frame[column], errors="coerce")
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~allowed(values)  # NaN is never allowed: no comparison with it holds
    if bad.any():
        first = int(bad.argmax())
        raise DataError.of(
            f"{argument} column {column!r}",
            found=f"{frame[column].tolist()[first]!r} in row {frame.index[first]!r} "
            f"({int(bad.sum()):,} such rows)",
            expected=f"{expected} in every row",
            mend="correct these rows or leave them out, or name another column",
        )
    return torch.tensor(values)


def _stages(frame: pd.DataFrame, split: str | None) -> Iterator[tuple[str, Tensor | slice]]:
    if split is None and "split" not in frame:
        yield "test", slice(None)
        return
    column = check_choice("split", split or "split", map(str, frame.columns))
    codes, names = pd.factorize(as_labels(frame[column]))
    if (codes < 0).any():
        raise DataError.of(
            f"split column {column!r}",
            found=f"no value in row {frame.index[int((codes < 0).argmax())]!r}",
            expected="the name of a split in every row",
            mend="fill the column or leave it out",
        )
    order = {stage: position for position, stage in enumerate(STAGES)}
    for name in sorted(names, key=lambda name: (order.get(name, len(order)), name)):
        yield name, torch.tensor(np.flatnonzero(codes == names.get_loc(name)))
