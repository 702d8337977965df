"""Adversarial debiasing: a head guesses the sensitive attributes, the network learns to stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import CRITERIA, Criterion
from fairlightning.functional.reversal import reverse_gradient
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
            part in the guess of that one.
        learning_rate_factor: Learning rate of the head relative to the network's, greater than 0.
            A slow adversary is easy to fool and then removes little.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown feed, criterion or attribute, or sizes that are not positive.

    Shapes: representation `(..., N, H)` and logits `(..., N, 1)` as fed, target `(N,)`, sensitive
    `(N, A)`. The term's `own` is the mean cross-entropy in nats over the attributes, ≥ 0; its
    `value` is the negative of that, detached.
    """

    def __init__(
        self,
        groups: GroupSpec,
        *,
        in_features: int,
        feed: Feed = "representation",
        criterion: Criterion = "demographic_parity",
        hidden: Sequence[int] = (64,),
        attributes: Sequence[str] | None = None,
        learning_rate_factor: float = 10.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_choice("feed", feed, FEEDS)
        check_choice("criterion", criterion, CRITERIA)
        _check_sizes(in_features, hidden, learning_rate_factor)
        self.feed = FEEDS[feed]
        self.criterion: Criterion = criterion
        self.requires = (*self.feed, "target", "sensitive")
        self.learning_rate_factor = learning_rate_factor
        self._axes = groups.axes(self.attributes)
        self._classes = [groups.sizes[axis] for axis in self._axes]
        label_features = 2 if criterion == "equalized_odds" else 0
        self.head = mlp_head(in_features + label_features, hidden, sum(self._classes))

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the adversary for a network with the given sizes of its outputs."""
        feed: Feed = options.get("feed", "representation")
        check_choice("feed", feed, FEEDS)
        return cls(groups, in_features=sum(sizes[name] for name in FEEDS[feed]), **options)

    def sums(self, step: Step) -> Tensor:
        """Summed cross-entropy, mass and rows of each attribute: `(..., 3A)`."""
        assert step.target is not None and step.sensitive is not None
        fed = [getattr(step, name) for name in self.feed]
        features = fed[0] if len(fed) == 1 else torch.cat(fed, -1)
        features = reverse_gradient(features, self.weight)
        if self.criterion == "equalized_odds":
            label = F.one_hot(step.target, 2).to(features.dtype)
            features = torch.cat([features, label.expand(*features.shape[:-1], 2)], -1)
        guess = self.head(features)
        if guess.dtype in (torch.float16, torch.bfloat16):
            guess = guess.float()
        losses, mass, rows = [], [], []
        for axis, logits in zip(self._axes, guess.split(self._classes, -1), strict=True):
            truth = step.sensitive[:, axis]
            if self.criterion == "equal_opportunity":
                truth = torch.where(step.target == 1, truth, -1)
            row_losses = _row_cross_entropy(logits, truth)
            known = (truth >= 0).sum(dtype=logits.dtype)
            if step.row_weight is None:
                losses.append(row_losses.sum(-1))
                mass.append(known.expand_as(losses[-1]))
            else:
                weight = torch.where(truth >= 0, step.row_weight, 0.0)
                losses.append((row_losses * weight).sum(-1))
                mass.append(weight.sum().expand_as(losses[-1]))
                known = (weight > 0).sum(dtype=logits.dtype)
            rows.append(known.expand_as(losses[-1]))
        return torch.stack([*losses, *mass, *rows], -1)

    def term(self, sums: Tensor) -> Term:
        """Mean cross-entropy over the attributes."""
        loss, mass, rows = sums.unflatten(-1, (3, -1)).unbind(-2)
        own = (loss / mass.detach().clamp_min(torch.finfo(mass.dtype).tiny)).mean(-1)
        support = dict(zip(self.attributes, rows.detach().unbind(-1), strict=True))
        return Term(-own.detach(), own=own, support=support)


def _row_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy `(..., N)` of each row in nats; 0 where the target is -1."""
    flat = target.expand(logits.shape[:-1]).flatten()
    losses = F.cross_entropy(logits.flatten(0, -2), flat, ignore_index=-1, reduction="none")
    return losses.view(logits.shape[:-1])


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
            mend="pass in_features = width of the representation, and hidden=(64,)",
        )
    if not learning_rate_factor > 0:
        raise ArgumentError.of(
            "learning_rate_factor",
            found=learning_rate_factor,
            expected="greater than 0",
            mend="pass learning_rate_factor=10",
        )
