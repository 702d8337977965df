"""What success criteria are judged on, and the bounds that they have."""

from __future__ import annotations

from dataclasses import dataclass

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.criteria import CRITERIA
from fairlightning.groups import GroupSpec
from fairlightning.metrics.verdicts import DECIDABLE
from fairlightning.verification.paired import Pair

TESTABLE = tuple(name for name in DECIDABLE if CRITERIA[name].combine == "worst")
"""Fairness criteria whose gap is the largest of some differences of rates."""


@dataclass(frozen=True)
class Bounds:
    """What a method has to keep to.

    Attributes:
        improvement: Share by which the gap has to fall for a pass.
        improvement_with_note: Share from which on it passes with a note.
        accuracy_drop: Largest loss of accuracy, in [0, 1].
        tolerated_harm: Largest growth of a group's distance from all rows that counts as none.
        visible_harm: Growth beyond which a group is harmed, once chance is ruled out.
        min_support: Different rows from which on a group takes part in verdicts.
        level: One-sided confidence of "met" and "not met".
        no_effect: Confidence at which "the gap did not fall at all" has to be ruled out.
        reproducible: Probability with which a further training has to lower the gap too.

    Raises:
        ArgumentError: If a number lies outside of its range.
    """

    improvement: float = 0.15
    improvement_with_note: float = 0.10
    accuracy_drop: float = 0.05
    tolerated_harm: float = 0.05
    visible_harm: float = 0.02
    min_support: int = 100
    level: float = 0.97
    no_effect: float = 0.995
    reproducible: float = 0.9

    def __post_init__(self) -> None:
        shares = {n: v for n, v in vars(self).items() if n != "min_support"}
        wrong = [f"{name}={value}" for name, value in shares.items() if not 0 <= value < 1]
        if self.improvement_with_note > self.improvement or self.level <= 0.5:
            wrong.append(f"improvement_with_note={self.improvement_with_note}, level={self.level}")
        if self.min_support < 1:
            wrong.append(f"min_support={self.min_support}")
        if wrong:
            raise ArgumentError.of(
                "success",
                found=", ".join(wrong),
                expected="shares in [0, 1), a note no later than the pass, a level above 0.5, and "
                "support of 1 or more",
                mend="see conf/verify.yaml for the defaults",
            )


@dataclass(frozen=True)
class Material:
    """What the criteria are judged on.

    Attributes:
        test: Predictions of test, by seed.
        validation: Predictions of validation, by seed; other rows, on which witnesses are chosen.
        groups: Sensitive attributes.
        criterion: One of `TESTABLE`.
        attributes: Attributes whose gaps are to fall.
        threshold: Score from which a row is selected.
        sources: Files of the predictions.

    Raises:
        ArgumentError: If the criterion cannot be tested or an attribute does not exist.
    """

    test: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    groups: GroupSpec
    criterion: str
    attributes: tuple[str, ...]
    threshold: float = 0.5
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, TESTABLE)
        for name in self.attributes:
            check_choice("attributes", name, self.groups.names)

    @property
    def rates(self) -> tuple[str, ...]:
        """Rates that the criterion wants equal."""
        return CRITERIA[self.criterion].rates
