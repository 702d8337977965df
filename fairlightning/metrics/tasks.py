"""Which figures a task has."""

from __future__ import annotations

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.metrics.fairness import FairnessMetrics
from fairlightning.metrics.multiclass import MulticlassMetrics
from fairlightning.metrics.regression_records import RegressionMetrics
from fairlightning.metrics.stage import StageMetrics


def stage_metrics(
    task: Task | str, groups: GroupSpec, stage: str, *, threshold: float = 0.5, num_outputs: int = 1
) -> StageMetrics:
    """Make the metrics of a task.

    Args:
        task: The task, or the name of its kind. The records call classes by their names if it
            names them, and by their numbers if not.
        groups: The sensitive attributes.
        stage: `"train"`, `"val"` or `"test"`.
        threshold: Score from which a row of a binary task is selected.
        num_outputs: Outputs of the network for a row.

    Raises:
        ArgumentError: If there is no such task, or it does not have so many outputs.
    """
    task = Task.of(task)
    if (task.kind == "multiclass") != (num_outputs > 1):
        raise ArgumentError.of(
            "task",
            found=f"{task.kind!r} with {num_outputs} output{'s' if num_outputs > 1 else ''} a row",
            expected="more than two for multiclass, one for the others",
            mend="with two outputs pass logits[:, 1] - logits[:, 0] as binary"
            if num_outputs == 2
            else "name the task that fits, or task='auto'",
        )
    if task.kind == "multiclass":
        return MulticlassMetrics(groups, stage, num_outputs, task.classes, task.ordered)
    if task.kind == "regression":
        return RegressionMetrics(groups, stage)
    return FairnessMetrics(groups, stage, threshold)
