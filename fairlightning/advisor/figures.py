"""Figures of `docs/benchmarks.md` that the advisor quotes."""

from __future__ import annotations

from dataclasses import dataclass

STEP = "python benchmarks/step.py"
METHODS = "python benchmarks/methods.py"
ADULT = "python benchmarks/adult.py"


@dataclass(frozen=True)
class Measured:
    """A figure of `docs/benchmarks.md`, in the words of that page where it is quoted.

    Attributes:
        text: What was measured, with its figures.
        figures: The figures, as the page writes them.
        command: What measures it again.
    """

    text: str
    figures: tuple[str, ...]
    command: str


def _step(ratio: str, command: str) -> Measured:
    return Measured(f"a training step takes {ratio} times a plain one", (ratio,), command)


STEP_ADVERSARIAL = _step("1.309", STEP)
STEP_PARITY = _step("1.097", STEP)
STEP_CONSTRAINED = _step("1.51", METHODS)
STEP_PROJECTION = _step("1.51", METHODS)
STEP_MULTI_OBJECTIVE = _step("1.18", METHODS)
STEP_DEPENDENCE = _step("5.74", METHODS)

CONFLICT = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.069 for 0.66 points of "
    "accuracy, while the equal-opportunity difference rises from 0.052 to 0.194",
    ("0.178", "0.069", "0.66", "0.052", "0.194"),
    ADULT,
)
PARITY = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.076 for 0.48 points of "
    "accuracy",
    ("0.178", "0.076", "0.48"),
    f"{ADULT} --method parity",
)
PARITY_OPPORTUNITY = Measured(
    "on Adult, equal-opportunity difference for sex from 0.052 to 0.018 for 0.09 points of "
    "accuracy",
    ("0.052", "0.018", "0.09"),
    f"{ADULT} --method parity --criterion equal_opportunity",
)
PROJECTED = Measured(
    "on Adult, demographic-parity difference for sex from 0.178 to 0.067 for 0.60 points of "
    "accuracy",
    ("0.178", "0.067", "0.60"),
    f"{ADULT} --method projection",
)
BOOSTED = Measured(
    "twelve strengths in 13 s, where exponentiated gradient takes 133 s for six bounds",
    ("13 s", "133 s"),
    "python benchmarks/boosting.py",
)
FRONT = Measured(
    "sixteen strengths trained together take 0.245 (batch 1,024) of the time of sixteen trainings; "
    "one network for every λ takes 1.145 times one training",
    ("0.245", "1.145"),
    "python benchmarks/front_speed.py",
)
