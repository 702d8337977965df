"""From a situation to a recommendation, with what speaks against everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairlightning.advisor.matrix import FAMILIES, rating
from fairlightning.advisor.options import Option
from fairlightning.advisor.situation import Facts, Situation
from fairlightning.advisor.tree import DEFINITIONS, DROPOUT, MODELS, TREE, candidates, commands
from fairlightning.advisor.ways import OPTIONS
from fairlightning.exceptions import ArgumentError

FEW = 100
"""Training rows of an intersection below which gaps are mostly chance."""


@dataclass(frozen=True)
class Advised:
    """An option that is left, with its commands.

    Attributes:
        key: Key of `OPTIONS`.
        option: The option.
        reasons: Why it is a candidate, and what it costs here.
        commands: What to type.
    """

    key: str
    option: Option
    reasons: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """What the advisor says.

    Attributes:
        situation: What it was asked.
        recommendation: The first option that nothing rules out.
        alternatives: The others that are left, in the order of the decision tree.
        ruled_out: Names of the others, with the reasons.
        cautions: What the data and the answers ask to watch.
    """

    situation: Situation
    recommendation: Advised
    alternatives: tuple[Advised, ...]
    ruled_out: dict[str, tuple[str, ...]]
    cautions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python form, as `fairlightning advise --json` writes it."""
        return {
            "situation": self.situation.to_dict(),
            "recommendation": _plain(self.recommendation),
            "alternatives": [_plain(advised) for advised in self.alternatives],
            "ruled_out": {name: list(reasons) for name, reasons in self.ruled_out.items()},
            "cautions": list(self.cautions),
        }


def recommend(
    situation: Situation,
    *,
    model: str | None = None,
    dataset: str = "dataset=adult",
    dropout: str | None = None,
) -> Advice:
    """Walk the decision tree, and rule out what the answers do not allow.

    Args:
        situation: The answers.
        model: Arguments that name the model; that of the family if None.
        dataset: Arguments that name the data set, and others to keep, as a shell reads them.
        dropout: Name of the share of units that `model` drops; None where it drops none.

    Raises:
        ArgumentError: If the answers rule everything out; the message names them.

    >>> advice = recommend(Situation("neural", "demographic_parity"))
    >>> advice.recommendation.option.name
    'adversarial debiasing'
    """
    if model is None:
        model, dropout = f"model={MODELS[situation.model]}", DROPOUT.get(situation.model)
    left, ruled_out = [], {}
    for key, option in candidates(situation.model, situation.definition).items():
        against = tuple(_against(option, situation))
        if against:
            ruled_out[option.name] = against
        else:
            left.append(_advised(key, option, situation, model, dataset, dropout))
    if not left:
        reasons = "; ".join(f"{name}: {', '.join(why)}" for name, why in ruled_out.items())
        raise ArgumentError.of(
            "answers",
            found=f"nothing that meets them all ({reasons})",
            expected=f"a technique for {situation.model} and {situation.definition}",
            mend=_mend(situation),
        )
    if situation.tuning == "none":
        # A bound needs no choice of a strength; sorting is stable.
        left.sort(key=lambda advised: not advised.option.bounded)
    ruled_out |= _elsewhere(situation)
    cautions = tuple(_cautions(situation, left[0].option, dropout))
    return Advice(situation, left[0], tuple(left[1:]), ruled_out, cautions)


def _advised(
    key: str, option: Option, situation: Situation, model: str, dataset: str, dropout: str | None
) -> Advised:
    reasons = [option.what]
    if option.technique:
        cell = rating(situation.model, option.technique)
        reasons.append(f"{option.technique} with {situation.model}: {cell.level}, {cell.reason}")
    if option.time_ratio is None and situation.time_increase != float("inf") and option.technique:
        reasons.append("its training time has not been measured here")
    tuning = situation.tuning
    if situation.budget == "low" and tuning != "none" and situation.model in ("neural", "ensemble"):
        tuning = "conditioned"
    elif tuning == "front" and situation.model in ("linear", "trees"):
        tuning = "sweep"
    more = tuple(_more(option, situation, dropout))
    run = commands(
        option,
        situation.definition,
        model,
        dataset=dataset,
        tuning=tuning,
        more=more,
        shared_threshold=situation.deployment == "no_group",
    )
    return Advised(key, option, tuple(reasons), run)


def _against(option: Option, situation: Situation) -> Iterator[str]:
    if situation.regime == "online" and (option.passes or option.thresholds):
        yield "needs all rows at once, and rows come once"
    if situation.explainability == "proof" and not option.proof:
        yield "proves nothing about its optimum"
    if situation.explainability == "readable" and situation.model in ("neural", "ensemble"):
        yield f"decisions of a model of the family {situation.model} cannot be read off it"
    if option.time_ratio is not None and option.time_ratio > situation.time_increase:
        yield (
            f"a training step takes {option.time_ratio:.2f} times a plain one, more than "
            f"{situation.time_increase:g}"
        )
    if situation.loss != "logistic" and not (option.proof and situation.loss != "other"):
        yield (
            f"the commands train it on cross-entropy, not on {situation.loss}; in Python "
            "`fair_loss` takes any task loss"
        )
    if situation.deployment == "light" and situation.model == "ensemble":
        yield "an ensemble decides in the time of all its members"
    if situation.deployment == "no_group" and "include_sensitive" in " ".join(option.overrides):
        yield "the model takes the attribute as an input"


def _elsewhere(situation: Situation) -> dict[str, tuple[str, ...]]:
    """What the definition has in other families, and why it is not for this one."""
    own = set(TREE[situation.model].get(situation.definition, ()))
    found: dict[str, tuple[str, ...]] = {}
    for family, leaves in TREE.items():
        for key in leaves.get(situation.definition, ()):
            option = OPTIONS[key]
            if key in own or option.technique is None or option.name in found:
                continue
            cell = rating(situation.model, option.technique)
            why = f"a technique for {family} ({FAMILIES[family]})"  # type: ignore[index]
            if cell.is_poor:
                why = f"{option.technique} with {situation.model} is {cell.level}: {cell.reason}"
            found[option.name] = (why,)
    return found


def _more(option: Option, situation: Situation, dropout: str | None) -> Iterator[str]:
    """Arguments for loss and regularisation."""
    if option.proof:
        if situation.loss != "logistic":
            yield f"method.convex.module.loss={situation.loss}"
        if situation.regularisation in ("l1", "l2"):
            yield f"method.convex.module.{situation.regularisation}=1e-3"
    elif situation.model in ("neural", "linear", "ensemble"):
        if situation.regularisation == "l2":
            yield "optimizer.optimizer.weight_decay=0.01"
        if situation.regularisation == "dropout" and dropout:
            yield f"{dropout}=0.1"
        if situation.regularisation == "l1" and option is OPTIONS["multi_objective"]:
            yield "method.objectives.interpretability.norm=l1"
    elif situation.regularisation == "l2":
        yield "model.min_child_samples=50"


def _cautions(situation: Situation, option: Option, dropout: str | None) -> Iterator[str]:
    if situation.regularisation == "l1" and not option.proof and option.technique:
        yield "few weights: method=multi_objective has a penalty on them (norm=l1)"
    if situation.regularisation == "dropout" and dropout is None:
        yield "the model has no units to drop; the commands leave dropout out"
    if situation.tuning == "front" and situation.model in ("linear", "trees"):
        yield "`fairlightning front` trains networks; for this family sweep, then `collect`"
    if situation.tuning == "none" and not option.bounded and option.technique:
        yield "one strength by hand: look at the gaps on validation before you keep it"
    if situation.regime == "online":
        yield "group rates of single batches are noisy: penalties need debiased=true"
    if situation.definition in ("calibration", "predictive_parity"):
        yield "cannot hold together with equal error rates where base rates differ"
    if situation.facts is not None:
        yield from _cautions_of_data(situation.facts, situation.definition)


def _cautions_of_data(facts: Facts, definition: str) -> Iterator[str]:
    if facts.smallest is None:
        yield "no training row has all sensitive attributes known: take fewer, or fill them in"
    elif facts.smallest_rows < FEW:
        yield (
            f"{facts.smallest} has {facts.smallest_rows} training rows: gaps of intersections are "
            "mostly chance there; use gap=squared debiased=true, and read the intervals"
        )
    if facts.empty:
        yield f"{facts.empty} intersections have no training rows; nothing is learned about them"
    for name, share in facts.unknown.items():
        if share > 0:
            yield (
                f"{name} is unknown for {share:.1%} of the rows: they train the task and take no "
                "part in fairness"
            )
    for name, gap in facts.base_rate_gap.items():
        if gap >= 0.05 and definition == "demographic_parity":
            yield (
                f"base rates of {name} differ by {gap:.3f}: equal selection rates then need "
                "unequal true positive rates"
            )
        if gap >= 0.05 and definition == "accuracy_parity":
            yield f"base rates of {name} differ by {gap:.3f}: equal accuracy may hide other gaps"


def _mend(situation: Situation) -> str:
    if situation.explainability != "none":
        return "ask for less --explainability, or take another --model"
    if situation.loss != "logistic":
        return "take --loss logistic, or --model linear"
    if situation.regime == "online":
        return "take --regime batch, or --model neural"
    return "loosen --time-increase or --deployment"


def _plain(advised: Advised) -> dict[str, Any]:
    option = advised.option
    return {
        "name": option.name,
        "technique": option.technique,
        "reasons": list(advised.reasons),
        "trade_offs": trade_offs(option),
        "measured": [{"text": m.text, "command": m.command} for m in option.measured],
        "commands": list(advised.commands),
    }


def trade_offs(option: Option) -> dict[str, str]:
    """Training time, explainability, deployment and stability, in words."""
    return {
        "training time": option.training_time,
        "explainability": option.explainability,
        "deployment": option.deployment,
        "stability": option.stability,
    }


def leaves() -> Sequence[tuple[str, str, Advised]]:
    """Every leaf of the decision tree with its commands, as the documentation shows it."""
    return [
        (family, definition, recommend(Situation(family, definition, tuning="none")).recommendation)
        for family in TREE
        for definition in DEFINITIONS
        if definition in TREE[family]
    ]
