"""Distance to the fair set as a penalty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairlightning.exceptions import check_choice
from fairlightning.functional.parity import NUM_CONDITIONS, Criterion, check_criterion
from fairlightning.functional.projection import (
    DISTANCES,
    Distance,
    fair_projection,
    parity_cells,
    projection_distance,
)
from fairlightning.functional.projection.problem import check_epsilon
from fairlightning.functional.rates import at_least_float32, mean_scores, segment_sums
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term


class ProjectionPenalty(Objective):
    """Penalise the distance of a batch's probabilities to the nearest fair ones.

    Unlike a gap it moves every row of the groups that lie furthest apart, each by what its own
    projection asks, and it is 0 with gradient 0 once the gap is at most ε. The gradient with
    respect to a logit is (p − x)/N for `kl` and 2(p − x)·p(1 − p)/N for `squared`, where x is the
    projection, so that `kl` also moves rows near 0 and 1.

    Each batch is projected by itself, since the nearest fair probabilities of two batches do not
    follow from sums over their rows. In validation the value is therefore the mean over batches,
    which exceeds the distance of all rows together, and training on several ranks is refused. The
    solver runs on the host: on other devices every step waits for a copy.

    Args:
        groups: The sensitive attributes.
        epsilon: Largest gap ≥ 0 between the rates of two groups that costs nothing.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`.
        attributes: Attributes that it is about; all if None.
        intersections: False: a gap for every attribute, all of them at most ε. True: one for the
            intersections of the attributes.
        distance: `kl` (KL(x‖p) in nats) or `squared`; the value is its mean over all rows.
        weight: Share in λ.

    Raises:
        ArgumentError: On ε < 0 or unknown names; in `sums` on logits that are NaN, and where no
            projection is found: with `kl`, if a group's logits beyond ±36 leave none.

    Shapes: logits `(..., N, 1)`, target `(N,)` in {0, 1}, sensitive `(N, A)`; the value is `(...)`,
    at least 0.

    >>> penalty = ProjectionPenalty(GroupSpec({"sex": ["Female", "Male"]}), epsilon=0.1)
    >>> term = penalty(Step(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]),
    ...                     torch.tensor([[0], [1]])))
    >>> round(term.value.item(), 4), term.support["sex"].tolist()
    (0.0531, [[1.0, 1.0]])
    """

    additive = False

    def __init__(
        self,
        groups: GroupSpec,
        *,
        epsilon: float = 0.0,
        criterion: Criterion = "demographic_parity",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        distance: Distance = "kl",
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_criterion("ProjectionPenalty", criterion)
        check_choice("distance", distance, DISTANCES)
        self.epsilon = check_epsilon(epsilon)
        self.criterion: Criterion = criterion
        self.distance: Distance = distance
        self.partitions = groups.partitions_of(self.attributes, intersections)

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Mass times distance of the batch `(...)`, mass, and rows of each cell `(M,)`."""
        assert step.logits is not None and step.sensitive is not None
        weight, logits = step.row_weight, at_least_float32(step.logits.squeeze(-1))
        cells = parity_cells(
            self.criterion, step.target, step.sensitive, self.groups, self.partitions
        )
        # On the host, where the solver is: not every device knows float64, in which logits
        # between 17 and 36 are not yet probabilities of 1.
        scores = torch.sigmoid(logits.cpu().double())
        weight = None if weight is None else weight.cpu().double()
        fair = fair_projection(
            scores, cells, self.epsilon, weight=weight, distance=self.distance
        ).value
        distance = projection_distance(scores, fair, weight=weight, distance=self.distance)
        counted = scores.new_ones(scores.shape[-1]) if weight is None else weight
        mass, seen = counted.sum(), (counted > 0).to(scores)
        count = sum(cells.blocks)
        rows = torch.stack([segment_sums(seen, ids, count) for ids in cells.ids.cpu()]).sum(0)
        # The type first: not every device knows float64.
        return tuple(x.to(logits.dtype).to(logits.device) for x in (distance * mass, mass, rows))

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Mean distance over the rows of all batches."""
        total, mass, counts = sums
        sizes = [self.groups.num_groups(partition) for partition in self.partitions]
        conditions = NUM_CONDITIONS[self.criterion]
        rows = counts.detach().split([conditions * size for size in sizes], -1)
        support = {
            " & ".join(partition): part.unflatten(-1, (conditions, size))
            for partition, part, size in zip(self.partitions, rows, sizes, strict=True)
        }
        return Term(mean_scores(total, mass.detach()), support=support)
