"""Dependence penalties: what the scores tell about the group, beyond the groups' mean scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import check_choice
from fairlightning.functional.dependence import (
    correlation_from_sums,
    hsic,
    mmd,
    mutual_information_from_sums,
    wasserstein,
)
from fairlightning.functional.parity import (
    CRITERIA,
    NUM_CONDITIONS,
    Criterion,
    criterion_cells,
)
from fairlightning.functional.rates import (
    at_least_float32,
    mean_scores,
    row_moments,
    segment_sums,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term

Measure = Literal[
    "correlation", "mutual_information", "hsic", "mmd", "wasserstein", "wasserstein_squared"
]

OF_SUMS: dict[Measure, Callable[..., Tensor]] = {
    "correlation": correlation_from_sums,
    "mutual_information": mutual_information_from_sums,
}
"""Measures that follow from sums over groups."""

OF_ROWS: dict[Measure, Callable[..., Tensor]] = {
    "hsic": hsic,
    "mmd": mmd,
    "wasserstein": wasserstein,
    "wasserstein_squared": partial(wasserstein, order=2),
}
"""Measures that need all rows at once."""

# Gap and accuracy on Adult's validation rows after `fairlightning train method=dependence
# method.objectives.dependence.measure=… attributes=[sex] trainer.max_epochs=5`, seed 0. The plain
# network has gap 0.197, accuracy 0.839.
WEIGHTS: dict[Measure, float] = {
    "correlation": 0.5,  # 0.103, 0.830
    "mutual_information": 5.0,  # 0.112, 0.833
    "hsic": 7.0,  # 0.102, 0.832
    "mmd": 0.7,  # 0.099, 0.832
    "wasserstein": 0.5,  # 0.114, 0.831
    "wasserstein_squared": 2.5,  # 0.095, 0.828
}
"""Weight with which strength 1 about halves the gap: the measures differ in scale."""

MEASURES: tuple[Measure, ...] = (*OF_SUMS, *OF_ROWS)


class DependencePenalty(Objective):
    """Penalise the dependence of the probabilities sigmoid(logit) on the group.

    `correlation` (Zafar et al. 2017, arXiv:1507.05259, as the share of variance that groups
    explain) and `mutual_information` (Kamishima et al. 2012) see the groups' mean scores, as parity
    does. `hsic` (Gretton et al. 2005), `mmd` (Gretton et al. 2012), `wasserstein` and
    `wasserstein_squared` (Jiang et al. 2020) see whole distributions: at 0 the groups agree at
    every threshold. See `fairlightning.functional.dependence`.

    Those of distributions do not follow from sums over rows. Their value in validation is therefore
    the mean over batches, which exceeds that of all rows together, and training on several ranks is
    refused. In small batches and for rare groups they are biased upwards.

    Args:
        groups: The sensitive attributes.
        measure: One of the six above.
        criterion: Over which rows: `demographic_parity` all, `equal_opportunity` those with label
            1, `equalized_odds` each label, averaged over those where two groups have rows.
        attributes: Attributes that it is about; all if None.
        intersections: False: the value of every attribute, averaged. True: one value over the
            intersections of the attributes.
        weight: Share in λ; that of `WEIGHTS` for the measure if None.

    Raises:
        ArgumentError: On an unknown measure, criterion or attribute.

    Shapes: logits `(..., N, 1)`, target `(N,)` in {0, 1}, sensitive `(N, A)`; the value is `(...)`,
    at least 0 up to rounding. A group without rows takes no part; its support is 0.

    >>> penalty = DependencePenalty(GroupSpec({"sex": ["Female", "Male"]}), measure="wasserstein")
    >>> term = penalty(Step(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]),
    ...                     torch.tensor([[0], [1]])))
    >>> round(term.value.item(), 4), term.support["sex"].tolist()
    (0.3808, [[1.0, 1.0]])
    """

    def __init__(
        self,
        groups: GroupSpec,
        *,
        measure: Measure = "hsic",
        criterion: Criterion = "demographic_parity",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        weight: float | None = None,
    ) -> None:
        check_choice("measure", measure, MEASURES)
        weight = WEIGHTS[measure] if weight is None else weight
        super().__init__(groups, weight=weight, attributes=attributes)
        check_choice("criterion", criterion, CRITERIA)
        self.measure: Measure = measure
        self.criterion: Criterion = criterion
        self.additive = measure in OF_SUMS
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self._sizes = [groups.num_groups(partition) for partition in self.partitions]
        self._conditions = NUM_CONDITIONS[criterion]

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of each cell `(..., M)`; of distributions mass × value `(...)`, mass, and rows."""
        assert step.logits is not None and step.sensitive is not None and step.target is not None
        scores = torch.sigmoid(at_least_float32(step.logits.squeeze(-1)))
        cells = [
            criterion_cells(
                self.criterion, step.target, self.groups.group_ids(step.sensitive, partition), size
            )
            for partition, size in zip(self.partitions, self._sizes, strict=True)
        ]
        square = self.measure == "correlation"
        moments = row_moments(scores, step.row_weight, square=square)
        if self.additive:
            return tuple(self._sum(moment, cells) for moment in moments)
        mass, seen = moments[1], moments[-1 if step.row_weight is not None else 1]
        rows = self._sum(seen, cells)
        value = self._mean(self._of_rows(scores, cells, step.row_weight), rows)
        return value * mass.sum(), mass.sum(), rows

    def _sum(self, values: Tensor, cells: Sequence[Tensor]) -> Tensor:
        """Sum rows by cell, `(..., M)`: all cells of the first partition, then of the next."""
        counts = [self._conditions * size for size in self._sizes]
        sums = zip(cells, counts, strict=True)
        return torch.cat([segment_sums(values, cell, count) for cell, count in sums], -1)

    def _of_rows(
        self, scores: Tensor, cells: Sequence[Tensor], weight: Tensor | None
    ) -> list[Tensor]:
        """Values `(...)` of a measure that needs the rows, by partition and condition."""
        values = []
        for cell, size in zip(cells, self._sizes, strict=True):
            for condition in range(self._conditions):
                inside = (cell >= condition * size) & (cell < (condition + 1) * size)
                group = torch.where(inside, cell - condition * size, -1)
                values.append(OF_ROWS[self.measure](scores, group, size, weight=weight))
        return values

    def _mean(self, values: Sequence[Tensor], rows: Tensor) -> Tensor:
        """Average over the conditions that could be estimated, then over partitions."""
        kept = [((part > 0).sum(-1) > 1).sum(-1) for part in self._parts(rows)]
        found = torch.stack(list(values), -1).unflatten(-1, (-1, self._conditions)).sum(-1)
        average: Tensor = (found / torch.stack(kept, -1).clamp_min(1)).mean(-1)
        return average

    def _parts(self, cells: Tensor) -> Iterator[Tensor]:
        """Cells `(..., M)` by partition, `(..., C, G)`."""
        for part in cells.split([self._conditions * size for size in self._sizes], -1):
            yield part.unflatten(-1, (self._conditions, -1))

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Value of the cells' sums; of distributions the mean over batches."""
        if self.additive:
            total, mass, *others = sums
            mass = mass.detach()
            square = [others.pop()] if self.measure == "correlation" else []
            rows = others[0].detach() if others else mass
            parts = zip(*(self._parts(part) for part in (total, mass, *square)), strict=True)
            values = [x for part in parts for x in OF_SUMS[self.measure](*part).unbind(-1)]
            value = self._mean(values, rows)
        else:
            total, mass, rows = sums
            rows = rows.detach()
            value = mean_scores(total, mass.detach())
        names = (" & ".join(partition) for partition in self.partitions)
        return Term(value, support=dict(zip(names, self._parts(rows), strict=True)))
