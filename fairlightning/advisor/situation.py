"""The questions that the advisor asks, and the answers it works from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fairlightning.advisor.matrix import FAMILIES
from fairlightning.advisor.tree import DEFINITIONS
from fairlightning.exceptions import ArgumentError, check_choice


@dataclass(frozen=True)
class Question:
    """One question with its answers.

    Attributes:
        text: The question.
        choices: Answers, each with its meaning.
        default: Answer where none is given; None where one has to be.
    """

    text: str
    choices: Mapping[str, str]
    default: str | None = None


QUESTIONS: dict[str, Question] = {
    "model": Question(
        "Which family of models?", {str(name): told for name, told in FAMILIES.items()}
    ),
    "definition": Question(
        "What is fair?", {name: told.words for name, told in DEFINITIONS.items()}
    ),
    "regime": Question(
        "How does training see the rows?",
        {
            "batch": "all rows are there, and may be gone over again",
            "online": "they come once, a batch at a time",
        },
        "batch",
    ),
    "loss": Question(
        "Which task loss?",
        {
            "logistic": "cross-entropy, that of logistic regression",
            "hinge": "that of a support vector machine",
            "squared_hinge": "its smooth form",
            "other": "one of your own",
        },
        "logistic",
    ),
    "regularisation": Question(
        "Which regularisation of the model?",
        {
            "none": "none",
            "l2": "small weights",
            "l1": "few weights",
            "dropout": "units dropped in training",
        },
        "none",
    ),
    "tuning": Question(
        "How is the strength of fairness chosen?",
        {
            "none": "once, by hand",
            "sweep": "a few values, one training each",
            "search": "by Optuna, for accuracy and gap",
            "front": "many at once, then a choice on a page",
        },
        "sweep",
    ),
    "budget": Question(
        "How many trainings can you pay for?",
        {"low": "one or two", "medium": "about ten", "high": "dozens"},
        "medium",
    ),
    "explainability": Question(
        "What must be explained?",
        {
            "none": "nothing in particular",
            "readable": "every decision, from coefficients or trees",
            "proof": "that no better model meets the bound",
        },
        "none",
    ),
    "deployment": Question(
        "What limits the deployed model?",
        {
            "none": "nothing in particular",
            "no_group": "the group may not be known, or not be used, when it decides",
            "light": "no more time and memory than one plain model",
        },
        "none",
    ),
}
"""Every question but the acceptable training time, which is a number."""

NO_LIMIT = float("inf")


@dataclass(frozen=True)
class Facts:
    """What was found in a table.

    Attributes:
        rows: Rows of the table.
        train_rows: Rows of training.
        positives: Share of label 1.
        attributes: Number of groups of each sensitive attribute.
        smallest: Name of the smallest intersection that has training rows; None where no row has
            all attributes known.
        smallest_rows: Its training rows; 0 without one.
        empty: Number of intersections without training rows.
        unknown: Share of rows without a value, by sensitive attribute.
        base_rate_gap: Largest difference of base rates between groups of at least 100 rows, by
            sensitive attribute; one with fewer than two of them is left out.
    """

    rows: int
    train_rows: int
    positives: float
    attributes: Mapping[str, int]
    smallest: str | None
    smallest_rows: int
    empty: int
    unknown: Mapping[str, float]
    base_rate_gap: Mapping[str, float]


@dataclass(frozen=True)
class Situation:
    """Answers to `QUESTIONS`, and what a table adds to them.

    Args:
        model: Family of models.
        definition: Definition of fairness.
        time_increase: Largest acceptable time of a training step, over that of the plain model.
        facts: What was found in a table; None without one.

    Raises:
        ArgumentError: If an answer is none of the choices, or the time is below 1.
    """

    model: str
    definition: str
    regime: str = "batch"
    loss: str = "logistic"
    regularisation: str = "none"
    tuning: str = "sweep"
    budget: str = "medium"
    explainability: str = "none"
    deployment: str = "none"
    time_increase: float = NO_LIMIT
    facts: Facts | None = None

    def __post_init__(self) -> None:
        for name, question in QUESTIONS.items():
            check_choice(name, getattr(self, name), question.choices)
        if not self.time_increase >= 1:
            raise ArgumentError.of(
                "time_increase",
                found=self.time_increase,
                expected="at least 1, the time of the plain model",
                mend="pass for example 1.5 for half as much again",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain Python form; no limit of time is None."""
        told = asdict(self)
        told["time_increase"] = None if self.time_increase == NO_LIMIT else self.time_increase
        return told
