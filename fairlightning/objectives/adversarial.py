"""Adversarial debiasing: a head guesses the sensitive attributes, the network learns to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import Criterion, check_criterion
from fairlightning.functional.rates import mean_scores, segment_sums
from fairlightning.functional.reversal import reverse_gradient
from fairlightning.functional.tasks import TASKS, TaskKind
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term
from fairlightning.objectives.slices import Slices

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
        heads: Number of adversaries, alike but for their initial weights. The network faces the
            mean of their losses, which is harder to fool than one of them (Elazar & Goldberg 2018,
            arXiv:1808.06640).
        standardise: Give the head each feature with mean 0 and variance 1 over the batch. Without
            it the network can hide the attribute in features of little variance, where the head
            finds it late and a fresh probe at once. Training on several ranks is then refused.
        separate: Keep the network's part as a term of its own, −L_adversary with the head fixed, in
            place of gradient reversal: any combination can then weigh it, `TaskProjection` among
            them. Takes a second pass through the head, and is for one model alone.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown feed, criterion or attribute, or sizes that are not positive.

    Shapes: representation `(..., N, H)` and logits `(..., N, C)` as fed, target `(N,)`, sensitive
    `(N, A)`, continuous `(N, B)`. The term's `own` is the mean cross-entropy in nats over
    attributes and heads, ≥ 0; its `value` is the negative of that, detached unless `separate`.
    """

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
        heads: int = 1,
        standardise: bool = False,
        separate: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        self.weighs_itself = not separate  # λ acts inside the gradient reversal
        self.stackable = not separate
        self.heads = heads
        self.standardise = standardise
        self.additive = not standardise  # the batch's mean and variance are in every row
        check_choice("feed", feed, FEEDS)
        check_criterion("Adversary", criterion)
        check_head(in_features, [*hidden, heads], learning_rate_factor)
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
        self._categories = barred.shape
        self.register_buffer("_barred", barred.float() * -1e9, persistent=False)
        label_features = target_features if criterion == "equalized_odds" else 0
        outputs = barred.numel() + len(self._values)
        made = [mlp_head(in_features + label_features, hidden, outputs) for _ in range(heads)]
        self.head = SideBySide(made) if self.heads > 1 else made[0]

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the adversary for a network with the given sizes of its outputs."""
        feed: Feed = options.get("feed", "representation")
        check_choice("feed", feed, FEEDS)
        if "target" in sizes:
            options.setdefault("target_features", sizes["target"])
        return cls(groups, in_features=sum(sizes[name] for name in FEEDS[feed]), **options)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Summed cross-entropy `(..., A)`, and mass and rows `(A,)` of each attribute.

        If `separate`, in training also the summed cross-entropy in which the head is fixed.
        """
        fed = [getattr(step, name) for name in self.feed]
        features = fed[0] if len(fed) == 1 else torch.cat(fed, -1)
        if self.weighs_itself:
            features = reverse_gradient(features, self.weight.view(*self.weight.shape, 1, 1))
            return self._losses(features, step, self.head)
        own = self._losses(features.detach(), step, self.head)
        if not self.training:
            return own
        return (*own, self._losses(features, step, self._fixed_head)[0])

    def truth(self, step: Step) -> Tensor:
        """Categories to guess, `(N, A)`; `-1` in rows that take no part."""
        assert step.target is not None and step.sensitive is not None
        truth = step.sensitive.index_select(1, self._axes)
        if self.criterion == "equal_opportunity":
            truth = torch.where(step.target.unsqueeze(1) == 1, truth, -1)
        return truth

    def _fixed_head(self, features: Tensor) -> Tensor:
        fixed = {name: value.detach() for name, value in self.head.named_parameters()}
        guess: Tensor = functional_call(self.head, fixed, (features,))
        return guess

    def _losses(
        self, features: Tensor, step: Step, head: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert step.target is not None
        if self.standardise:
            features = _standardised(features)
        if self.criterion == "equalized_odds":
            label = self._target_features(step.target).to(features.dtype)
            features = torch.cat([features, label.expand(*features.shape[:-1], -1)], -1)
        guess = head(features)
        parts = []
        if self._discrete:
            truth = self.truth(step)
            parts.append((self._of_categories(guess, truth), truth >= 0))
        if self._values:
            parts.append(self._of_values(guess[..., self._categories.numel() :], step))
        losses, known = (
            parts[0] if len(parts) == 1 else (torch.cat(x, -1) for x in zip(*parts, strict=True))
        )
        return guess_moments(losses, known, step.row_weight)

    def _of_categories(self, guess: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy `(..., N, A)`, the mean over heads; 0 where unknown."""
        logits = guess[..., : self._categories.numel()] if self._values else guess
        if self._ragged:
            logits = logits + self._barred.flatten()
        logits = logits.view(*logits.shape[:-1], *self._categories)
        if self.heads > 1:  # an axis of heads beside the rows
            return row_cross_entropy(logits, truth.unsqueeze(1)).mean(-2)
        return row_cross_entropy(logits, truth)

    def _of_values(self, guess: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Loss `(..., N, B)` of guessed values, 0 where unknown, and which are known, `(N, B)`."""
        assert step.continuous is not None and step.target is not None
        axes = [self.groups.continuous.index(name) for name in self._values]
        values = step.continuous[:, axes].to(guess.dtype)
        known = ~values.isnan()
        if self.criterion == "equal_opportunity":
            known = known & (step.target == 1).unsqueeze(1)
        truth = torch.where(known, values, 0.0)
        error = guess - (truth.unsqueeze(1) if self.heads > 1 else truth)
        losses = error.square() / 2
        losses = losses.mean(-2) if self.heads > 1 else losses
        return torch.where(known, losses, 0.0), known

    def _target_features(self, target: Tensor) -> Tensor:
        """The target as `(N, F)` features."""
        if self.target_features == 1:
            return target.unsqueeze(1)
        return F.one_hot(target, self.target_features)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean cross-entropy over the attributes."""
        loss, mass, rows, *fixed = sums
        own = mean_scores(loss, mass.detach()).mean(-1)
        value = mean_scores(fixed[0], mass.detach()).mean(-1) if fixed else own.detach()
        names = (*self._discrete, *self._values)
        support = Slices(rows.detach(), {name: i for i, name in enumerate(names)})
        return Term(-value, own=own, support=support)

    @property
    def counts_blind_guesses(self) -> bool:
        """Whether `blind_loss` is known: of categories, given classes, not of amounts."""
        given_amounts = self.criterion == "equalized_odds" and self.target_features == 1
        return not self._values and not given_amounts

    def counts(self, step: Step) -> Tensor:
        """Mass `(A, L, C)` of the rows that take part, by category.

        L is the number of classes, by which `equalized_odds` tells rows apart; else 1.
        """
        assert step.target is not None
        truth, slots = self.truth(step), self._barred.shape[1] + 1
        mass = torch.ones_like(truth[:, 0]) if step.row_weight is None else step.row_weight
        known = torch.where(truth >= 0, truth, slots - 1)
        labels = 1
        if self.criterion == "equalized_odds":
            labels = self.target_features
            known = known + slots * step.target.unsqueeze(1)
        found = [segment_sums(mass.double(), slot, labels * slots) for slot in known.unbind(1)]
        table: Tensor = torch.stack(found).unflatten(1, (labels, slots))
        return table[..., :-1]

    def blind_loss(self, counts: Tensor) -> Tensor:
        """Cross-entropy in nats of the best guess without what the head is fed.

        It is the entropy of the attribute, given the label for equalized odds, as a mean over the
        attributes.

        Args:
            counts: As `counts` gives them, of enough rows.
        """
        mass = counts.sum(-1)
        share = counts / mass.unsqueeze(-1).clamp_min(1e-300)
        entropy: Tensor = torch.special.entr(share).sum(-1)
        return mean_scores((entropy * mass).sum(-1), mass.sum(-1)).mean()


class SideBySide(nn.Module):
    """Several modules on the same input; their outputs on an axis before the last one."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give `(..., M, C)` outputs of M modules for `(..., H)` inputs."""
        return torch.stack([part(inputs) for part in self.parts], -2)


def _standardised(features: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the rows of `(..., N, H)`; constant features become 0."""
    centred = features - features.mean(-2, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-2, keepdim=True) + 1e-10)


def _tasks_of(criterion: Criterion, target_features: int) -> tuple[TaskKind, ...]:
    if criterion == "demographic_parity":
        return TASKS
    if criterion == "equal_opportunity" or target_features == 2:
        return ("binary",)
    return ("regression",) if target_features == 1 else ("multiclass",)


def row_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy in nats: `(..., N, A, C)` and `(N, A)` → `(..., N, A)`; 0 where truth is -1."""
    rows = logits.shape[:-1]
    flat = F.cross_entropy(
        logits.flatten(0, -2), truth.expand(rows).flatten(), ignore_index=-1, reduction="none"
    )
    return flat.view(rows)


def guess_moments(
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


def check_head(in_features: int, sizes: Sequence[int], learning_rate_factor: float) -> None:
    """Refuse sizes and rates of a private head that are not positive.

    Raises:
        ArgumentError: Naming them.
    """
    if min([in_features, *sizes]) < 1:
        raise ArgumentError.of(
            "in_features, hidden, heads",
            found=f"{in_features}, {list(sizes)}",
            expected="sizes of at least 1",
            mend="pass in_features = width of the representation, hidden=(32,) and heads=1",
        )
    if not learning_rate_factor > 0:
        raise ArgumentError.of(
            "learning_rate_factor",
            found=learning_rate_factor,
            expected="greater than 0",
            mend="pass learning_rate_factor=10",
        )
