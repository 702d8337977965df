"""What the advisor knows of a technique."""

from __future__ import annotations

from dataclasses import dataclass

from fairlightning.advisor.figures import Measured
from fairlightning.advisor.matrix import Technique


@dataclass(frozen=True)
class Option:
    """One way, as the command line runs it.

    Attributes:
        name: What the field calls it.
        technique: Column of the compatibility matrix; None before and after training.
        what: What it does, in a sentence.
        overrides: Arguments of `fairlightning train`, apart from data set, model and criterion.
        training_time: Trade-off in training time.
        explainability: Trade-off in how well decisions can be explained.
        deployment: Trade-off in what a deployed model needs.
        stability: Trade-off in how reliably training arrives.
        measured: Figures from this repository.
        time_ratio: Time of a training step over that of the plain network; None if not measured.
        passes: Whether it goes over all rows more than once, or needs their counts beforehand.
        bounded: Whether it takes a bound instead of a λ that has to be chosen.
        proof: Whether it proves how near its optimum is.
        thresholds: Whether a second command adjusts thresholds on validation rows.
        stackable: Whether several strengths train together in a front.
    """

    name: str
    technique: Technique | None
    what: str
    overrides: tuple[str, ...]
    training_time: str
    explainability: str
    deployment: str
    stability: str
    measured: tuple[Measured, ...] = ()
    time_ratio: float | None = None
    passes: bool = False
    bounded: bool = False
    proof: bool = False
    thresholds: bool = False
    stackable: bool = True
