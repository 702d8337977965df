"""Adversarial debiasing: a head guesses the sensitive attributes, the network learns to stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import Criterion, check_criterion
from fairlightning.functional.rates import mean_scores
from fairlightning.functional.reversal import reverse_gradient
from fairlightning.functional.tasks import TASKS, TaskKind
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term

Feed = Literal["representation", "logits", "both"]
FEEDS: dict[Feed, tuple[str, ...]] = {
    "representation": ("representation",),
    "logits": ("logits",),
    "both": ("representation", "logits"),
}


class Adversary(Objective):
    """Adversary behind a gradient reversal layer.

    The head minimises its cross-entropy L_adversary at full strength; what it is fed from receives
    that gradient times −λ, so the network minimises L_task − λ·L_adversary, all in one backward
    pass with one optimizer (Ganin et al. 2016, arXiv:1505.07818; as debiasing, Zhang et al. 2018,
    arXiv:1801.07593). Its own loss says nothing about fairness: look at the gaps.

    Args:
        groups: The sensitive attributes; the head guesses all that `attributes` names at once.
        in_features: Number of features of what it is fed.
        feed: `representation`, `logits`, or `both` side by side.
        criterion: `demographic_parity`: the head sees only what it is fed. `equalized_odds`: it
            also sees the label, so that only what goes beyond the label is removed.
            `equal_opportunity`: only rows with label 1 count.
        hidden: Width of each hidden layer of the head; empty for a linear one.
        attributes: Attributes that it guesses; all if None. Rows in which one is unknown take no
            part in the guess of that one. Of a continuous one it guesses the value, by ½ the
            squared error: the cross-entropy of a normal distribution, up to a constant.
        target_features: Features by which `equalized_odds` tells the target: one-hot classes, or 1
            for the value of a regression. The criterion thereby fixes the task; the other two are
            for every task and for binary targets.
        learning_rate_factor: Learning rate of the head relative to the network's, greater than 0.
            A slow adversary is easy to fool and then removes little.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown feed, criterion or attribute, or sizes that are not positive.

    Shapes: representation `(..., N, H)` and logits `(..., N, C)` as fed, target `(N,)`, sensitive
    `(N, A)`, continuous `(N, B)`. The term's `own` is the mean cross-entropy in nats over the
    attributes, ≥ 0; its `value` is the negative of that, detached.
    """

    weighs_itself = True  # λ acts inside the gradient reversal
    _axes: Tensor
    _barred: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        in_features: int,
        feed: Feed = "representation",
        criterion: Criterion = "demographic_parity",
        hidden: Sequence[int] = (32,),
        attributes: Sequence[str] | None = None,
        target_features: int = 2,
        learning_rate_factor: float = 10.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_choice("feed", feed, FEEDS)
        check_criterion("Adversary", criterion)
        _check_sizes(in_features, hidden, learning_rate_factor)
        self.target_features = target_features
        self.tasks = _tasks_of(criterion, target_features)
        self.feed = FEEDS[feed]
        self.criterion: Criterion = criterion
        self.requires = (*self.feed, "target", "sensitive")
        self.learning_rate_factor = learning_rate_factor
        self._discrete = tuple(a for a in self.attributes if a not in groups.continuous)
        self._values = tuple(a for a in self.attributes if a in groups.continuous)
        if self._values:
            self.requires = (*self.requires, "continuous")
        axes = groups.axes(self._discrete) if self._discrete else []
        self.register_buffer("_axes", torch.tensor(axes, dtype=torch.long), persistent=False)
        classes = torch.tensor([groups.sizes[axis] for axis in axes], dtype=torch.long)
        # Attributes with fewer categories than the largest have classes that cannot occur.
        barred = torch.arange(max(classes.tolist(), default=0)) >= classes.unsqueeze(1)
        self._ragged = bool(barred.any())
        self.register_buffer("_barred", barred.float() * -1e9, persistent=False)
        label_features = target_features if criterion == "equalized_odds" else 0
        outputs = barred.numel() + len(self._values)
        self.head = mlp_head(in_features + label_features, hidden, outputs)

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the adversary for a network with the given sizes of its outputs."""
        feed: Feed = options.get("feed", "representation")
        check_choice("feed", feed, FEEDS)
        if "target" in sizes:
            options.setdefault("target_features", sizes["target"])
        return cls(groups, in_features=sum(sizes[name] for name in FEEDS[feed]), **options)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Summed cross-entropy `(..., A)`, and mass and rows `(A,)` of each attribute."""
        assert step.target is not None and step.sensitive is not None
        fed = [getattr(step, name) for name in self.feed]
        features = fed[0] if len(fed) == 1 else torch.cat(fed, -1)
        features = reverse_gradient(features, self.weight.view(*self.weight.shape, 1, 1))
        if self.criterion == "equalized_odds":
            label = self._target_features(step.target).to(features.dtype)
            features = torch.cat([features, label.expand(*features.shape[:-1], -1)], -1)
        guess = self.head(features)
        counted = step.target == 1 if self.criterion == "equal_opportunity" else None
        parts = []
        if self._discrete:
            truth = step.sensitive.index_select(1, self._axes)
            if counted is not None:
                truth = torch.where(counted.unsqueeze(1), truth, -1)
            of_groups = guess[..., : self._barred.numel()] if self._values else guess
            logits = of_groups.unflatten(-1, self._barred.shape)
            if self._ragged:
                logits = logits + self._barred
            parts.append((_row_cross_entropy(logits, truth), truth >= 0))
        if self._values:
            parts.append(self._of_values(guess[..., self._barred.numel() :], step, counted))
        losses, known = (
            parts[0] if len(parts) == 1 else (torch.cat(x, -1) for x in zip(*parts, strict=True))
        )
        return _moments(losses, known, step.row_weight)

    def _of_values(
        self, guess: Tensor, step: Step, counted: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Loss `(..., N, B)` of guessed values, 0 where unknown, and which are known, `(N, B)`."""
        assert step.continuous is not None
        axes = [self.groups.continuous.index(name) for name in self._values]
        values = step.continuous[:, axes].to(guess.dtype)
        known = ~values.isnan() if counted is None else ~values.isnan() & counted.unsqueeze(1)
        error = guess - torch.where(known, values, 0.0)
        return torch.where(known, error.square() / 2, 0.0), known

    def _target_features(self, target: Tensor) -> Tensor:
        """The target as `(N, F)` features."""
        if self.target_features == 1:
            return target.unsqueeze(1)
        return F.one_hot(target, self.target_features)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean cross-entropy over the attributes."""
        loss, mass, rows = sums
        own = mean_scores(loss, mass.detach()).mean(-1)
        names = (*self._discrete, *self._values)
        support = dict(zip(names, rows.detach().unbind(-1), strict=True))
        return Term(-own.detach(), own=own, support=support)


def _tasks_of(criterion: Criterion, target_features: int) -> tuple[TaskKind, ...]:
    if criterion == "demographic_parity":
        return TASKS
    if criterion == "equal_opportunity" or target_features == 2:
        return ("binary",)
    return ("regression",) if target_features == 1 else ("multiclass",)


def _row_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy in nats: `(..., N, A, C)` and `(N, A)` → `(..., N, A)`; 0 where truth is -1."""
    rows = logits.shape[:-1]
    flat = F.cross_entropy(
        logits.flatten(0, -2), truth.expand(rows).flatten(), ignore_index=-1, reduction="none"
    )
    return flat.view(rows)


def _moments(
    losses: Tensor, known: Tensor, row_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Summed loss `(..., A)`, mass and number of rows `(A,)`, of `(..., N, A)` and `(N, A)`."""
    if row_weight is None:
        mass = known.sum(0, dtype=losses.dtype)
        return losses.sum(-2), mass, mass
    weight = row_weight.unsqueeze(1)
    rows = (known & (weight > 0)).sum(0, dtype=losses.dtype)
    return (losses * weight).sum(-2), (known * weight).sum(0), rows


def mlp_head(in_features: int, hidden: Sequence[int], out_features: int) -> nn.Sequential:
    """Fully connected ReLU network."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_features, width), nn.ReLU()]
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, out_features))


def _check_sizes(in_features: int, hidden: Sequence[int], learning_rate_factor: float) -> None:
    if min([in_features, *hidden]) < 1:
        raise ArgumentError.of(
            "in_features, hidden",
            found=f"{in_features}, {list(hidden)}",
            expected="sizes of at least 1",
            mend="pass in_features = width of the representation, and hidden=(32,)",
        )
    if not learning_rate_factor > 0:
        raise ArgumentError.of(
            "learning_rate_factor",
            found=learning_rate_factor,
            expected="greater than 0",
            mend="pass learning_rate_factor=10",
        )
