"""Accuracy and gaps of both models under other data, other thresholds and other λ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import pandas as pd
import torch

from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import criterion_difference
from fairlightning.functional.proportions import proportion_rates
from fairlightning.verification.front_file import Front
from fairlightning.verification.group_rows import spread
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Array, Pair
from fairlightning.verification.results import (
    Curve,
    CurvePoint,
    LambdaSensitivity,
    Reading,
    SensitivityPoint,
)
from fairlightning.verification.shifts import Rows, ShiftSettings, shifts

MODELS = ("baseline", "intervention")

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(2, 19))
"""Thresholds of the curve, the configured one not included."""

NEAR = 2.0
"""Factor up to which a λ counts as near the chosen one."""

Scores = Callable[[pd.DataFrame], Array]


def reading(
    pair: Pair, model: int, material: Material, threshold: float
) -> dict[str, float | dict[str, float | None] | None]:
    """Accuracy and gaps of one model on the rows of one seed, as plain values."""
    decision = torch.from_numpy(pair.scores[model] >= threshold)
    weight = torch.from_numpy(np.ascontiguousarray(pair.weight, dtype=np.float64))
    table = ConfusionTable.of_rows(
        decision,
        torch.from_numpy(np.ascontiguousarray(pair.target)),
        pair.sensitive,
        material.groups,
        weight=weight,
    )
    gaps = {}
    for name in material.attributes:
        gap = criterion_difference(table.partition(material.groups, (name,)), material.criterion)
        gaps[name] = float(gap.value) if int(gap.support) else None
    rate = proportion_rates(table.pooled(), "accuracy")
    return {"accuracy": float(rate.rate) if int(rate.support) else None, "gaps": gaps}


def shift_curves(
    rows: Rows,
    pair: Pair,
    predict: Sequence[Scores],
    material: Material,
    settings: ShiftSettings,
) -> list[dict[str, Any]]:
    """Compute all curves of one seed, in plain values for a file.

    Args:
        rows: Test rows of the seed, in the order of the pair.
        pair: What both models predict of them.
        predict: Scores of baseline and intervention for changed rows.
        material: Groups, criterion, attributes and threshold.
        settings: How strongly rows are changed.
    """
    curves = []
    for shift in shifts(rows, settings):
        points = []
        for condition in shift.conditions:
            changed = pair
            if condition.frame is not None:
                scores = np.stack([scored(condition.frame) for scored in predict])
                changed = changed._replace(scores=scores)
            if condition.target is not None:
                changed = changed._replace(target=condition.target)
            if condition.weight is not None:
                changed = changed._replace(weight=condition.weight)
            mass = changed.weight
            effective = round(mass.sum() ** 2 / max((mass**2).sum(), 1e-300))
            models = {
                name: reading(changed, k, material, material.threshold)
                for k, name in enumerate(MODELS)
            }
            point = {"strength": condition.strength, "label": condition.label}
            points.append({**point, "support": effective, **models})
        facts = {"name": shift.name, "title": shift.title, "axis": shift.axis}
        curves.append({**facts, "omitted": shift.omitted, "points": points})
    return curves


def mean_curves(
    by_seed: Sequence[Sequence[Mapping[str, Any]]], sources: Sequence[str]
) -> tuple[Curve, ...]:
    """Mean and spread over the seeds of curves that `shift_curves` gave.

    A condition that a seed does not have (a value of a column) is not estimable there.
    """
    return tuple(_mean_curve(curves, sources) for curves in zip(*by_seed, strict=True))


def _mean_curve(curves: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> Curve:
    first = curves[0]
    points: dict[str, list[Mapping[str, Any]]] = {}
    for curve in curves:
        for point in curve["points"]:
            points.setdefault(point["label"], []).append(point)
    means = [
        CurvePoint(
            float(same[0]["strength"]),
            label,
            _mean_reading([p["baseline"] for p in same], len(curves)),
            _mean_reading([p["intervention"] for p in same], len(curves)),
            min(p["support"] for p in same),
        )
        for label, same in points.items()
    ]
    means.sort(key=lambda point: point.strength)
    facts = first["name"], first["title"], first["axis"]
    return Curve(*facts, tuple(means), first["omitted"], tuple(sources))


def _mean_reading(readings: Sequence[Mapping[str, Any]], seeds: int) -> Reading:
    lost = [np.nan] * (seeds - len(readings))

    def over(values: list[Any]) -> Any:
        return spread([np.nan if value is None else value for value in values] + lost)

    accuracy = over([each["accuracy"] for each in readings])
    gaps = {name: over([each["gaps"][name] for each in readings]) for name in readings[0]["gaps"]}
    return Reading(
        accuracy.mean,
        {name: gap.mean for name, gap in gaps.items()},
        accuracy.deviation,
        {name: gap.deviation for name, gap in gaps.items()},
    )


def threshold_curve(material: Material) -> Curve:
    """Both models at other thresholds, from the predictions on disk."""
    thresholds = sorted({*THRESHOLDS, material.threshold})
    points = []
    for threshold in thresholds:
        models = [
            _mean_reading(
                [reading(pair, k, material, threshold) for pair in material.test],
                len(material.test),
            )
            for k in range(2)
        ]
        support = min(len(pair.row) for pair in material.test)
        label = f"threshold {threshold:g}"
        points.append(CurvePoint(threshold, label, models[0], models[1], support))
    title = "Rows are selected from another score on"
    return Curve("threshold", title, "threshold", tuple(points), None, material.sources)


def lambda_sensitivity(front: Front, strength: float, source: str) -> LambdaSensitivity:
    """How the models of a front around the chosen λ differ.

    The elasticity is the slope of ln(figure) over ln λ, by least squares over the models whose λ
    lies within a factor of `NEAR` of the chosen one.

    Args:
        front: Models of different `strength`, one of each.
        strength: The chosen λ.
        source: File that the front was read from.
    """
    gaps = [criterion for criterion in front.criteria if criterion.attribute]
    points = []
    for point in sorted(front.points, key=lambda p: float(p.settings["strength"] or 0)):
        found = {str(c.attribute): point.record(c, "test").value for c in gaps}
        accuracy = point.record(front.criteria[0], "test").value
        points.append(SensitivityPoint(float(point.settings["strength"] or 0), accuracy, found))
    figures = {"accuracy": [p.accuracy for p in points]}
    figures |= {f"gap of {c.attribute}": [p.gaps[str(c.attribute)] for p in points] for c in gaps}
    lambdas = [p.strength for p in points]
    elasticity = {name: _slope(lambdas, values, strength) for name, values in figures.items()}
    return LambdaSensitivity(strength, tuple(points), elasticity, None, (source,))


def _slope(lambdas: Sequence[float], values: Sequence[float | None], chosen: float) -> float | None:
    near = [
        (log(strength), log(value))
        for strength, value in zip(lambdas, values, strict=True)
        if value and strength > 0 and abs(log(strength / chosen)) <= log(NEAR) + 1e-9
    ]
    if len(near) < 2:
        return None
    x, y = np.array(near).T
    return float(np.polyfit(x, y, 1)[0])
