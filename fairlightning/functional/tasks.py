"""What a network is to predict: two classes, several, or an amount; its scores and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.rates import at_least_float32
from fairlightning.functional.rows import check_column, check_labels, positive_scores

TaskKind = Literal["binary", "multiclass", "regression"]
TASKS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")

TASK_NAMES = (*TASKS, "ordinal")
"""What a task can be called: `ordinal` is `multiclass` whose classes have an order."""

DIFFERENCES: dict[str, str] = {
    "demographic_parity": "mean_prediction_difference",
    "balanced_residuals": "mean_residual_difference",
    "accuracy_parity": "mean_absolute_error_difference",
}
"""Criteria of a regression, and the metric that measures each."""


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        kind: `binary` (one logit, labels 0 and 1), `multiclass` (C logits, labels 0 to C − 1) or
            `regression` (one output, which is the prediction itself).
        classes: Names of the classes of `multiclass`, in the order of the labels.
        center: Mean of the target of `regression`.
        scale: Its standard deviation, above 0. Objectives see predictions and targets minus
            `center` and divided by `scale`, so that λ means the same whatever the unit.
        ordered: Whether the classes of `multiclass` are steps from low to high. Groups are then
            compared by the shares of rows that reach each step, not by those of each class.

    Raises:
        ArgumentError: On an unknown kind, fewer than two or repeated classes, another scale, or an
            order of anything but classes.

    >>> Task("multiclass", ("low", "middle", "high")).outputs
    3
    """

    kind: TaskKind = "binary"
    classes: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0
    ordered: bool = False

    def __post_init__(self) -> None:
        check_choice("task", self.kind, TASKS)
        count = len(self.classes)
        if count == 1 or len(set(self.classes)) != count or (count and self.kind != "multiclass"):
            raise ArgumentError.of(
                "classes",
                found=f"{list(self.classes)} for {self.kind}",
                expected="two or more different names, for multiclass alone",
                mend='pass Task("multiclass", ("low", "middle", "high"))',
            )
        if self.ordered and self.kind != "multiclass":
            raise ArgumentError.of(
                "ordered",
                found=f"True for {self.kind}",
                expected="an order of classes alone",
                mend="pass Task.of('ordinal'), or leave it out",
            )
        if not self.scale > 0:
            raise ArgumentError.of(
                "scale", found=self.scale, expected="above 0", mend="pass the target's deviation"
            )

    @classmethod
    def of(cls, task: Task | str) -> Task:
        """Accept a `Task` or its name, one of `TASK_NAMES`."""
        if task == "ordinal":
            return cls("multiclass", ordered=True)
        return task if isinstance(task, Task) else cls(task)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """What it is called: one of `TASK_NAMES`."""
        return "ordinal" if self.ordered else self.kind

    def standardised(self, values: Tensor) -> Tensor:
        """Predictions or targets as objectives see them; those of classes as they are."""
        if self.center == 0.0 and self.scale == 1.0:
            return values
        return (values - self.center) / self.scale

    @property
    def outputs(self) -> int:
        """Number of outputs of a network for it."""
        return len(self.classes) if self.kind == "multiclass" else 1

    @property
    def target_features(self) -> int:
        """Number of features that tell the target: its classes, one-hot, or the amount itself."""
        return {"binary": 2, "multiclass": len(self.classes), "regression": 1}[self.kind]

    def difference(self, criterion: str) -> str:
        """Name of the metric that measures how far groups are from a criterion.

        Raises:
            ArgumentError: If the task has no such criterion.

        >>> Task().difference("accuracy_parity"), Task("regression").difference("accuracy_parity")
        ('accuracy_parity_difference', 'mean_absolute_error_difference')
        """
        if self.kind == "regression":
            return DIFFERENCES[check_choice("criterion", criterion, DIFFERENCES)]
        if criterion == "balanced_residuals":
            raise ArgumentError.of(
                "criterion",
                found=f"{criterion!r} for task={self.kind!r}",
                expected="a criterion of classifiers",
                mend="pass criterion=demographic_parity",
            )
        return f"{criterion}_difference"


def task_of(outputs: Tensor, target: Tensor) -> TaskKind:
    """Tell the task from a batch.

    Several outputs a row are the logits of as many classes. One output is a logit if all targets
    are 0 or 1 and a prediction if they are other floating-point numbers.

    Args:
        outputs: `(N,)`, `(N, 1)` or `(N, C)`.
        target: `(N,)` or `(N, 1)`.

    Raises:
        ArgumentError: If the targets are integers other than 0 and 1 for one output.

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


def class_scores(outputs: Tensor, task: TaskKind) -> Tensor:
    """What groups are compared by: probabilities of the classes, or predictions.

    Args:
        outputs: `(..., N, C)`, C = 1 but for `multiclass`.
        task: Kind of the task.

    Returns:
        `(..., N)`: probability of the positive class, or prediction; of `multiclass` `(..., C, N)`
        probabilities of each class. In at least float32.
    """
    if task == "multiclass":
        return torch.softmax(at_least_float32(outputs), -1).transpose(-1, -2)
    values = at_least_float32(outputs.squeeze(-1))
    return torch.sigmoid(values) if task == "binary" else values


def predicted_scores(outputs: Tensor, task: TaskKind) -> Tensor:
    """What predictions are saved as, in float64: see `positive_scores`.

    Args:
        outputs: `(N, C)`.
        task: Kind of the task.

    Returns:
        `(N,)` probabilities of the positive class or predictions; `(N, C)` probabilities.
    """
    if task == "binary":
        return positive_scores(outputs)
    outputs = outputs.detach().double()
    return torch.softmax(outputs, -1) if task == "multiclass" else outputs.squeeze(-1)


def one_vs_rest(target: Tensor, num_classes: int) -> Tensor:
    """Labels 0 and 1 of each class against the rest, `(C, N)`, of labels `(N,)`."""
    return (target == torch.arange(num_classes, device=target.device).unsqueeze(1)).long()


def step_scores(scores: Tensor) -> Tensor:
    """Probability to reach each class but the first, of ordered classes.

    Args:
        scores: `(..., C, N)` probabilities of the classes, from low to high.

    Returns:
        `(..., C − 1, N)`.

    >>> step_scores(torch.tensor([[0.5], [0.25], [0.25]])).T
    tensor([[0.5000, 0.2500]])
    """
    return scores.flip(-2).cumsum(-2).flip(-2)[..., 1:, :]


def step_labels(target: Tensor, num_classes: int) -> Tensor:
    """Whether labels `(N,)` reach each class but the first: 0 and 1, `(C − 1, N)`."""
    return (target >= torch.arange(1, num_classes, device=target.device).unsqueeze(1)).long()


def row_losses(
    outputs: Tensor, target: Tensor, task: TaskKind, *, huber: float | None = None
) -> Tensor:
    """Loss of each row: cross-entropy in nats, or squared error.

    Args:
        outputs: `(..., N, C)`; of `binary` and `regression` those of C members of an ensemble, over
            whose losses is averaged.
        target: `(N,)` labels, or amounts.
        task: Kind of the task.
        huber: Of `regression`: error from which on the loss grows linearly, ½e² below (Huber 1964);
            None for the squared error e².

    Returns:
        `(..., N)`.

    >>> row_losses(torch.zeros(2, 3), torch.tensor([0, 1]), "binary")
    tensor([0.6931, 0.6931])
    >>> row_losses(torch.zeros(1, 4), torch.tensor([3]), "multiclass")
    tensor([1.3863])
    """
    if task == "multiclass":
        flat = outputs.flatten(0, -2)
        labels = target.expand(outputs.shape[:-1]).flatten()
        return F.cross_entropy(flat, labels, reduction="none").view(outputs.shape[:-1])
    values = target.to(outputs.dtype)
    # One output is its own mean, which would cost two operations in every training step.
    single = outputs.shape[-1] == 1
    if single:
        outputs = outputs.squeeze(-1)
    else:
        values = values.unsqueeze(-1)
    values = values.expand_as(outputs)
    if task == "binary":
        losses = F.binary_cross_entropy_with_logits(outputs, values, reduction="none")
    elif huber is None:
        losses = (outputs - values).square()
    else:
        losses = F.huber_loss(outputs, values, reduction="none", delta=huber)
    return losses if single else losses.mean(-1)


def check_network(network: type[torch.nn.Module], task: TaskKind) -> None:
    """Refuse a class of networks whose attribute `tasks` lacks the kind of the task.

    Raises:
        ArgumentError: Naming the class and the tasks that it is for.
    """
    known = getattr(network, "tasks", TASKS)
    if task not in known:
        raise ArgumentError.of(
            "model",
            found=f"{network.__name__} for task={task!r}",
            expected=f"one for it; this one is for {' and '.join(known)} targets",
            mend="pass model=mlp, or another network",
        )


def check_outputs(outputs: Tensor, task: Task) -> None:
    """Refuse outputs `(..., N, C)` of another task.

    Raises:
        ArgumentError: If C is not the number of outputs that the task has.
    """
    found = outputs.shape[-1]
    if task.kind != "multiclass":
        fine = found == 1
    else:
        fine = found == len(task.classes) if task.classes else found > 1
    if fine:
        return
    if task.kind == "multiclass":
        expected = f"(N, {len(task.classes) or 'C'}): a logit of each class"
        mend = "return a logit for each class"
    elif task.kind == "regression":
        expected, mend = "(N,) or (N, 1): one prediction", "return one prediction a row"
    else:
        expected = "(N,) or (N, 1): one logit of the positive class"
        mend = "with two outputs pass logits[:, 1] - logits[:, 0]; of more classes say so: "
        mend += "super().__init__(groups=..., task='multiclass')"
    raise ArgumentError.of(
        "logits", found=f"shape {tuple(outputs.shape)}", expected=expected, mend=mend
    )


def checked_target(target: Tensor, rows: int, task: Task, classes: int) -> Tensor:
    """Return the targets of a task as `(N,)`: int64 labels, or amounts.

    Args:
        target: `(N,)` or `(N, 1)`.
        rows: Number of rows `N`.
        task: The task.
        classes: Number of classes of `multiclass`.

    Raises:
        ArgumentError: If they are of another shape or type, or out of range. Off the CPU the range
            is asserted on the device, without waiting for it.
    """
    if task.kind == "binary":
        return check_labels(target, rows).long()
    target = check_column("target", target, rows)
    amounts = task.kind == "regression"
    fine = target.isfinite().all() if amounts else ((target >= 0) & (target < classes)).all()
    if fine.device.type != "cpu":
        torch._assert_async(fine)
    if target.is_floating_point() != amounts or (fine.device.type == "cpu" and not fine):
        known = "" if fine.device.type != "cpu" else f" from {target.min()} to {target.max()}"
        raise ArgumentError.of(
            "target",
            found=f"{target.dtype}{known}",
            expected="finite floating-point amounts of a regression"
            if amounts
            else f"int64 labels from 0 to {classes - 1}, one for each of {classes} classes",
            mend="pass target.float(), without missing ones"
            if amounts
            else "code the classes by position, or pass task='regression' for amounts",
        )
    return target if amounts else target.long()
