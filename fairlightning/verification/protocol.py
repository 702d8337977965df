"""From the folders of finished runs to a verification."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlightning.exceptions import DataError
from fairlightning.functional.intervals import Verdict
from fairlightning.groups import GroupSpec
from fairlightning.metrics import Record
from fairlightning.verification.checklist import Evidence, Statement, checklist
from fairlightning.verification.comparison_rows import comparison_rows
from fairlightning.verification.criteria import (
    accuracy_criterion,
    gap_criterion,
    reproducibility_criterion,
    stability_criterion,
    worst,
)
from fairlightning.verification.files import read_metrics, read_predictions
from fairlightning.verification.group_rows import group_rows
from fairlightning.verification.material import Bounds, Material
from fairlightning.verification.paired import Pair
from fairlightning.verification.results import (
    Curve,
    LambdaSensitivity,
    Reproducibility,
    Run,
    SuccessCriterion,
    Verification,
)
from fairlightning.verification.robustness import mean_curves, threshold_curve
from fairlightning.verification.words import summary

_UNHARMED: dict[Verdict, str] = {
    "met": "none harmed",
    "not met": "",  # whose note names the harmed ones
    "not enough evidence": "not enough evidence that none is harmed",
}

ROLES = ("baseline", "intervention", "repeat")
"""What a training is for; the last one is the intervention of the first seed once more."""


@dataclass(frozen=True)
class Subject:
    """What is verified.

    Attributes:
        dataset: Name of the data set.
        model: Class of the model.
        method: Names of the objectives, joined by `+`.
        criterion: Fairness criterion.
        attributes: Attributes whose gaps are to fall.
        threshold: Score from which a row is selected.
        groups: Sensitive attributes.
    """

    dataset: str
    model: str
    method: str
    criterion: str
    attributes: tuple[str, ...]
    threshold: float
    groups: GroupSpec

    @property
    def title(self) -> str:
        """Data set, model and method."""
        return f"{self.dataset}, {self.model}, {self.method}"


@dataclass(frozen=True)
class Plan:
    """Trainings of a verification, each in a folder of its own.

    Attributes:
        folder: Folder of the verification.
        seeds: Seeds, the first of which is trained twice.
    """

    folder: Path
    seeds: tuple[int, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All trainings: baseline and intervention of every seed, and the repetition."""
        found = [
            Run(seed, role, self.place(seed, role)) for seed in self.seeds for role in ROLES[:2]
        ]
        return (*found, Run(self.seeds[0], "repeat", self.place(self.seeds[0], "repeat")))

    @staticmethod
    def place(seed: int, role: str) -> str:
        """Folder of a training, relative to that of the verification."""
        return f"runs/seed={seed}/{role}"

    @staticmethod
    def shifts(seed: int) -> str:
        """File with the curves of a seed, relative to the folder of the verification."""
        return f"robustness/seed={seed}.json"

    def file(self, seed: int, role: str, name: str) -> Path:
        """A file of a training."""
        return self.folder / self.place(seed, role) / name

    def sources(self, name: str) -> tuple[str, ...]:
        """That file of all baselines and interventions, relative."""
        return tuple(f"{run.folder}/{name}" for run in self.runs if run.role != "repeat")


def material_of(plan: Plan, subject: Subject) -> Material:
    """Read what both models of every seed predict.

    Raises:
        DataError: If a file is missing, or the models of a seed did not predict the same rows.
    """
    pairs: dict[str, list[Pair]] = {"test": [], "val": []}
    for seed in plan.seeds:
        frames = [
            read_predictions(plan.file(seed, role, "predictions.parquet")) for role in ROLES[:2]
        ]
        for stage, found in pairs.items():
            found.append(Pair.of(frames[0], frames[1], subject.groups, stage))
    return Material(
        tuple(pairs["test"]),
        tuple(pairs["val"]),
        subject.groups,
        subject.criterion,
        subject.attributes,
        subject.threshold,
        plan.sources("predictions.parquet"),
    )


def repeated(plan: Plan) -> tuple[bool, int, float, tuple[str, str]]:
    """Compare the two trainings of the same seed.

    Returns:
        Whether all predictions are the same bit by bit, how many differ, the largest difference of
        two scores, and the two files.

    Raises:
        DataError: If they predicted different rows.
    """
    roles = ("intervention", "repeat")
    seed = plan.seeds[0]
    first, second = (
        read_predictions(plan.file(seed, role, "predictions.parquet")) for role in roles
    )
    if not first[["row", "split", "target"]].equals(second[["row", "split", "target"]]):
        raise DataError.of(
            str(plan.file(seed, "repeat", "predictions.parquet")),
            found="other rows than in the first training of the same seed",
            expected="the same rows",
            mend="remove the folder of the repetition and run the command again",
        )
    scores = [frame["score"].to_numpy(np.float64) for frame in (first, second)]
    # Bits, so that −0 and 0 or two NaNs are told apart or together as they are.
    differing = int((scores[0].view(np.int64) != scores[1].view(np.int64)).sum())
    largest = float(np.abs(scores[0] - scores[1]).max())
    files = tuple(f"{plan.place(seed, role)}/predictions.parquet" for role in roles)
    return differing == 0, differing, largest, (files[0], files[1])


def criteria_of(
    material: Material, bounds: Bounds, repetition: tuple[bool, int, float, tuple[str, str]]
) -> tuple[SuccessCriterion, ...]:
    """Judge all success criteria."""
    return (
        gap_criterion(material, bounds),
        accuracy_criterion(material, bounds),
        stability_criterion(material, group_rows(material, bounds), bounds),
        reproducibility_criterion(
            material, bounds, identical=repetition[0], compared=repetition[3]
        ),
    )


def verified(
    plan: Plan,
    subject: Subject,
    bounds: Bounds,
    sensitivity: LambdaSensitivity,
    reproducibility: Reproducibility,
    evidence: Mapping[int, Evidence],
    statements: Mapping[int, Statement],
    statements_file: str | None = None,
) -> Verification:
    """Put everything together from the files of a finished plan.

    Args:
        plan: The trainings.
        subject: What is verified.
        bounds: What has to be kept to.
        sensitivity: What the front around the chosen λ showed.
        reproducibility: All that it takes to get the same numbers again.
        evidence: For the items of the checklist that do not follow from the criteria.
        statements: Of persons, for the others.
        statements_file: Where they are.
    """
    material = material_of(plan, subject)
    repetition = repeated(plan)
    criteria = criteria_of(material, bounds, repetition)
    verdict = worst(criterion.verdict for criterion in criteria)
    files = [plan.shifts(seed) for seed in plan.seeds]
    drift = mean_curves([_curves(plan, name) for name in files], files)
    metrics = [_metrics(plan, role) for role in ROLES[:2]]
    comparison = comparison_rows(metrics[0], metrics[1], material)
    return Verification(
        title=subject.title,
        dataset=subject.dataset,
        model=subject.model,
        method=subject.method,
        criterion=subject.criterion,
        attributes=subject.attributes,
        threshold=subject.threshold,
        seeds=plan.seeds,
        verdict=verdict,
        summary=summary(verdict, criteria, comparison, len(plan.seeds)),
        runs=plan.runs,
        criteria=criteria,
        comparison=comparison,
        groups=group_rows(material, bounds),
        sensitivity=sensitivity,
        drift=drift,
        thresholds=threshold_curve(material),
        reproducibility=reproducibility,
        checklist=checklist(
            {**evidence, **criteria_evidence(criteria, drift)}, statements, source=statements_file
        ),
    )


def criteria_evidence(
    criteria: Sequence[SuccessCriterion], drift: Sequence[Curve]
) -> dict[int, Evidence]:
    """What success criteria and curves of shifted data show about items 7 to 10 of the checklist.

    Item 9 holds where some curve could be drawn and all groups are known to be unharmed.
    """
    gap, accuracy, stability, again = criteria
    found = {
        number: Evidence(of.verdict == "met", f"{of.title}: {of.verdict}", of.sources)
        for number, of in ((7, accuracy), (8, gap), (10, again))
    }
    drawn = [curve for curve in drift if curve.points]
    curves = ", ".join(curve.name.replace("_", " ") for curve in drawn) or "none"
    groups = [_UNHARMED[stability.verdict], stability.note]
    text = f"curves of shifted data: {curves}; groups: {'; '.join(filter(None, groups))}"
    files = dict.fromkeys(path for curve in drawn for path in curve.sources)
    holds = bool(drawn) and stability.verdict == "met"
    return {**found, 9: Evidence(holds, text, (*files, *stability.sources))}


def _metrics(plan: Plan, role: str) -> list[list[Record]]:
    return [read_metrics(plan.file(seed, role, "metrics.json")) for seed in plan.seeds]


def _curves(plan: Plan, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((plan.folder / name).read_text(encoding="utf-8"))[
        "curves"
    ]
    return found
