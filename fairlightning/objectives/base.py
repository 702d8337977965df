"""What an objective is: additive sums of a batch, and a term of the loss made from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, MissingFieldError
from fairlightning.functional.columns import Columns
from fairlightning.functional.rows import check_standardised, check_weight
from fairlightning.functional.tasks import Task, TaskKind, check_outputs, checked_target
from fairlightning.groups import GroupSpec

BINARY = Task()


class Step(NamedTuple):
    """What one batch offers to the objectives. Fields that an objective needs are checked.

    Attributes:
        logits: `(..., N, C)` raw outputs: of a binary target one logit, of several classes one for
            each, of a regression the prediction.
        target: `(N,)` int64 labels; floating-point amounts of a regression.
        sensitive: `(N, A)` int64 category codes, `-1` for unknown.
        representation: `(..., N, H)` what the network computed before its last layer.
        parameters: The network's parameters, for penalties on the weights; each with a leading
            axis of K where K models are trained together.
        row_weight: `(N,)` weights of the rows, or None where each counts once.
        checked: Whether labels, codes and weights are known to be in range, as those of our data
            modules are: they were checked once, when the table was read.
        continuous: `(N, B)` values of the continuous sensitive attributes, of mean 0 and standard
            deviation 1 over the training rows, NaN for unknown.
        task: What logits and target are.
        ordered: Whether classes are steps from low to high.
        inputs: What the network read, in whatever form; `(numeric, categorical)` for our tables.
        predict: The network itself, for a second look at other inputs of that form: gives logits,
            or a tuple that begins with them, of the shapes that they have here. Of a module or a
            method of one BatchNorm then uses its running statistics.
    """

    logits: Tensor | None = None
    target: Tensor | None = None
    sensitive: Tensor | None = None
    representation: Tensor | None = None
    parameters: Sequence[Tensor] | None = None
    row_weight: Tensor | None = None
    checked: bool = False
    continuous: Tensor | None = None
    task: TaskKind = "binary"
    ordered: bool = False
    inputs: Any = None
    predict: Callable[[Any], Any] | None = None


def checked_step(step: Step, groups: GroupSpec, task: Task = BINARY) -> Step:
    """Bring the fields that were given into their shapes: logits `(N, C)`, sensitive `(N, A)`.

    Raises:
        ArgumentError: On a wrong shape, type or range. Off the CPU ranges are asserted on the
            device, without waiting for it.
    """
    logits, target, sensitive = step.logits, step.target, step.sensitive
    weight = step.row_weight
    rows = None if target is None else len(target)
    if logits is not None:
        logits = logits.unsqueeze(-1) if logits.ndim == 1 else logits
        rows = logits.shape[-2]
        check_outputs(logits, task)
    if step.task != task.kind or step.ordered != task.ordered:
        step = step._replace(task=task.kind, ordered=task.ordered)
    if step.checked:
        return step if logits is step.logits else step._replace(logits=logits)
    if target is not None and rows is not None:
        classes = len(task.classes) if logits is None else logits.shape[-1]
        target = checked_target(target, rows, task, classes)
    if weight is not None and rows is not None:
        weight = check_weight(weight, rows)
    if sensitive is not None:
        sensitive = groups.check(sensitive, rows)
    continuous = step.continuous
    if continuous is not None:
        continuous = groups.check_continuous(continuous, rows)
        check_standardised("continuous", continuous, "(values - mean) / standard deviation of each")
    return step._replace(
        logits=logits,
        target=target,
        sensitive=sensitive,
        row_weight=weight,
        continuous=continuous,
    )


class Strict(NamedTuple):
    """Thresholded figures of a constraint, which drive its multipliers; without gradient.

    Attributes:
        violation: `(..., J)` signed violations, at most 0 where feasible; 0 where not estimable.
        seen: `(..., J)` bool: those that could be estimated.
        worst: `(...)` largest violation seen; −inf if none was.
        value: `(...)` what is bounded: gap, rate or ratio; meaningful if any was seen.
    """

    violation: Tensor
    seen: Tensor
    worst: Tensor
    value: Tensor


class Term(NamedTuple):
    """What an objective adds to the loss.

    Attributes:
        value: `(...)` what the network minimises, times the objective's weight λ.
        own: `(...)` what trains the objective's private parameters, always at weight 1; None if it
            has none. If the network meets it through gradient reversal, `value` is detached.
        support: Number of rows behind each part of the value, by name: `(..., C, G)` for parity,
            `(...)` for an adversary. What could not be estimated has support 0.
        strict: Thresholded figures, of constraints in evaluation; in training `update` makes them.
    """

    value: Tensor
    own: Tensor | None = None
    support: Mapping[str, Tensor] = {}
    strict: Strict | None = None

    @property
    def shown(self) -> Tensor:
        """The loss that people expect to see under the objective's name."""
        return self.value if self.own is None else self.own


class Objective(nn.Module, ABC):
    """Base of everything that can enter the loss beside the task.

    A batch is first turned into `sums`, which add up over rows, batches and ranks, and the sums
    into a `term`. So the same code gives the loss of a batch, of a batch spread over ranks, and of
    a whole validation epoch (the mean of batch gaps would be biased upwards).

    Args:
        groups: The sensitive attributes.
        weight: Share of this objective in λ: λ(t) = strength × weight × schedule(t). At least 0.
        attributes: Names of the attributes it is about; all if None.

    Attributes:
        requires: Fields of `Step` that must be given.
        tasks: Kinds of tasks that it is for, as it is set up.
        stackable: Whether it works for several models trained together.
        weighs_itself: Whether it cannot leave its weight to a joint rule, such as Chebyshev's or
            gradient aggregation: a multiplier sets it, or it acts before the combination.
        additive: Whether the sums of several batches give the term of the joined batch. If not,
            they give the mean over batches, and training on several ranks is refused.
        in_deviations: Whether amounts of a regression must be in standard deviations, since it
            compares them on a scale of its own, off which it would see nothing, or noise.
        learning_rate_factor: Learning rate of its private parameters, relative to the network's.
        weight: Buffer, the λ in force, `()`, or `(K,)` for K models trained together; changed in
            place, once per optimizer step at most. Not part of a checkpoint: it follows from
            `factor` and the strength of the module that the checkpoint is loaded into.
        factor: Buffer `()`, value of the schedule in force.

    Raises:
        ArgumentError: If the weight is negative or an attribute does not exist.
    """

    requires: tuple[str, ...] = ("logits", "target", "sensitive")
    tasks: tuple[TaskKind, ...] = ("binary",)
    stackable: bool = True
    weighs_itself: bool = False
    additive: bool = True
    in_deviations: bool = False
    learning_rate_factor: float = 1.0
    weight: Tensor
    factor: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        weight: float = 1.0,
        attributes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise ArgumentError.of(
                "weight", found=weight, expected="a number of at least 0", mend="pass weight=1.0"
            )
        if isinstance(attributes, str):
            raise ArgumentError.of(
                "attributes",
                found=f"the text {attributes!r}",
                expected="a list of names; of a text each letter would be taken for one",
                mend=f"pass attributes=[{attributes}]",
            )
        self.groups = groups
        self.full_weight = float(weight)
        self.attributes = tuple(groups.names if attributes is None else attributes)
        groups.axes(self.attributes)
        self.register_buffer("weight", torch.tensor(self.full_weight), persistent=False)
        self.register_buffer("factor", torch.tensor(1.0))

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the objective for a network whose outputs have the given sizes.

        Args:
            groups: The sensitive attributes.
            sizes: Number of features of `logits` and `representation`, and of `target` if it is
                not binary.
            options: Arguments of the class.
        """
        return cls(groups, **options)

    def prepare(self, train: Step, columns: Columns | None = None) -> None:
        """Learn what the objective has to know of the inputs, once, before training.

        Args:
            train: Inputs, target, sensitive codes and weights of all training rows.
            columns: What the inputs mean, where they are a table's.
        """

    @abstractmethod
    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Reduce a batch to sums that are additive over rows, batches and ranks."""

    @abstractmethod
    def term(self, sums: Sequence[Tensor]) -> Term:
        """Turn sums, possibly of many batches or ranks, into the term."""

    def forward(self, step: Step) -> Term:
        """Give the term of one batch on this rank alone."""
        self.check(step)
        return self.term(self.sums(step))

    def check(self, step: Step) -> None:
        """Refuse a step in which a required field is missing, or of a task that it is not for.

        Raises:
            MissingFieldError: Naming the field and the objective.
            ArgumentError: Naming the task and the objective.
        """
        if step.task not in self.tasks:
            self.check_task(step.task)
        for name in self.requires:
            if getattr(step, name) is None:
                raise MissingFieldError.of(
                    name,
                    found="nothing",
                    expected=f"what {type(self).__name__} needs: {', '.join(self.requires)}",
                    mend=f"call fair_loss(..., {name}=...)",
                )

    def check_task(self, task: TaskKind) -> None:
        """Refuse a task that it is not for.

        Raises:
            ArgumentError: Naming the task and the objective.
        """
        if task not in self.tasks:
            options = ("criterion", "measure", "gap")
            given = [f"{name}={getattr(self, name)!r}" for name in options if hasattr(self, name)]
            raise ArgumentError.of(
                "task",
                found=f"{task!r} for {type(self).__name__}"
                + f" with {', '.join(given)}" * bool(given),
                expected=f"{' or '.join(self.tasks)}, which it is for",
                mend="pass another criterion, or method=parity, which has one for every task",
            )


class ExactBuffers(nn.Module):
    """A module whose own buffers move between devices, but are never cast below float32.

    Casting a model, as training in bfloat16 does, casts the objectives that it holds: what grows
    by small steps would round each of them away, and stand still.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        exact = dict(self.named_buffers(recurse=False, remove_duplicate=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in exact.items():
            applied = self.get_buffer(name)
            if applied.dtype != buffer.dtype and applied.dtype.itemsize < 4:
                setattr(self, name, buffer.to(applied.device))
        return self


class Adaptive(ExactBuffers, Objective):
    """Base of objectives that learn from each optimizer step, beside what the optimizer moves.

    What they learn are buffers, which `update` changes in place, once per optimizer step: add the
    callback `MultiplierUpdate`. Whatever the module is cast to, they stay float32 at least.
    """

    @abstractmethod
    def update(self, sums: Sequence[Tensor]) -> None:
        """Learn from an optimizer step.

        Args:
            sums: Sums of all batches of the step, added over ranks.
        """


class Constraint(Adaptive):
    """Base of objectives that are kept within a bound by multipliers; no schedule weighs them."""

    weighs_itself = True

    @property
    @abstractmethod
    def limit(self) -> float:
        """The bound on `Strict.value`."""

    @property
    @abstractmethod
    def margin(self) -> float:
        """Distance ≥ 0 kept from the bound; violations are those of the bound moved inwards."""

    @property
    @abstractmethod
    def multiplier(self) -> Tensor:
        """Scalar, sum of the multipliers."""

    @abstractmethod
    def strict(self) -> Strict:
        """Figures as they stand after the last `update`."""


class Losses(NamedTuple):
    """The parts of one loss, all detached but `loss`.

    Attributes:
        loss: `(...)` to call backward on; of K models the sum.
        total: `(...)` what the network minimises: task + Σ λ·value, without private losses.
        parts: Task and objectives by name, unweighted.
        support: Support of every objective by name.
        strict: Thresholded figures of every constraint by name, in evaluation.
    """

    loss: Tensor
    total: Tensor
    parts: Mapping[str, Tensor]
    support: Mapping[str, Mapping[str, Tensor]] = {}
    strict: Mapping[str, Strict] = {}

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values as they are logged, `total` first."""
        yield "total", self.total
        yield from self.parts.items()
