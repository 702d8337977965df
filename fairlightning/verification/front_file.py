"""A front: models with their criteria and records, of which one is to be chosen; `front.json`.

Models are chosen on the stage `val` and reported on `test`. Neither sensitive data nor predictions
of single rows are in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlightning.exceptions import ArgumentError, DataError, check_choice
from fairlightning.functional.pareto import Array, hypervolume, nondominated
from fairlightning.metrics import Key, Record, higher_is_better

CHOSEN_ON, REPORTED_ON = "val", "test"
"""Stages that every point of a front has records of."""

WINDOW_LOSS = 0.05
"""Performance below the baseline's that still counts in the window of a front: five points."""

COMPLEXITY = "complexity"
"""Criterion without a better end in `metrics`: how large or deep a model is, lower being better."""

Setting = str | float | int | bool | None


@dataclass(frozen=True)
class Criterion:
    """A figure that models are compared by.

    Attributes:
        metric: Name of the metric in the records, such as `"accuracy"`.
        attribute: Partition that a gap is over, such as `"sex"`; None for a figure over all rows.

    Raises:
        ArgumentError: If neither end of the metric is the better one.
    """

    metric: str
    attribute: str | None = None

    def __post_init__(self) -> None:
        if self.metric != COMPLEXITY and higher_is_better(self.metric) is None:
            raise ArgumentError.of(
                "criterion",
                found=repr(self.metric),
                expected="a metric of which one end is better, such as accuracy or "
                "demographic_parity_difference",
                mend="name the gap itself: <criterion>_difference",
            )

    @property
    def maximised(self) -> bool:
        """Whether the higher value is the better one."""
        return higher_is_better(self.metric) is True

    def cost(self, value: float) -> float:
        """The value as what is minimised: 1 − value where the higher one is better.

        >>> Criterion("accuracy").cost(0.75), Criterion("brier").cost(0.1)
        (0.25, 0.1)
        """
        return 1.0 - value if self.maximised else value


@dataclass(frozen=True)
class FrontPoint:
    """One model of a front.

    Attributes:
        id: Its name in the front, such as `"member=3,epoch=12"`.
        settings: What distinguishes it from the others, such as `{"strength": 0.3}`.
        records: Its figures on the stages `val` and `test`.
        model: Where it is, a path relative to the file: a `state_dict`, or a run's folder.
        load: The command or the line of Python that loads it.
        member: Its number among models trained together; None for one trained alone.
        epoch: Epoch whose weights it has, from 0; None where that is not known.
    """

    id: str
    settings: Mapping[str, Setting]
    records: tuple[Record, ...]
    model: str
    load: str
    member: int | None = None
    epoch: int | None = None
    _by_key: dict[Key, Record] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key = {record.key: record for record in self.records}
        if len(by_key) != len(self.records):
            raise DataError.of(
                f"point {self.id!r}",
                found="a figure twice",
                expected="one record for each stage, metric, attribute and group",
                mend="pass the records of a single evaluation",
            )
        object.__setattr__(self, "_by_key", by_key)

    def record(self, criterion: Criterion, stage: str) -> Record:
        """The record of a criterion.

        Raises:
            DataError: If there is none.
        """
        found = self._by_key.get(Key(stage, criterion.metric, criterion.attribute, None))
        if found is None:
            about = f" of {criterion.attribute}" if criterion.attribute else ""
            raise DataError.of(
                f"point {self.id!r}",
                found=f"no record of {criterion.metric}{about} on {stage}",
                expected="one for each criterion on val and test",
                mend="take criteria that every model was evaluated on",
            )
        return found


@dataclass(frozen=True)
class FrontLimit:
    """What the same scores could reach if the group were known at prediction time.

    Attributes:
        metric: Metric of the gap.
        attribute: Its partition.
        stage: Stage that the points are figures of.
        points: Pairs of accuracy and gap.
    """

    metric: str
    attribute: str | None
    stage: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Front:
    """Models that one may choose from, and what they are compared by.

    Attributes:
        title: What was trained on what, such as `"adult, mlp, parity"`.
        criteria: First performance, then gaps and whatever else counts.
        points: The models; some may be dominated.
        baseline_id: Id of the plain model among the points; None if there is none.
        limit: The line that no choice of group thresholds can cross; None where it is not known.

    Raises:
        DataError: Without points or criteria, if two points or criteria are the same, if no point
            has the id of the baseline, or a point lacks the record of a criterion.
    """

    title: str
    criteria: tuple[Criterion, ...]
    points: tuple[FrontPoint, ...]
    baseline_id: str | None = None
    limit: FrontLimit | None = None

    def __post_init__(self) -> None:
        ids = [point.id for point in self.points]
        for name, items in (("points", ids), ("criteria", self.criteria)):
            if not items or len(set(items)) < len(items):
                raise DataError.of(
                    name,
                    found=f"{len(items)}, {len(set(items))} of them different",
                    expected="at least one, and none twice",
                    mend="leave the second one out, or give it a name of its own",
                )
        if self.baseline_id is not None and self.baseline_id not in ids:
            raise DataError.of(
                "baseline",
                found=repr(self.baseline_id),
                expected="the id of a point, or none: " + ", ".join(ids),
                mend="correct the id",
            )
        for stage in (CHOSEN_ON, REPORTED_ON):
            for criterion in self.criteria:
                for point in self.points:
                    point.record(criterion, stage)

    @property
    def baseline(self) -> FrontPoint | None:
        """The plain model."""
        return next((point for point in self.points if point.id == self.baseline_id), None)

    def costs(self, stage: str) -> Array:
        """Criteria of all points as costs.

        Args:
            stage: `val` or `test`.

        Returns:
            `(M, J)` float64, all to be minimised: 1 − accuracy, gaps as they are.

        Raises:
            ArgumentError: On another stage.
            DataError: If a criterion of a point is not estimable.
        """
        check_choice("stage", stage, (CHOSEN_ON, REPORTED_ON))
        return np.array([self._costs(point, stage) for point in self.points], dtype=np.float64)

    def on_front(self, stage: str = CHOSEN_ON) -> NDArray[np.bool_]:
        """Tell which points no other one dominates, `(M,)` bool."""
        return nondominated(self.costs(stage))

    def reference(self, stage: str, loss: float = WINDOW_LOSS) -> Array:
        """The worst that counts: performance `loss` below the baseline's, its gaps as they are.

        Args:
            stage: `val` or `test`.
            loss: Loss of performance > 0 that is still of interest.

        Returns:
            `(J,)` costs.

        Raises:
            ArgumentError: If there is no baseline, or the loss is not positive.
        """
        if self.baseline is None or not loss > 0:
            raise ArgumentError.of(
                "reference",
                found=f"loss={loss}, baseline={self.baseline_id}",
                expected="a positive loss against a baseline",
                mend="name the plain model as the baseline, or pass a reference point of your own",
            )
        corner = np.array(self._costs(self.baseline, stage))
        corner[0] += loss
        return corner

    def hypervolume(
        self, stage: str, reference: ArrayLike | None = None, *, chosen_on: str | None = None
    ) -> float:
        """Volume that the points dominate, up to a reference point.

        Args:
            stage: `val` or `test`.
            reference: `(J,)` costs, the worst that counts; `self.reference(stage)` if None.
            chosen_on: Stage on which the points are chosen that count, those of its front; all
                points count if None.

        Raises:
            ArgumentError: On a reference of another length, or none without a baseline.
        """
        corner = self.reference(stage) if reference is None else reference
        costs = self.costs(stage)
        if chosen_on is not None:
            costs = costs[self.on_front(chosen_on)]
        return hypervolume(costs, corner)

    def window_share(
        self, stage: str, loss: float = WINDOW_LOSS, *, chosen_on: str | None = None
    ) -> float | None:
        """Hypervolume as a share of the window between the baseline and no gap at all.

        The window is `loss` of performance times the gaps of the baseline. More than 1 is possible,
        where models are better than the baseline in performance too.

        Args:
            stage: Stage of the figures.
            loss: Width of the window, in performance.
            chosen_on: As for `hypervolume`.

        Returns:
            The share; None where the baseline has no gap, so that there is no window.

        Raises:
            ArgumentError: If there is no baseline.
        """
        corner = self.reference(stage, loss)
        size = loss * float(np.prod(corner[1:]))
        return self.hypervolume(stage, corner, chosen_on=chosen_on) / size if size > 0 else None

    def _costs(self, point: FrontPoint, stage: str) -> list[float]:
        row = []
        for criterion in self.criteria:
            value = point.record(criterion, stage).value
            if value is None:
                raise DataError.of(
                    f"point {point.id!r}",
                    found=f"{criterion.metric} not estimable on {stage}",
                    expected="a figure for each criterion",
                    mend="leave the criterion out, or take more rows: a group has none that count",
                )
            row.append(criterion.cost(value))
        return row
