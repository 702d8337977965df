"""The mixins: one keyword of `super().__init__` each, so that they stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlightning.exceptions import ArgumentError
from fairlightning.mixins.base import FairnessMixin
from fairlightning.objectives import (
    Adversary,
    ComplexityPenalty,
    ParityPenalty,
    RateConstraint,
    WeightedSum,
)


class ParityMixin(FairnessMixin):
    """Add a parity penalty named `parity`.

    Args:
        parity: Arguments of `fairlightning.objectives.ParityPenalty`, such as
            `dict(criterion="equal_opportunity", weight=2.0)`.
    """

    def __init__(self, *args: Any, parity: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fairness.add("parity", ParityPenalty(self.fairness.groups, **(parity or {})))


class ConstraintMixin(FairnessMixin):
    """Minimise the task loss subject to constraints on group rates.

    Add the callback `MultiplierUpdate`, which moves the multipliers.

    Args:
        constraints: By name the arguments of `fairlightning.objectives.RateConstraint`, such as
            `{"parity": dict(criterion="demographic_parity", epsilon=0.05)}`.

    Raises:
        ArgumentError: If there is none.
    """

    def __init__(
        self,
        *args: Any,
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not constraints:
            raise ArgumentError.of(
                "constraints",
                found=constraints,
                expected="at least one constraint by name",
                mend='pass constraints={"parity": dict(epsilon=0.05)}',
            )
        for name, options in constraints.items():
            self.fairness.add(name, RateConstraint(self.fairness.groups, **options))


class AdversarialMixin(FairnessMixin):
    """Add an adversary behind gradient reversal, named `adversarial`.

    Args:
        adversarial: Arguments of `fairlightning.objectives.Adversary`; `in_features` is needed.

    Raises:
        ArgumentError: If `in_features` is missing.
    """

    def __init__(
        self, *args: Any, adversarial: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        options = adversarial or {}
        if "in_features" not in options:
            raise ArgumentError.of(
                "adversarial",
                found=dict(options),
                expected="in_features, the width of what the adversary is fed",
                mend="pass adversarial=dict(in_features=64)",
            )
        self.fairness.add("adversarial", Adversary(self.fairness.groups, **options))


class MultiObjectiveMixin(FairnessMixin):
    """Scalarise accuracy, fairness and interpretability by a weighted sum.

    The loss is `accuracy · L_task + fairness · gap + interpretability · Σ w²`; pass the network's
    parameters to `fair_loss`. Its objectives are named `fairness` and `interpretability`.

    Args:
        multi_objective: Weights `accuracy`, `fairness` and `interpretability`, each at least 0,
            and optionally `parity` and `complexity`, the arguments of the two penalties, of which
            a `weight` takes the place of `fairness` or `interpretability`.

    Raises:
        ArgumentError: On any other key.
    """

    def __init__(
        self, *args: Any, multi_objective: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        options: dict[str, Any] = {"accuracy": 1.0, "fairness": 1.0, "interpretability": 1e-4}
        options |= {"parity": {}, "complexity": {}}
        unknown = set(multi_objective or {}) - set(options)
        if unknown:
            raise ArgumentError.of(
                "multi_objective",
                found=f"keys {sorted(unknown)}",
                expected=f"some of {', '.join(options)}",
                mend="rename or remove them",
            )
        options |= dict(multi_objective or {})
        kwargs.setdefault("combination", WeightedSum(task=options["accuracy"]))
        super().__init__(*args, **kwargs)
        groups = self.fairness.groups
        fair = {"weight": options["fairness"], **options["parity"]}
        simple = {"weight": options["interpretability"], **options["complexity"]}
        self.fairness.add("fairness", ParityPenalty(groups, **fair))
        self.fairness.add("interpretability", ComplexityPenalty(groups, **simple))
