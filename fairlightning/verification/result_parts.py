"""Parts of a verification beside its criteria and tables; see `verification.results`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """Accuracy and gaps of one model (or the mean over seeds) under some condition.

    Attributes:
        accuracy: Mean over seeds.
        gaps: By attribute, the difference under the criterion, mean over seeds.
        accuracy_deviation: Standard deviation over seeds.
        gap_deviations: The same of the gaps.
    """

    accuracy: float | None
    gaps: dict[str, float | None]
    accuracy_deviation: float | None
    gap_deviations: dict[str, float | None]


@dataclass(frozen=True)
class CurvePoint:
    """Both models under one condition.

    Attributes:
        strength: Position on the curve's axis.
        label: The condition in words.
        baseline: The baseline under it.
        intervention: The intervention under it.
        support: Smallest (effective) number of rows of a seed.
    """

    strength: float
    label: str
    baseline: Reading
    intervention: Reading
    support: int


@dataclass(frozen=True)
class Curve:
    """Accuracy and gaps as a condition gets stronger, without training again.

    Attributes:
        name: Such as `"feature_noise"`, `"label_noise"` or `"threshold"`.
        title: What is done to the rows, in words.
        axis: What `strength` measures.
        points: In the order of the axis; empty where the curve is left out.
        omitted: Why it is left out; None otherwise.
        sources: Files that hold the figures.
    """

    name: str
    title: str
    axis: str
    points: tuple[CurvePoint, ...]
    omitted: str | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class SensitivityPoint:
    """A model of the front around the chosen λ.

    Attributes:
        strength: Its λ in units of the method's strength.
        accuracy: Its accuracy.
        gaps: Its gaps by attribute.
    """

    strength: float
    accuracy: float | None
    gaps: dict[str, float | None]


@dataclass(frozen=True)
class LambdaSensitivity:
    """How accuracy and gaps follow λ around the chosen one, from one training of a front.

    Attributes:
        strength: The chosen λ; None where the method has none.
        points: By rising λ; empty where it is left out.
        elasticity: By figure (`"accuracy"`, `"gap of sex"`): change in per cent for one per cent
            of λ, at the chosen λ.
        omitted: Why it is left out; None otherwise.
        sources: Files that hold the figures.
    """

    strength: float | None
    points: tuple[SensitivityPoint, ...]
    elasticity: dict[str, float | None]
    omitted: str | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Reproducibility:
    """All that it takes to get the same numbers again.

    Attributes:
        identical: Whether training the same seed twice gave the same predictions, bit by bit.
        differing_rows: Number of predictions that differ.
        largest_difference: Largest difference of two scores.
        compared: The two files of predictions.
        command: The command line.
        commit: Commit of the code; None outside of a repository.
        packages: Versions by name, Python's included.
        hardware: Processor, number of cores, memory, accelerator.
        data: Facts about the data set, its fingerprint (`sha256`) included.
        config: File with the configuration.
    """

    identical: bool
    differing_rows: int
    largest_difference: float
    compared: tuple[str, str]
    command: str
    commit: str | None
    packages: dict[str, str]
    hardware: dict[str, str]
    data: dict[str, str]
    config: str


@dataclass(frozen=True)
class ChecklistItem:
    """One of the eleven items.

    Attributes:
        number: 1 to 11.
        title: What has to be so.
        ticked: Whether it is.
        by: `"evidence"` of the run, `"statement"` of a person, or None where it is not ticked.
        evidence: What was found, in words; or the statement.
        sources: Files that show it.
        person: Who signed the statement.
        date: When, as `YYYY-MM-DD`.
    """

    number: int
    title: str
    ticked: bool
    by: str | None
    evidence: str
    sources: tuple[str, ...]
    person: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class Checklist:
    """The eleven items of in-processing, and whether enough of them are ticked.

    Attributes:
        items: In their order.
        share: Share that is ticked.
        required: Share that is needed.
        passed: Whether it is reached.
    """

    items: tuple[ChecklistItem, ...]
    share: float
    required: float
    passed: bool
