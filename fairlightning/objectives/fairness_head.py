"""Equal opportunity as a second task: a head that knows the groups of rows with label 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fairlightning.functional.parity import parity_gap
from fairlightning.functional.rates import Rates, at_least_float32, mean_scores
from fairlightning.groups import GroupSpec
from fairlightning.objectives.adversarial import (
    check_head,
    guess_moments,
    mlp_head,
    row_cross_entropy,
)
from fairlightning.objectives.base import Objective, Step, Term


class FairnessHead(Objective):
    """Multi-task learning with a head for the groups, through which true positive rates meet.

    Beside the task's head the representation r carries a fairness head, which learns the second
    task q_g(r) = P(group g | r, label 1). The true positive rate of each group is then estimated as
    TPR_g = Σ q_g(r_i)·p_i / Σ q_g(r_i) over rows of label 1, and the largest difference between two
    groups is what the network minimises: equal opportunity (Hardt et al. 2016, arXiv:1610.02413).
    As p is a function of r, E[q_g(r)·p] = E[1{group = g}·p]: what the head says instead of the
    row's own group leaves the rate the same if the head is calibrated, and takes away the noise
    of who happens to be in the batch (Rao-Blackwell), which is most of what small groups show. The
    weighted estimator is that of Chen, Kallus, Mao, Svacha and Udell, "Fairness under unawareness"
    (FAT* 2019, arXiv:1811.11154), whose bias is 0 here for the reason given; fairness through
    a predicted group in multi-task learning is that of Oneto, Donini, Elders and Pontil (AIES 2019,
    arXiv:1810.08683).

    The head is private: it is trained at full strength on a representation held fixed, and the
    network does not learn from its loss, neither to help it nor to fool it.

    Args:
        groups: The sensitive attributes.
        in_features: Number of features of the representation.
        attributes: Attributes whose groups count; all if None. Rows in which one is unknown take no
            part in that one.
        hidden: Width of each hidden layer of the head; empty for a linear one.
        learning_rate_factor: Learning rate of the head relative to the network's, above 0.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown attribute, or sizes that are not positive.

    Shapes: representation `(..., N, H)`, logits `(..., N, 1)`, target `(N,)`, sensitive `(N, A)`.
    The term's `value` is the gap in [0, 1], averaged over attributes, its `own` the head's mean
    cross-entropy in nats, which is what is shown under its name.
    """

    requires = ("logits", "representation", "target", "sensitive")
    _axes: Tensor
    _barred: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        in_features: int,
        attributes: Sequence[str] | None = None,
        hidden: Sequence[int] = (32,),
        learning_rate_factor: float = 10.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_head(in_features, hidden, learning_rate_factor)
        self.learning_rate_factor = learning_rate_factor
        axes = groups.axes(self.attributes)
        self.register_buffer("_axes", torch.tensor(axes), persistent=False)
        sizes = torch.tensor([groups.sizes[axis] for axis in axes])
        barred = torch.arange(int(sizes.max())) >= sizes.unsqueeze(1)
        self.register_buffer("_barred", barred.float() * -1e9, persistent=False)
        self.head = mlp_head(in_features, hidden, barred.numel())

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the head for a network with the given sizes of its outputs."""
        return cls(groups, in_features=sizes["representation"], **options)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Of the head as an adversary's; of rates score and mass `(..., A, G)`, rows `(A, G)`."""
        assert step.logits is not None and step.representation is not None
        assert step.target is not None and step.sensitive is not None
        group = step.sensitive.index_select(1, self._axes)
        truth = torch.where(step.target.unsqueeze(1) == 1, group, -1)
        guess = self.head(step.representation.detach()).unflatten(-1, self._barred.shape)
        guess = at_least_float32(guess + self._barred)
        own = guess_moments(row_cross_entropy(guess, truth), truth >= 0, step.row_weight)
        score = torch.sigmoid(at_least_float32(step.logits)).unsqueeze(-1)  # (..., N, 1, 1)
        counts = (truth >= 0).to(score).unsqueeze(-1)
        if step.row_weight is not None:
            counts = counts * step.row_weight.to(score).view(-1, 1, 1)
        share = guess.detach().softmax(-1).to(score) * counts
        places = torch.arange(self._barred.shape[1], device=truth.device)
        rows = ((truth.unsqueeze(-1) == places) & (counts > 0)).sum(0).to(score)
        return *own, (share * score).sum(-3), share.sum(-3), rows

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Gap of the rates that the head gives, and the head's own loss."""
        loss, mass, _, total, share, rows = sums
        rate = mean_scores(total, share)
        rows = rows.detach()
        gap = parity_gap(Rates(rate.unsqueeze(-2), rows.expand(rate.shape).unsqueeze(-2)))
        support = {
            name: rows[place, : self.groups.sizes[axis]].unsqueeze(0)
            for place, (name, axis) in enumerate(
                zip(self.attributes, self.groups.axes(self.attributes), strict=True)
            )
        }
        own = mean_scores(loss, mass.detach()).mean(-1)
        return Term(gap.mean(-1), own=own, support=support)
