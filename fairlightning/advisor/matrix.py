"""Which technique suits which family of models: the compatibility matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fairlightning.exceptions import check_choice

Family = Literal["linear", "trees", "neural", "ensemble"]
Technique = Literal["constraints", "adversarial", "regularisation", "multi_objective"]
Level = Literal["high", "medium", "low", "not recommended"]

FAMILIES: dict[Family, str] = {
    "linear": "logistic regression and linear SVM",
    "trees": "gradient-boosted trees",
    "neural": "networks, soft trees among them",
    "ensemble": "ensembles, and any model that none of the others describes",
}
TECHNIQUES: dict[Technique, str] = {
    "constraints": "gaps or rates within a bound",
    "adversarial": "a head that guesses the group, behind gradient reversal",
    "regularisation": "a penalty beside the task loss",
    "multi_objective": "several aims, combined or traded off along a front",
}
LEVELS: tuple[Level, ...] = ("high", "medium", "low", "not recommended")


@dataclass(frozen=True)
class Rating:
    """How well a technique suits a family of models.

    Attributes:
        level: `high`, `medium`, `low` or `not recommended`.
        reason: Why.
        alternative: What to take instead; None where the technique suits.
    """

    level: Level
    reason: str
    alternative: str | None = None

    @property
    def is_poor(self) -> bool:
        """Whether training should say so."""
        return self.level in ("low", "not recommended")


RATINGS: dict[tuple[Family, Technique], Rating] = {
    ("linear", "constraints"): Rating(
        "high", "a convex program, solved to a proven optimum in a few passes"
    ),
    ("linear", "adversarial"): Rating(
        "not recommended",
        "a linear model has no representation to clean: the adversary sees its logit alone, and a "
        "convex problem becomes a game without a proof",
        "model=linear method=constrained, or method=parity",
    ),
    ("linear", "regularisation"): Rating(
        "high", "a penalty on gaps of the scores has one weight, and the model stays readable"
    ),
    ("linear", "multi_objective"): Rating(
        "medium",
        "a weighted sum works; gradient aggregation has little to reconcile in one layer",
    ),
    ("trees", "constraints"): Rating(
        "low",
        "trees that are grown stay, so a multiplier that changes from round to round has nothing "
        "to move; constraints are refused",
        "a sweep: -m model=boosted_trees method=parity method.strength=0.1,0.3,1.0",
    ),
    ("trees", "adversarial"): Rating(
        "not recommended",
        "trees have no representation, and no gradient passes through a split; adversaries are "
        "refused",
        "model=boosted_trees method=parity, whose gradient grows the trees",
    ),
    ("trees", "regularisation"): Rating(
        "high", "the gradient of the penalty enters the gain of every split: fair splitting"
    ),
    ("trees", "multi_objective"): Rating(
        "low",
        "trees follow one weighted sum and have no weights to keep small; other combinations are "
        "refused",
        "a sweep of method.strength, then fairlightning collect",
    ),
    ("neural", "constraints"): Rating(
        "medium",
        "no λ to choose and the bound is met on validation rows, but nothing is proved of others",
    ),
    ("neural", "adversarial"): Rating(
        "high", "gradients reach the representation, so that other tasks may use it too"
    ),
    ("neural", "regularisation"): Rating(
        "high", "one more term of the loss; on gaps the cheapest in a step, and stable"
    ),
    ("neural", "multi_objective"): Rating(
        "high", "a whole front from one training, and combinations for parts that are not convex"
    ),
    ("ensemble", "constraints"): Rating(
        "medium",
        "held by the mean of the members, so each of them may break it; as with one network, "
        "nothing is proved",
    ),
    ("ensemble", "adversarial"): Rating(
        "medium",
        "works on the ensemble's logit; a representation is that of all members side by side, for "
        "which the head has to grow",
    ),
    ("ensemble", "regularisation"): Rating(
        "high", "penalties need the scores alone, whatever makes them"
    ),
    ("ensemble", "multi_objective"): Rating(
        "medium", "works, at the time of a front of networks times the number of members"
    ),
}
"""The compatibility matrix."""

TECHNIQUE_OF: dict[str, Technique] = {
    "adversarial": "adversarial",
    "fairness_head": "adversarial",
    "constrained": "constraints",
    "bounded_group_loss": "constraints",
    "parity": "regularisation",
    "dependence": "regularisation",
    "split_parity": "regularisation",
    "projection": "regularisation",
    "similarity": "regularisation",
    "sensitive_gradient": "regularisation",
    "counterfactual": "regularisation",
    "contrastive": "regularisation",
    "calibration": "regularisation",
    "group_dro": "regularisation",
    "fairness": "multi_objective",
    "interpretability": "multi_objective",
}
"""Technique of an objective, by its name under `method.objectives`."""

_FAMILY_OF: dict[str, Family] = {
    "Linear": "linear",
    "BoostedTrees": "trees",
    "Ensemble": "ensemble",
    "TabM": "ensemble",
}


def rating(family: str, technique: str) -> Rating:
    """Look up a cell of the compatibility matrix.

    Args:
        family: Key of `FAMILIES`.
        technique: Key of `TECHNIQUES`.

    Raises:
        ArgumentError: If there is no such family or technique.

    >>> rating("trees", "adversarial").level
    'not recommended'
    """
    check_choice("family", family, FAMILIES)
    check_choice("technique", technique, TECHNIQUES)
    return RATINGS[family, technique]  # type: ignore[index]


def family_of(model: str) -> Family:
    """Family of a model by the name of its class, with or without a path.

    Args:
        model: Such as `fairlightning.models.Linear`. What is not known is a network.

    >>> family_of("fairlightning.models.TabM"), family_of("my.Net")
    ('ensemble', 'neural')
    """
    return _FAMILY_OF.get(model.rsplit(".", 1)[-1], "neural")


def poor_matches(family: str, objectives: Iterable[str]) -> dict[Technique, Rating]:
    """Techniques of a training that do not suit its model.

    Args:
        family: Key of `FAMILIES`.
        objectives: Names under `method.objectives`; those that are not known are passed over.

    >>> list(poor_matches("linear", ["adversarial", "parity"]))
    ['adversarial']
    """
    used = dict.fromkeys(TECHNIQUE_OF[name] for name in objectives if name in TECHNIQUE_OF)
    found = {technique: rating(family, technique) for technique in used}
    return {technique: judged for technique, judged in found.items() if judged.is_poor}
