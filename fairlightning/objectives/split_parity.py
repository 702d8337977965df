"""Fair splitting: every node of soft trees passes the same share of each group to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import (
    GAPS,
    NUM_CONDITIONS,
    Criterion,
    Gap,
    check_criterion,
    criterion_cells,
    parity_gap,
)
from fairlightning.functional.rates import (
    Rates,
    at_least_float32,
    mean_scores,
    row_moments,
    segment_sums,
)
from fairlightning.functional.routes import routes
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term

UNREACHED = 1e-6
"""Share of its rows below which a group counts as not reaching a node."""


class SplitParityPenalty(Objective):
    """Penalise the gap between the groups' routes at each node of soft decision trees.

    The share of a group's rows that a node passes to its right child, of those that reach it, is
    compared between groups; a node counts by the share of all rows that reach it, as a constant.
    Where all nodes route groups alike, every leaf receives the same share of each group, and so the
    groups' mean logits are equal. It is the differentiable form of a discrimination-aware splitting
    criterion (Kamiran, Calders and Pechenizkiy 2010, doi:10.1109/ICDM.2010.50), for trees such as
    `fairlightning.models.SoftForest`.

    Args:
        groups: The sensitive attributes.
        trees: Number T of trees, whose leaves stand side by side in the representation.
        criterion: `demographic_parity`: over all rows; `equal_opportunity`: over rows with label 1;
            `equalized_odds`: over those of each label.
        gap: How the shares of groups become one gap; see `fairlightning.functional.parity_gap`.
        attributes: Attributes that it is about, of which the mean is taken; all if None.
        intersections: Compare the intersections of the attributes in their place.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown criterion, gap or attribute, or without trees.

    Shapes: representation `(..., N, T·2^D)` probabilities of leaves, target `(N,)`, sensitive
    `(N, A)`; the value is `(...)` in [0, 1].

    >>> penalty = SplitParityPenalty(GroupSpec({"sex": ["Female", "Male"]}), trees=1)
    >>> leaves = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    >>> term = penalty(Step(representation=leaves, target=torch.tensor([0, 1]),
    ...                     sensitive=torch.tensor([[0], [1]])))
    >>> round(term.value.item(), 4)
    0.5
    """

    requires = ("representation", "target", "sensitive")

    def __init__(
        self,
        groups: GroupSpec,
        *,
        trees: int,
        criterion: Criterion = "demographic_parity",
        gap: Gap = "max",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_criterion("SplitParityPenalty", criterion)
        check_choice("gap", gap, GAPS)
        if trees < 1:
            raise ArgumentError.of(
                "trees", found=trees, expected="1 or more", mend="pass the trees of the model"
            )
        if criterion == "demographic_parity":
            self.tasks = ("binary", "multiclass", "regression")
        self.trees = trees
        self.criterion: Criterion = criterion
        self.gap: Gap = gap
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self._sizes = [groups.num_groups(partition) for partition in self.partitions]
        self._conditions = NUM_CONDITIONS[criterion]

    @classmethod
    def build(cls, groups: GroupSpec, sizes: Mapping[str, int], **options: Any) -> Objective:
        """Make the penalty for a network of soft trees.

        Raises:
            ArgumentError: If the network has none.
        """
        if "trees" not in sizes:
            raise ArgumentError.of(
                "model",
                found="a network without soft trees",
                expected="splits whose routes can be compared",
                mend="pass model=soft_tree or model=soft_forest, or method=parity for others",
            )
        return cls(groups, trees=sizes["trees"], **options)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Probabilities of leaves summed by cell, `(..., L, M)`; mass and rows of cells `(M,)`."""
        assert step.representation is not None and step.target is not None
        assert step.sensitive is not None
        leaves = at_least_float32(step.representation).transpose(-1, -2)
        parts = []
        for partition, size in zip(self.partitions, self._sizes, strict=True):
            group = self.groups.group_ids(step.sensitive, partition)
            cell = criterion_cells(self.criterion, step.target, group, size)
            moments = row_moments(leaves, step.row_weight)
            parts += [segment_sums(moment, cell, self._conditions * size) for moment in moments]
        return tuple(parts)

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Gap of every node by the rows that it receives; the mean over trees and partitions."""
        each = len(sums) // len(self.partitions)
        values, support = [], {}
        for place, partition in enumerate(self.partitions):
            total, mass, *rows = sums[place * each : (place + 1) * each]
            cells = (self._conditions, self._sizes[place])
            number = (rows[0] if rows else mass).detach().view(cells)
            values.append(
                self._value(total.unflatten(-1, cells), mass.detach().view(cells), number)
            )
            support[" & ".join(partition)] = number
        return Term(torch.stack(values).mean(0), support=support)

    def _value(self, leaves: Tensor, mass: Tensor, rows: Tensor) -> Tensor:
        """Mean over trees of what `(..., L, C, G)` leaves and `(C, G)` masses give."""
        by_tree = leaves.movedim(-3, -1).unflatten(-1, (self.trees, -1))
        reach, right = (part.movedim((-4, -3), (-2, -1)) for part in routes(by_tree))
        present = (rows > 0) & (reach > UNREACHED * mass)  # (..., T, J, C, G)
        rates = Rates(mean_scores(right, reach), present.to(reach.dtype))
        gap = parity_gap(rates, self.gap)
        share = mean_scores(reach.detach().sum((-1, -2)), mass.sum())
        depth = (reach.shape[-3] + 1).bit_length() - 1
        return (gap * share).sum(-1).mean(-1) / depth
