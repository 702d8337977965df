"""Combinations by a scalarisation other than the weighted sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.scalarisation import (
    PENALTIES,
    Penalty,
    augmented_chebyshev,
    bound_penalty,
    chebyshev,
    smooth_chebyshev,
)
from fairlightning.objectives.base import Term
from fairlightning.objectives.combination import Combination


class _FromReference(Combination):
    """Base of rules on weighted losses `e_i = w_i (L_i − z_i)`, measured from a reference point.

    `w` is `task` for the task and the λ in force for every objective, so `method.strength` and
    ramps move the preference: with λ small at first, the task is what the maximum picks. A term of
    weight 0 does not count, so with λ = 0 the task is minimised as without objectives.
    """

    replaces_weights = True

    def __init__(self, task: float = 1.0, reference: Mapping[str, float] | None = None) -> None:
        super().__init__(task)
        self.reference = {
            name: _finite(f"reference[{name!r}]", value)
            for name, value in (reference or {}).items()
        }

    def total(
        self, task_loss: Tensor, terms: Mapping[str, Term], weights: Mapping[str, Tensor]
    ) -> Tensor:
        """Scalarise the values at the λ in force."""
        names = ["task", *terms]
        _check_names("reference", self.reference, names)
        task = torch.ones_like(task_loss) * self.task_weight(weights)
        values = _stacked([task_loss, *(term.value for term in terms.values())])
        scale = _stacked([task, *(weights[name] for name in terms)])
        reference = values.new_tensor([self.reference.get(name, 0.0) for name in names])
        return self.scalarised(values, scale, reference)

    @abstractmethod
    def scalarised(self, values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
        """One loss `(...)` of `(..., M)`."""


class Chebyshev(_FromReference):
    """Minimise the largest weighted loss: `max_i w_i (L_i − z_i)`.

    Reaches parts of a front that are not convex, where a weighted sum jumps between the ends. Only
    the term that is worst at the moment gets a gradient, so training is uneven; `SmoothChebyshev`
    is usually the better choice. See `fairlightning.functional.scalarisation.chebyshev`.

    Args:
        task: Weight w of the task loss, at least 0; objectives have their λ.
        reference: z by the name of the term, `task` included; 0 for those not named, which no loss
            of this package but a debiased gap falls below. A good one is a little below what each
            term reaches by itself.

    Raises:
        ArgumentError: If the weight is negative, a number is not finite or, when first called, on
            unknown names.

    >>> rule = Chebyshev(reference={"task": 0.25})
    >>> parity = {"parity": Term(torch.tensor(0.2))}
    >>> rule(torch.tensor(0.5), parity, {"parity": torch.tensor(1.0)}).loss
    tensor(0.2500)
    """

    def scalarised(self, values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
        """Maximum."""
        return chebyshev(values, weights, reference)


class AugmentedChebyshev(_FromReference):
    """Minimise `max_i e_i + ρ Σ_i e_i`, with `e_i = w_i (L_i − z_i)`.

    Every term gets some gradient all the time, and what can be had for free is taken. See
    `fairlightning.functional.scalarisation.augmented_chebyshev`.

    Args:
        task: Weight w of the task loss, at least 0; objectives have their λ.
        reference: z by the name of the term, `task` included; 0 for those not named.
        augmentation: ρ, at least 0.

    Raises:
        ArgumentError: If a number is negative or not finite or, when first called, on unknown
            names.
    """

    def __init__(
        self,
        task: float = 1.0,
        reference: Mapping[str, float] | None = None,
        augmentation: float = 0.05,
    ) -> None:
        super().__init__(task, reference)
        self.augmentation = float(augmentation)
        self.scalarised(*torch.zeros(3, 1))  # checks it

    def scalarised(self, values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
        """Maximum and sum."""
        return augmented_chebyshev(values, weights, reference, augmentation=self.augmentation)


class SmoothChebyshev(_FromReference):
    """Minimise the soft maximum `μ log Σ_i exp(e_i / μ)`, with `e_i = w_i (L_i − z_i)`.

    A weighted sum whose weights softmax(e / μ) · w follow the losses. See
    `fairlightning.functional.scalarisation.smooth_chebyshev`.

    Args:
        task: Weight w of the task loss, at least 0; objectives have their λ.
        reference: z by the name of the term, `task` included; 0 for those not named.
        temperature: μ > 0, in units of the weighted losses.

    Raises:
        ArgumentError: If a number is out of range or, when first called, on unknown names.
    """

    in_units_of_the_loss = ("task", "temperature")

    def __init__(
        self,
        task: float = 1.0,
        reference: Mapping[str, float] | None = None,
        temperature: float = 0.05,
    ) -> None:
        super().__init__(task, reference)
        self.temperature = float(temperature)
        self.scalarised(*torch.zeros(3, 1))  # checks it

    def scalarised(self, values: Tensor, weights: Tensor, reference: Tensor) -> Tensor:
        """Soft maximum."""
        return smooth_chebyshev(values, weights, reference, temperature=self.temperature)


class EpsilonConstraint(Combination):
    """Minimise one term, the others within bounds, by penalties: `L + Σ_i λ_i p((L_i − ε_i)₊)`.

    A scalarisation for tracing fronts: λ is a fixed penalty weight and bounds are on the terms'
    soft values in a batch. With too small a λ they are exceeded, and nothing notices. To *keep* a
    bound on thresholded rates use `RateConstraint`, whose multipliers find the weight themselves.

    Args:
        bounds: ε by name, for every term but the one that is minimised; K numbers under a name are
            the bounds of K models trained together.
        minimise: Name of the term to minimise: `task` or an objective.
        penalty: `exact`, p(x) = x, or `quadratic`, p(x) = x²/2.
        task: Weight of the task loss, or of its penalty if it is bounded; at least 0.

    λ in force is the penalty weight of a bounded objective and the plain weight of a minimised one:
    `method.strength` makes bounds harder, and a ramp raises the penalty from soft to hard.

    Raises:
        ArgumentError: On an unknown penalty, a negative weight, a bound that is no finite
            number or, when first called, if the bounds and the minimised term are not exactly the
            terms that there are.

    >>> rule = EpsilonConstraint({"parity": 0.05})
    >>> parity = {"parity": Term(torch.tensor(0.15))}
    >>> rule(torch.tensor(0.5), parity, {"parity": torch.tensor(10.0)}).loss
    tensor(1.5000)
    """

    replaces_weights = True

    def __init__(
        self,
        bounds: Mapping[str, float | Sequence[float]],
        minimise: str = "task",
        penalty: Penalty = "exact",
        task: float = 1.0,
    ) -> None:
        super().__init__(task)
        self.bounds = {
            name: [_finite(f"bounds[{name!r}]", one) for one in bound]
            if isinstance(bound, list | tuple)
            else _finite(f"bounds[{name!r}]", bound)
            for name, bound in bounds.items()
        }
        self.minimise = minimise
        self.penalty: Penalty = check_choice("penalty", penalty, PENALTIES)  # type: ignore[assignment]

    def total(
        self, task_loss: Tensor, terms: Mapping[str, Term], weights: Mapping[str, Tensor]
    ) -> Tensor:
        """Minimised term and penalties."""
        values = {"task": task_loss, **{name: term.value for name, term in terms.items()}}
        scale = {**weights, "task": torch.ones_like(task_loss) * self.task_weight(weights)}
        check_choice("minimise", self.minimise, values)
        bounded = [name for name in values if name != self.minimise]
        _check_names("bounds", self.bounds, bounded)
        if missing := [name for name in bounded if name not in self.bounds]:
            raise ArgumentError.of(
                "bounds",
                found=f"none for {', '.join(missing)}",
                expected=f"one for every term but {self.minimise!r}",
                mend=f"pass bounds={{{missing[0]!r}: 0.05, ...}}",
            )
        total = scale[self.minimise] * values[self.minimise]
        if not bounded:
            return total
        return total + bound_penalty(
            _stacked([values[name] for name in bounded]),
            _stacked([scale[name] for name in bounded]),
            _stacked([self._bound(name, total) for name in bounded]),
            penalty=self.penalty,
        )

    def _bound(self, name: str, total: Tensor) -> Tensor:
        bound = total.new_tensor(self.bounds[name])
        if bound.ndim and bound.shape != total.shape:
            raise ArgumentError.of(
                "bounds",
                found=f"{len(bound)} for {name!r}",
                expected="one number, or one for each of the models trained together",
                mend=f"pass bounds={{{name!r}: 0.05, ...}}",
            )
        return bound


def _stacked(parts: list[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*parts), -1)


def _finite(argument: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value):
        raise ArgumentError.of(
            argument, found=repr(value), expected="a finite number", mend="pass 0.05, say"
        )
    return float(value)


def _check_names(argument: str, given: Mapping[str, object], names: list[str]) -> None:
    if unknown := sorted(set(given) - set(names)):
        raise ArgumentError.of(
            argument,
            found=f"the names {', '.join(unknown)}",
            expected=f"some of {', '.join(names)}",
            mend="name terms as the objectives are named",
        )
