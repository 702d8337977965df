"""The decision tree: family of models and definition of fairness lead to a technique."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from fairlightning.advisor.matrix import FAMILIES
from fairlightning.advisor.options import Option
from fairlightning.advisor.ways import OPTIONS
from fairlightning.exceptions import ArgumentError, check_choice


@dataclass(frozen=True)
class Definition:
    """A definition of fairness.

    Attributes:
        words: What it asks for.
        criterion: Value of `criterion=`; None where the option itself is the definition.
    """

    words: str
    criterion: str | None


DEFINITIONS: dict[str, Definition] = {
    "demographic_parity": Definition("equal selection rates", "demographic_parity"),
    "equal_opportunity": Definition("equal true positive rates", "equal_opportunity"),
    "equalized_odds": Definition("equal true and false positive rates", "equalized_odds"),
    "individual": Definition("similar people get similar scores", None),
    "predictive_parity": Definition("equal precision", "predictive_parity"),
    "accuracy_parity": Definition("equal accuracy", "accuracy_parity"),
    "calibration": Definition("scores mean the same in every group", None),
    "worst_group": Definition("the worst-off group does as well as it can", None),
}

_GAPS = ("parity", "constrained", "projection", "multi_objective", "dependence")
_ANY = {
    "predictive_parity": ("parity",),
    "accuracy_parity": ("parity",),
    "calibration": ("calibration",),
    "worst_group": ("group_dro",),
}

TREE: dict[str, dict[str, tuple[str, ...]]] = {
    "linear": {
        "demographic_parity": ("convex_reweighed", "convex_bounds", "parity"),
        "equal_opportunity": ("convex_thresholds", "convex_bounds", "parity_opportunity"),
        "equalized_odds": ("convex_bounds", "parity"),
        "individual": ("similarity", "counterfactual"),
        **_ANY,
    },
    "trees": {
        "demographic_parity": ("fair_splitting", "reweighing"),
        "equal_opportunity": ("fair_splitting_weighted", "thresholds"),
        "equalized_odds": ("fair_splitting_weighted",),
        "individual": ("regularised_induction",),
        "predictive_parity": ("fair_splitting",),
        "accuracy_parity": ("fair_splitting",),
        "calibration": ("calibration",),
    },
    "neural": {
        "demographic_parity": ("adversarial", *_GAPS, "reweighing"),
        "equal_opportunity": (
            "fairness_head",
            "parity_opportunity",
            "constrained",
            "adversarial",
            "thresholds",
        ),
        "equalized_odds": ("adversarial", "parity", "constrained"),
        "individual": ("sensitive_gradient", "contrastive", "counterfactual", "similarity"),
        **_ANY,
    },
    "ensemble": {
        "demographic_parity": ("parity", "reweighing", "constrained", "adversarial"),
        "equal_opportunity": ("thresholds", "parity_opportunity", "constrained"),
        "equalized_odds": ("parity", "constrained"),
        "individual": ("similarity",),
        **_ANY,
    },
}
"""Options by family and definition; the first one is the leaf, the others are alternatives."""

MODELS = {
    "linear": "linear",
    "trees": "boosted_trees",
    "neural": "mlp",
    "ensemble": "ensemble",
}
"""Value of `model=` that stands for a family."""

DROPOUT = {"neural": "model.dropout", "ensemble": "model.network.dropout"}
"""Where these models have the share of units that they drop."""


def candidates(family: str, definition: str) -> dict[str, Option]:
    """Options of a leaf, the recommended one first.

    Args:
        family: Key of `FAMILIES`.
        definition: Key of `DEFINITIONS`.

    Raises:
        ArgumentError: If there is no such family or definition, or no technique for both.

    >>> next(iter(candidates("neural", "demographic_parity")))
    'adversarial'
    """
    check_choice("model", family, FAMILIES)
    check_choice("definition", definition, DEFINITIONS)
    names = TREE[family].get(definition, ())
    if not names:
        able = ", ".join(other for other, leaves in TREE.items() if definition in leaves)
        raise ArgumentError.of(
            "definition",
            found=f"{definition!r} with {family}",
            expected=f"a definition that {family} have a technique for",
            mend=f"take a model of another family ({able}), or one of {', '.join(TREE[family])}",
        )
    return {name: OPTIONS[name] for name in names}


def commands(
    option: Option,
    definition: str,
    model: str,
    *,
    dataset: str = "dataset=adult",
    tuning: str = "none",
    more: tuple[str, ...] = (),
    shared_threshold: bool = False,
) -> tuple[str, ...]:
    """What to type to run an option.

    Args:
        option: One of `OPTIONS`.
        definition: Key of `DEFINITIONS`.
        model: Arguments that name the model, such as `model=mlp`.
        dataset: Arguments that name the data set, and others to keep, as a shell reads them.
        tuning: `none`, `sweep`, `search`, `front` or `conditioned` (one network for every λ).
        more: Further arguments.
        shared_threshold: One threshold for all groups, where thresholds are adjusted.

    Returns:
        Commands, to be run one after the other.

    >>> commands(OPTIONS["parity"], "demographic_parity", "model=mlp", tuning="sweep")[0]
    'fairlightning train -m method.strength=0.1,0.3,1.0 dataset=adult model=mlp method=parity'
    """
    criterion = DEFINITIONS[definition].criterion
    told = [] if criterion in (None, "demographic_parity") else [f"criterion={criterion}"]
    swept = [] if option.thresholds else _swept(option, tuning)
    given = shlex.split(f"{dataset} {model}")
    bounds = [part for part in given if part.startswith("epsilon")]
    fixed = _without(option.overrides, [*swept, *bounds])
    words = [shlex.join(_without(given, [*swept, *fixed])), *fixed, *told, *more]
    if option.thresholds:
        train = " ".join(["fairlightning train", *words, "run_dir=runs/advised"])
        shared = ["--shared"] if shared_threshold else []
        adjust = ["fairlightning evaluate runs/advised/predictions.parquet"]
        return train, " ".join([*adjust, "--adjust-thresholds 0.05", *shared])
    together = option.technique and option.stackable and not option.bounded
    if tuning in ("front", "conditioned") and together:
        front = (
            ["fairlightning front", "conditioned=true"]
            if tuning == "conditioned"
            else ["fairlightning front"]
        )
        return (" ".join([*front, *words]),)
    return (" ".join(["fairlightning train", *swept, *words]),)


def _without(overrides: Iterable[str], others: Iterable[str]) -> list[str]:
    """Overrides of what the others do not set."""
    names = {other.partition("=")[0] for other in others}
    return [override for override in overrides if override.partition("=")[0] not in names]


def _swept(option: Option, tuning: str) -> list[str]:
    if tuning == "none" or option.technique is None:
        return []
    name = next((o.split("=")[0] for o in option.overrides if o.startswith("epsilon")), None)
    if option.bounded:
        return [] if name is None else ["-m", f"{name}=0.02,0.05,0.1"]
    if tuning == "search":
        return ["-m", "hydra/sweeper=pareto", "'method.strength=tag(log,interval(0.03,3))'"]
    return ["-m", "method.strength=0.1,0.3,1.0"]
