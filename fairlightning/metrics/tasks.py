"""Which figures a task has, and how to tell the task from a batch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.groups import GroupSpec
from fairlightning.metrics.fairness import FairnessMetrics
from fairlightning.metrics.multiclass import MulticlassMetrics
from fairlightning.metrics.regression_records import RegressionMetrics
from fairlightning.metrics.stage import StageMetrics

Task = Literal["binary", "multiclass", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")


def task_of(outputs: Tensor, target: Tensor) -> Task:
    """Tell the task from a batch.

    Several outputs a row are the logits of as many classes. One output is a logit if all targets
    are 0 or 1 and a prediction if they are other floating-point numbers.

    Args:
        outputs: `(N,)`, `(N, 1)` or `(N, C)`.
        target: `(N,)` or `(N, 1)`.

    Raises:
        ArgumentError: If the targets are integers other than 0 and 1 for one output.

    >>> import torch
    >>> task_of(torch.zeros(2), torch.tensor([0.0, 1.0])), task_of(torch.zeros(2), torch.rand(2))
    ('binary', 'regression')
    """
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        return "multiclass"
    if bool(((target == 0) | (target == 1)).all()):
        return "binary"
    if target.is_floating_point():
        return "regression"
    raise ArgumentError.of(
        "task",
        found=f"integer targets from {int(target.min())} to {int(target.max())} for one output",
        expected="0 and 1, or one output for each class",
        mend="pass task='regression' if they are amounts, or the logits of all classes",
    )


def stage_metrics(
    task: str, groups: GroupSpec, stage: str, *, threshold: float = 0.5, num_outputs: int = 1
) -> StageMetrics:
    """Make the metrics of a task.

    Args:
        task: One of `TASKS`.
        groups: The sensitive attributes.
        stage: `"train"`, `"val"` or `"test"`.
        threshold: Score from which a row of a binary task is selected.
        num_outputs: Outputs of the network for a row.

    Raises:
        ArgumentError: If there is no such task, or it does not have so many outputs.
    """
    check_choice("task", task, TASKS)
    if (task == "multiclass") != (num_outputs > 1):
        raise ArgumentError.of(
            "task",
            found=f"{task!r} with {num_outputs} output{'s' if num_outputs > 1 else ''} a row",
            expected="more than two for multiclass, one for the others",
            mend="with two outputs pass logits[:, 1] - logits[:, 0] as binary"
            if num_outputs == 2
            else "name the task that fits, or task='auto'",
        )
    if task == "multiclass":
        return MulticlassMetrics(groups, stage, num_outputs)
    if task == "regression":
        return RegressionMetrics(groups, stage)
    return FairnessMetrics(groups, stage, threshold)
