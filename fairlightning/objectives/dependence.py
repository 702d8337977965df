"""Dependence penalties: what scores tell about group or value, beyond the groups' mean scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.continuous import (
    DEVIATIONS,
    GRID,
    PROBABILITIES,
    contingency_from_sums,
    soft_bins,
)
from fairlightning.functional.dependence import (
    correlation_from_sums,
    hsic,
    mmd,
    mutual_information_from_sums,
    wasserstein,
)
from fairlightning.functional.parity import (
    NUM_CONDITIONS,
    Criterion,
    check_criterion,
    criterion_cells,
)
from fairlightning.functional.rates import mean_scores, row_moments, segment_sums
from fairlightning.functional.tasks import TASKS, TaskKind, class_scores
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term
from fairlightning.objectives.values import VALUE_MEASURES, Values

Measure = Literal[
    "correlation", "mutual_information", "hgr", "hsic", "mmd", "wasserstein", "wasserstein_squared"
]


def _contingency(total: Tensor, mass: Tensor) -> Tensor:
    # Fewer than two groups: one column, or none, from which nothing follows.
    estimable = ((mass > 0).sum(-1) > 1).to(total.dtype)
    return contingency_from_sums(total) * estimable


OF_SUMS: dict[Measure, Callable[..., Tensor]] = {
    "correlation": correlation_from_sums,
    "mutual_information": mutual_information_from_sums,
    "hgr": _contingency,
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
    "hgr": 0.7,  # 0.112, 0.835
    "hsic": 7.0,  # 0.102, 0.832
    "mmd": 0.7,  # 0.099, 0.832
    "wasserstein": 0.5,  # 0.114, 0.831
    "wasserstein_squared": 2.5,  # 0.095, 0.828
}
"""Weight with which strength 1 about halves the gap: the measures differ in scale."""

MEASURES: tuple[Measure, ...] = (*OF_SUMS, *OF_ROWS)


CLASSIFIERS: tuple[TaskKind, ...] = ("binary", "multiclass")


class DependencePenalty(Objective):
    """Penalise the dependence of the scores on the sensitive attributes.

    Scores are probabilities, sigmoid(logit) or, of several classes, each of the softmax, over which
    the value is averaged; of a regression they are the predictions, which all but the
    Wasserstein distances take in deviations: `Fairness` refuses targets in raw units.

    `correlation` (Zafar et al. 2017, arXiv:1507.05259, as the share of variance that groups
    explain) and `mutual_information` (Kamishima et al. 2012) see the groups' mean scores, as parity
    does. `hsic` (Gretton et al. 2005), `mmd` (Gretton et al. 2012), `wasserstein` and
    `wasserstein_squared` (Jiang et al. 2020) see whole distributions: at 0 the groups agree at
    every threshold. So does `hgr`, the contingency χ² of binned scores, which bounds the squared
    maximal correlation (Mary et al. 2019). See `fairlightning.functional.dependence` and
    `fairlightning.functional.continuous`.

    Of continuous attributes `correlation` (squared, Pearson's), `hsic` and `hgr` take the values
    themselves; the other measures compare groups, and refuse them.

    `hsic`, `mmd` and the Wasserstein distances do not follow from sums over rows. Their value in
    validation is therefore the mean over batches, which exceeds that of all rows together, and
    training on several ranks is refused. In small batches and for rare groups they are biased
    upwards.

    Args:
        groups: The sensitive attributes.
        measure: One of the seven above.
        criterion: Over which rows: `demographic_parity` all, `equal_opportunity` those with label
            1, `equalized_odds` each label, averaged over those where two groups have rows. Several
            classes and regression know the first alone.
        attributes: Attributes that it is about; all if None.
        intersections: False: the value of every attribute, averaged. True: one value over the
            intersections of the attributes, none of which may be continuous.
        weight: Share in λ; that of `WEIGHTS` for the measure if None.

    Raises:
        ArgumentError: On an unknown measure, criterion or attribute, or a measure of groups for a
            continuous attribute.

    Shapes: logits `(..., N, C)`, target `(N,)`, sensitive `(N, A)`, continuous `(N, B)`; the value
    is `(...)`, at least 0 up to rounding. A group without rows takes no part; its support is 0.

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
        check_criterion("DependencePenalty", criterion)
        self.measure: Measure = measure
        self.criterion: Criterion = criterion
        self.additive = measure in OF_SUMS
        # A grid, a bandwidth, or sums of squares, which far from 0 leave no digits to a variance.
        self.in_deviations = measure in ("correlation", "hgr", "hsic", "mmd")
        if criterion != "demographic_parity":
            self.tasks = ("binary",)
        else:
            self.tasks = CLASSIFIERS if measure == "mutual_information" else TASKS
        continuous = [name for name in self.attributes if name in groups.continuous]
        _check_continuous(measure, intersections, continuous)
        axes = [groups.continuous.index(name) for name in continuous]
        self._values = [Values(axis, measure, criterion) for axis in axes]  # type: ignore[arg-type]
        discrete = [name for name in self.attributes if name not in continuous]
        self._names = discrete + continuous
        self.partitions = groups.partitions_of(discrete, intersections) if discrete else ()
        if continuous:
            self.requires = (*self.requires, "continuous")
        self._sizes = [groups.num_groups(partition) for partition in self.partitions]
        self._conditions = NUM_CONDITIONS[criterion]

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of each cell `(..., M)`; of distributions mass × value `(...)`, mass, and rows.

        Then, for every continuous attribute, those of `Values`.
        """
        assert step.logits is not None and step.target is not None
        scores = class_scores(step.logits, step.task)
        found = self._of_groups(scores, step) if self.partitions else ()
        if not self._values:
            return found
        assert step.continuous is not None
        each = scores if step.task == "multiclass" else scores.unsqueeze(-2)
        how = (DEVIATIONS, 1.0) if step.task == "regression" else (PROBABILITIES, 0.25)
        for values in self._values:
            found += values.sums(each, step.target, step.continuous, step.row_weight, *how)
        return found

    def _of_groups(self, scores: Tensor, step: Step) -> tuple[Tensor, ...]:
        assert step.sensitive is not None and step.target is not None
        cells = [
            criterion_cells(
                self.criterion, step.target, self.groups.group_ids(step.sensitive, partition), size
            )
            for partition, size in zip(self.partitions, self._sizes, strict=True)
        ]
        if self.measure == "hgr":
            scores = soft_bins(scores, DEVIATIONS if step.task == "regression" else PROBABILITIES)
        square = self.measure == "correlation"
        moments = row_moments(scores, step.row_weight, square=square)
        if self.additive:
            # Sums of several classes, or bins, stand side by side.
            sums = (self._sum(moment, cells) for moment in moments)
            lead = step.logits.ndim - 2 if step.logits is not None else 0
            return tuple(x.flatten(lead) if x.ndim > lead + 1 else x for x in sums)
        mass, seen = moments[1], moments[-1 if step.row_weight is not None else 1]
        rows = self._sum(seen, cells)
        value = self._mean(self._of_rows(scores, cells, step), rows)
        if step.task == "multiclass":
            value = value.mean(-1)
        return value * mass.sum(), mass.sum(), rows

    def _sum(self, values: Tensor, cells: Sequence[Tensor]) -> Tensor:
        """Sum rows by cell, `(..., M)`: all cells of the first partition, then of the next."""
        counts = [self._conditions * size for size in self._sizes]
        sums = zip(cells, counts, strict=True)
        return torch.cat([segment_sums(values, cell, count) for cell, count in sums], -1)

    def _of_rows(self, scores: Tensor, cells: Sequence[Tensor], step: Step) -> list[Tensor]:
        """Values `(...)` of a measure that needs the rows, by partition and condition."""
        options = {"weight": step.row_weight}
        if step.task == "regression" and self.measure in ("hsic", "mmd"):
            options["bandwidth"] = 1.0  # type: ignore[assignment]  # of predictions in deviations
        values = []
        for cell, size in zip(cells, self._sizes, strict=True):
            for condition in range(self._conditions):
                inside = (cell >= condition * size) & (cell < (condition + 1) * size)
                group = torch.where(inside, cell - condition * size, -1)
                values.append(OF_ROWS[self.measure](scores, group, size, **options))
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
        last = len(sums) - 3 * len(self._values)
        of_groups, of_values = sums[:last], sums[last:]
        found, supports = [], []
        if of_groups:
            value, parts = self._group_value(of_groups)
            found += [value] * len(parts)
            supports += parts
        for i, values in enumerate(self._values):
            value, rows = values.value(of_values[3 * i : 3 * i + 3])
            found.append(value)
            supports.append(rows)
        if self._values:
            value = torch.stack(found, -1).mean(-1)
        names = [" & ".join(partition) for partition in self.partitions]
        names += self._names[len(self._names) - len(self._values) :]
        return Term(value, support=dict(zip(names, supports, strict=True)))

    def _group_value(self, sums: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        if not self.additive:
            total, mass, rows = sums
            rows = rows.detach()
            return mean_scores(total, mass.detach()), list(self._parts(rows))
        total, mass, *others = sums
        mass = mass.detach()
        square = [others.pop()] if self.measure == "correlation" else []
        rows = others[0].detach() if others else mass
        cells = mass.shape[-1]
        several = total.shape[-1] > cells
        columns = [total, *square]
        if several:
            columns = [part.unflatten(-1, (-1, cells)) for part in columns]
        parts = [list(self._parts(part)) for part in (columns[0], mass, *columns[1:])]
        if self.measure == "hgr":
            # Bins belong to the table of each condition, classes stay outside.
            parts[0] = [x.unflatten(-3, (-1, GRID)).transpose(-3, -2) for x in parts[0]]
        of_parts = [OF_SUMS[self.measure](*part) for part in zip(*parts, strict=True)]
        value = self._mean([x for each in of_parts for x in each.unbind(-1)], rows)
        return value.mean(-1) if several else value, list(self._parts(rows))


def _check_continuous(measure: Measure, intersections: bool, continuous: Sequence[str]) -> None:
    if continuous and (measure not in VALUE_MEASURES or intersections):
        raise ArgumentError.of(
            "measure, intersections",
            found=f"{measure!r} with intersections={intersections} for the continuous "
            f"{', '.join(continuous)}",
            expected=f"one of {', '.join(VALUE_MEASURES)} without intersections",
            mend="pass measure='hsic', or list it as a plain attribute, whose bins are groups",
        )
