"""Parity penalties: equal rates of selection, precision, accuracy or errors in all groups."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import (
    CRITERIA,
    FOUR_FIFTHS,
    GAPS,
    Criterion,
    Gap,
    check_criterion,
    furthest_pairs,
    numbers_of,
    parity_gap,
    rate_variance,
)
from fairlightning.functional.rates import (
    Rates,
    mean_scores,
    row_moments,
    slot_sums,
)
from fairlightning.functional.tasks import (
    TASKS,
    TaskKind,
    class_scores,
    one_vs_rest,
    step_labels,
    step_scores,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Objective, Step, Term
from fairlightning.objectives.slices import Slices

CLASSIFIERS: tuple[TaskKind, ...] = ("binary", "multiclass")

TASKS_OF: dict[Criterion, tuple[TaskKind, ...]] = {
    "demographic_parity": TASKS,
    "equal_opportunity": CLASSIFIERS,
    "equalized_odds": CLASSIFIERS,
    "predictive_parity": CLASSIFIERS,
    "accuracy_parity": TASKS,
    "balanced_residuals": ("regression",),
}
"""Criteria of the parity penalty, and the tasks of which they speak."""

_FEW = 128
"""Most group sums that are compared faster as numbers than as a tensor."""

_OF_LABELS = ("equal_opportunity", "equalized_odds")


class ParityPenalty(Objective):
    """Penalise the gap between the groups' soft rates.

    Of a binary target p = sigmoid(logit) is averaged over all rows (demographic parity; the
    relaxation of Zafar et al. 2017, arXiv:1507.05259, with probabilities for the margin), over rows
    with label 1 (equal opportunity; Hardt et al. 2016, arXiv:1610.02413) or over each label
    (equalized odds). Predictive parity (Chouldechova 2017, arXiv:1703.00056) compares Σ p·y / Σ p,
    the share of label 1 among rows that are selected with probability p; accuracy parity the
    probability of the right label.

    Of several classes each is set against the rest, with the probabilities of the softmax: `max`
    and `ratio` take the worst class, other gaps average over classes. Where the classes are ordered
    (`Task.ordered`), the shares of rows that reach each class but the first take their place: with
    `max` demographic parity is the Kolmogorov-Smirnov distance of the groups' mean distributions
    over classes, with `mean` of two groups their Wasserstein-1 distance in shares of its range.

    Of a regression demographic parity compares mean predictions (equal means), `balanced_residuals`
    mean residuals (both Calders et al. 2013, doi:10.1109/ICDM.2013.114), and accuracy parity mean
    absolute errors.

    A group that is absent from a batch, or has no row with the label in question, takes no part in
    the gap of that batch; its support is 0 in the term.

    Args:
        groups: The sensitive attributes.
        criterion: `demographic_parity`, `equal_opportunity`, `equalized_odds`, `predictive_parity`,
            `accuracy_parity` or, of a regression, `balanced_residuals`.
        gap: `max`, `mean`, `squared`, `logsumexp` or `ratio`, which is 0 where the four-fifths rule
            is kept; see `fairlightning.functional.parity_gap`.
        attributes: Attributes that it is about; all if None.
        intersections: False: the gap of every attribute, averaged. True: one gap over the
            intersections of the attributes.
        debiased: Subtract from the squared gap what sampling alone adds to it (s²/n per group), so
            that small batches do not push towards a gap that is not there. Needs `gap="squared"`,
            rows without weights and rates that are means, which those of predictive parity are not;
            groups with fewer than two rows in a batch then take no part.
        temperature: Width > 0 of `logsumexp`, in units of the rate.
        ratio: Ratio in (0, 1] that `gap="ratio"` asks for.
        weight: Share in λ.

    Raises:
        ArgumentError: On an unknown criterion, gap or attribute, or options that exclude each
            other.

    Shapes: logits `(..., N, C)`, target `(N,)`, sensitive `(N, A)`; the value is `(...)`, of a
    classifier in [0, 1] unless debiased, of a regression in units of the target's deviation (if
    `Task.scale` is that). The support has a row for each class and label that is compared.

    >>> penalty = ParityPenalty(GroupSpec({"sex": ["Female", "Male"]}))
    >>> term = penalty(Step(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]),
    ...                     torch.tensor([[0], [1]])))
    >>> round(term.value.item(), 4), term.support["sex"].tolist()
    (0.3808, [[1.0, 1.0]])
    """

    _compared: Tensor

    def __init__(
        self,
        groups: GroupSpec,
        *,
        criterion: Criterion = "demographic_parity",
        gap: Gap = "max",
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        debiased: bool = False,
        temperature: float = 0.05,
        ratio: float = FOUR_FIFTHS,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_criterion("ParityPenalty", criterion, tuple(TASKS_OF))
        check_choice("gap", gap, GAPS)
        _check_options(gap, debiased, temperature, ratio, criterion)
        of_rates = gap == "ratio"  # which predictions and errors are not
        self.tasks = tuple(
            task for task in TASKS_OF[criterion] if not (of_rates and task == "regression")
        )
        self.ratio = ratio
        self.criterion: Criterion = criterion
        self.gap: Gap = gap
        self.debiased = debiased
        self.temperature = temperature
        self.partitions = groups.partitions_of(self.attributes, intersections)
        self.num_groups = [groups.num_groups(partition) for partition in self.partitions]
        axes = [groups.axes(partition) for partition in self.partitions]
        self._columns = [
            (partition, columns[0] if len(columns) == 1 else None)
            for partition, columns in zip(self.partitions, axes, strict=True)
        ]
        # Sums of every partition, label (if it matters) and group, unknown first, as one block.
        labels = 2 if criterion in _OF_LABELS else 1
        self._block = (len(self.partitions), labels, max(self.num_groups) + 1)
        # Rows of unknown groups, and of labels that are not asked about, stay out of the support:
        # cheaper than cutting their slots out of every sum, and out of every gradient.
        self._conditions = slice(1, None, 2) if criterion == "equal_opportunity" else slice(None)
        compared = torch.zeros(self._block[1:])
        compared[self._conditions, 1:] = 1
        self.register_buffer("_compared", compared, persistent=False)
        self._places = {
            " & ".join(partition): (..., index, self._conditions, slice(1, count + 1))
            for index, (partition, count) in enumerate(
                zip(self.partitions, self.num_groups, strict=True)
            )
        }
        self._size = prod(self._block)
        slots = torch.arange(self._size)
        self._slots_compared = {
            name: slots.view(self._block)[place].tolist() for name, place in self._places.items()
        }
        self._flat_places = {name: (..., slots) for name, slots in self._slots_compared.items()}
        # Shape of totals in which the gap is linear once its groups are found, one number each.
        few = gap == "max" and criterion != "predictive_parity" and len(slots) <= _FEW
        self._linear = slots.shape if few else None

    def sums(self, step: Step) -> tuple[Tensor, ...]:
        """Sums of the scores, and of what `term` needs beside them, per partition, label, group."""
        assert step.logits is not None and step.target is not None
        if step.row_weight is not None and self.debiased:
            raise ArgumentError.of(
                "debiased",
                found="True with row weights",
                expected="rows without weights, for which s²/n is right",
                mend="pass debiased=False or train without row weights",
            )
        scores, target, classes = class_scores(step.logits, step.task), step.target, 1
        if step.ordered or self.criterion not in CRITERIA:
            moments = self._moments(step, scores)
        else:
            moments = row_moments(scores, step.row_weight, square=self.debiased)
        if step.task == "multiclass" and self.criterion != "accuracy_parity":
            # Classes behind one another, (..., C·N), each with the labels of what it is against.
            target = _class_labels(step)
            classes = len(target)
            moments = tuple(m.expand(*m.shape[:-2], *target.shape).flatten(-2) for m in moments)
        slots = self._slots(step, target, classes)
        size = classes * self._size
        return tuple([slot_sums(values, slots, size) for values in moments])

    def _moments(self, step: Step, scores: Tensor) -> tuple[Tensor, ...]:
        """What is summed: `(..., N)`, or `(..., C, N)` of each class, and masses `(N,)`."""
        assert step.target is not None
        if step.ordered and self.criterion != "accuracy_parity":
            scores = step_scores(scores)
        if self.criterion == "predictive_parity":
            target = step.target
            if step.task == "multiclass":
                target = _class_labels(step)
            weight = torch.ones_like(step.target) if step.row_weight is None else step.row_weight
            mass = scores * weight
            return mass * target, mass, (weight > 0).to(mass.dtype)
        if self.criterion == "accuracy_parity":
            scores = _right(scores, step.target, step.task)
        elif self.criterion == "balanced_residuals":
            scores = scores - step.target
        return row_moments(scores, step.row_weight, square=self.debiased)

    def _slots(self, step: Step, target: Tensor, classes: int) -> list[Tensor]:
        """Where each row counts in each partition, `(C·N,)`; `target` is `(N,)` or `(C, N)`."""
        assert step.sensitive is not None
        _, labels, width = self._block
        slots, first = [], 1
        for partition, axis in self._columns:
            if axis is None:
                slot = self.groups.group_ids(step.sensitive, partition) + first
            else:
                slot = step.sensitive.select(1, axis) + first
            if labels > 1:
                slot = torch.add(slot, target, alpha=width)
            if classes > 1:
                number = torch.arange(classes, device=slot.device).unsqueeze(1)
                slot = (slot + number * (labels * width)).flatten()
            slots.append(slot)
            first += classes * labels * width
        return slots

    def term(self, sums: Sequence[Tensor]) -> Term:
        """Gap of every partition, averaged."""
        if sums[0].shape == self._linear and (numbers := numbers_of(sums[0], sums[1])):
            weights = furthest_pairs(*numbers, self._slots_compared.values())
            value = torch.dot(sums[0], torch.tensor(weights, dtype=sums[0].dtype))
            return Term(value, support=Slices(sums[-1], self._flat_places))
        total, mass, *others = map(self._by_condition, sums)
        if self.criterion == "predictive_parity":
            # The rows that count are themselves soft: their number has a gradient.
            rows = torch.where(mass > torch.finfo(mass.dtype).tiny, others[0], 0.0).detach()
        else:
            mass = mass.detach()
            rows = others[0].detach() if others and not self.debiased else mass
        support = self._supported(rows)
        if self.debiased:
            gap = self._debiased_gap(total, mass, others[0], support)
        else:
            rates = Rates(mean_scores(total, mass), support)
            gap = parity_gap(rates, self.gap, temperature=self.temperature, ratio=self.ratio)
        value = gap.squeeze(-1) if gap.shape[-1] == 1 else gap.mean(-1)
        return Term(value, support=Slices(rows, self._places))

    def _by_condition(self, part: Tensor) -> Tensor:
        """Sums `(..., P, conditions, 1 + G)`, of every label and class, unknown groups first."""
        partitions, _, width = self._block
        return part.view(*part.shape[:-1], partitions, -1, width)

    def _supported(self, rows: Tensor) -> Tensor:
        """Rows of what is compared; 0 of the rest, so that it takes no part in a gap."""
        classes = rows.shape[-2] // self._block[1]
        compared = self._compared if classes == 1 else self._compared.repeat(classes, 1)
        return rows * compared

    @staticmethod
    def _debiased_gap(total: Tensor, mass: Tensor, square: Tensor, support: Tensor) -> Tensor:
        # One row has a rate but no variance, so its part of the bias could not be taken away.
        rates = Rates(mean_scores(total, mass), torch.where(support > 1, support, 0.0))
        return parity_gap(rates, "squared", variance=rate_variance(rates, square))


def _class_labels(step: Step) -> Tensor:
    """Labels 0 and 1 of what is compared: each class, or of ordered classes each step."""
    assert step.logits is not None and step.target is not None
    labels = step_labels if step.ordered else one_vs_rest
    return labels(step.target, step.logits.shape[-1])


def _right(scores: Tensor, target: Tensor, task: TaskKind) -> Tensor:
    """Probability of the right label, or absolute error, `(..., N)`."""
    if task == "regression":
        return (scores - target).abs()
    if task == "binary":
        return torch.where(target == 1, scores, 1 - scores)
    label = target.expand(*scores.shape[:-2], 1, -1)
    return scores.gather(-2, label).squeeze(-2)


def _check_options(
    gap: Gap, debiased: bool, temperature: float, ratio: float, criterion: Criterion
) -> None:
    if debiased and (gap != "squared" or criterion == "predictive_parity"):
        raise ArgumentError.of(
            "debiased",
            found=f"True with gap={gap!r} and criterion={criterion!r}",
            expected="gap='squared' of mean scores, the only one whose bias is known exactly",
            mend="pass gap='squared' or debiased=False",
        )
    if not temperature > 0:
        raise ArgumentError.of(
            "temperature",
            found=temperature,
            expected="greater than 0, in units of the rate",
            mend="pass temperature=0.05",
        )
    if not 0 < ratio <= 1:
        raise ArgumentError.of(
            "ratio", found=ratio, expected="in (0, 1]", mend=f"pass ratio={FOUR_FIFTHS}"
        )
