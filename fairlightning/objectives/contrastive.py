"""A representation in which rows of one label lie together, whatever their group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.rates import at_least_float32
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.rows import RowPenalty

SHORTEST = 1e-3
"""Representations below this length stay short: towards 0 a direction has unbounded gradients."""


class ContrastivePenalty(RowPenalty):
    """Fair supervised contrastive loss on the representation.

    Each row is pulled towards rows with its label of the other groups, and pushed from rows with
    another label of its own group: what is left to tell rows apart is the label, not the group.
    It is the loss of Park, Lee, Lee, Hwang, Kim and Byun, "Fair contrastive learning for facial
    attribute classification" (CVPR 2022, arXiv:2203.16209), with the other groups as the only
    positives, and with the mean taken group by group as there:
    log(1 + Σ_n exp((z·z_n − z·z_p)/τ)), averaged over the positives p of a row, where n are its
    negatives and z the representations at length 1. It conditions on the label, as equalized odds
    does.

    Pairs are formed in blocks of consecutive rows of the (shuffled) batch of a rank, so that time
    grows with N·block, and from `block` rows on the loss hardly depends on the size of the batch;
    smaller batches have fewer negatives, and a smaller loss.

    Args:
        groups: The sensitive attributes.
        attributes: Attributes whose groups count; all if None.
        temperature: τ ≥ 0.03.
        block: Rows ≥ 2 of a block.
        weight: Share in λ.

    Raises:
        ArgumentError: On values out of range; in `sums`, where the representation is not learned.

    Shapes: representation `(..., N, H)`, target `(N,)`, sensitive `(N, A)`; the value is `(...)`,
    at least 0. Rows without a positive or a negative take no part.
    """

    requires = ("representation", "target", "sensitive")

    def __init__(
        self,
        groups: GroupSpec,
        *,
        attributes: Sequence[str] | None = None,
        temperature: float = 0.1,
        block: int = 128,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        if not temperature >= 0.03 or block < 2:  # exp(2/τ) is a float32
            raise ArgumentError.of(
                "temperature, block",
                found=f"{temperature}, {block}",
                expected="at least 0.03, and at least 2",
                mend="pass temperature=0.1, block=128",
            )
        self.temperature, self.block = temperature, block
        self._axes = groups.axes(self.attributes)
        self.parts = tuple(name for one in self.attributes for name in groups.group_names((one,)))

    def rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Loss `(..., N, G)` of each row, and `(N, G)` whether it is an anchor of the group."""
        assert step.representation is not None
        assert step.target is not None and step.sensitive is not None
        _check_learned(step)
        number = len(step.target)
        space = at_least_float32(step.representation)
        unit = F.normalize(space, dim=-1, eps=SHORTEST)
        blocks = -(-number // self.block)
        # Rows that fill up the last block have an unknown group, and so no pairs.
        fill = blocks * self.block - number
        unit = F.pad(unit, (0, 0, 0, fill)).unflatten(-2, (blocks, self.block))
        # In bfloat16 an angle would be off by more than what tells groups apart.
        kind = "cpu" if unit.is_meta else unit.device.type
        with torch.autocast(kind, enabled=False):
            likeness = unit @ unit.transpose(-1, -2) / self.temperature
        target = F.pad(step.target, (0, fill)).view(blocks, self.block)
        losses, anchors = [], []
        for axis in self._axes:
            group = F.pad(step.sensitive[:, axis], (0, fill), value=-1).view(target.shape)
            loss, anchor = _contrast(likeness, target, group, 1 / self.temperature)
            size = self.groups.sizes[axis]
            losses.append(loss.flatten(-2)[..., :number, None].expand(*space.shape[:-1], size))
            # An anchor is in its group alone.
            group = torch.where(anchor, group, -1).flatten()[:number]
            anchors.append(group.unsqueeze(1) == torch.arange(size, device=group.device))
        return torch.cat(losses, -1), torch.cat(anchors, -1)


def _contrast(
    likeness: Tensor, target: Tensor, group: Tensor, highest: float
) -> tuple[Tensor, Tensor]:
    """Loss of each row against its block, and whether it has positives and negatives.

    Args:
        likeness: `(..., M, B, B)`.
        target: `(M, B)`.
        group: `(M, B)`, `-1` for unknown.
        highest: Bound on |likeness|.

    Returns:
        `(..., M, B)`, 0 where there is no pair, and `(M, B)` bool.
    """
    known = (group >= 0).unsqueeze(-1) & (group >= 0).unsqueeze(-2)
    same_label = target.unsqueeze(-1) == target.unsqueeze(-2)
    same_group = group.unsqueeze(-1) == group.unsqueeze(-2)
    positive = known & same_label & ~same_group
    negative = known & ~same_label & same_group
    # Likeness is bounded, so that its exponential needs no row-wise maximum: half of the time.
    pushed = ((likeness - highest).exp() * negative).sum(-1, keepdim=True)
    apart = pushed.clamp_min(torch.finfo(pushed.dtype).tiny).log() + highest
    losses = F.softplus(apart - likeness) * positive
    return losses.sum(-1) / positive.sum(-1).clamp_min(1), positive.any(-1) & negative.any(-1)


def _check_learned(step: Step) -> None:
    learns = step.logits is not None and step.logits.requires_grad
    if learns and step.representation is not None and not step.representation.requires_grad:
        raise ArgumentError.of(
            "representation",
            found="one that does not depend on the network's parameters, such as a linear model's",
            expected="a hidden layer, which can learn to keep groups together",
            mend="pass model=mlp, or a penalty on the scores such as method=parity",
        )
