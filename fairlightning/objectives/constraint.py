"""Constraints on group rates: the network minimises the task loss subject to them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.parity import Criterion
from fairlightning.functional.rates import at_least_float32
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.bounds import Bound
from fairlightning.objectives.multipliers import Multipliers
from fairlightning.objectives.running_constraint import RunningConstraint


class RateConstraint(RunningConstraint):
    """Keep a gap, a rate or a ratio of rates within a bound.

    Three forms, each for every named attribute or for their intersections:

    - `criterion=..., epsilon=0.05`: no two groups' rates lie further apart than ε;
    - `rate=..., at_least=0.8` or `at_most=0.1`: the rate of every group is bounded;
    - `rate="selection_rate", ratio=0.8`: no group's rate is less than 0.8 of another's, the
      four-fifths rule.

    Each is a vector of signed violations c, linear in the rates, with a multiplier λ_j ≥ 0 per
    entry. The value is Σ λ_j c_j with soft rates, which the network can follow; λ is driven by c
    with thresholded rates, which are what is promised (the proxy-Lagrangian of Cotter et al. 2019,
    arXiv:1804.06500). Rates come from a fading memory of `memory` rows; see
    `fairlightning.functional.running`. In evaluation they are those of the sums alone. A pair with
    a group that was never seen has no violation and its multiplier stays; the support tells so.

    Memory and multipliers are changed by `update` alone, once per optimizer step: add the callback
    `MultiplierUpdate`.

    Args:
        groups: The sensitive attributes.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`, with `epsilon`.
        epsilon: Largest gap, in [0, 1).
        rate: `selection_rate`, `true_positive_rate` or `false_positive_rate`, with one of the
            following.
        at_least: Lower bound in [0, 1] on the rate of every group.
        at_most: Upper bound in [0, 1] on it.
        ratio: Lower bound in (0, 1] on the ratio of the rates of any two groups.
        attributes: Attributes that it is about; all if None.
        intersections: False: each attribute by itself. True: the intersections of them.
        margin: Distance ≥ 0 that is kept from the bound, in training and where a checkpoint is
            chosen, since a model that is just feasible on some rows is not on others.
        multipliers: `NuPI()` if None, or `DualAscent(...)`, `AugmentedLagrangian(...)`.
        memory: Length of the memory of the rates in rows; None: each step's rates by themselves.
        temperature: Width > 0 of the sigmoid that stands for the decision, in logits. Smaller
            follows the decision more closely and moves only rows near the threshold.
        threshold: Score in (0, 1) from which a row counts as selected.
        weight: Scales the multipliers; 0 switches the constraint off.

    Raises:
        ArgumentError: On an unknown name, a value out of its range, or no or several forms at once.

    Shapes: logits `(..., N, 1)`, target `(N,)` in {0, 1}, sensitive `(N, A)`; the value is `(...)`.

    >>> constraint = RateConstraint(GroupSpec({"sex": ["Female", "Male"]}), epsilon=0.1)
    >>> step = Step(torch.tensor([[-1.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([[0], [1]]))
    >>> round(constraint.eval()(step).strict.value.item(), 4)  # one group selected, the other not
    1.0
    """

    def __init__(
        self,
        groups: GroupSpec,
        *,
        criterion: Criterion | None = None,
        epsilon: float | None = None,
        rate: str | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        ratio: float | None = None,
        attributes: Sequence[str] | None = None,
        intersections: bool = False,
        margin: float = 0.0,
        multipliers: Multipliers | None = None,
        memory: float | None = 10_000,
        temperature: float = 0.5,
        threshold: float = 0.5,
        weight: float = 1.0,
    ) -> None:
        _check_numbers(temperature, threshold)
        bound = Bound.of(
            criterion=criterion,
            epsilon=epsilon,
            rate=rate,
            at_least=at_least,
            at_most=at_most,
            ratio=ratio,
            margin=margin,
        )
        super().__init__(
            groups,
            bound=bound,
            attributes=attributes,
            intersections=intersections,
            multipliers=multipliers,
            memory=memory,
            weight=weight,
        )
        self.temperature = float(temperature)
        self.cut = log(threshold / (1 - threshold))

    def of_rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Soft scores and decisions; both NaN where the logit is, which nobody has decided."""
        assert step.logits is not None
        distance = at_least_float32(step.logits.squeeze(-1)) - self.cut
        decided = (distance >= 0).to(distance.dtype)
        soft = torch.sigmoid(distance / self.temperature)
        return soft, torch.where(distance.isnan(), distance.detach(), decided)


def _check_numbers(temperature: float, threshold: float) -> None:
    if not temperature > 0:
        raise ArgumentError.of(
            "temperature", found=temperature, expected="above 0", mend="pass temperature=0.5"
        )
    if not 0 < threshold < 1:
        raise ArgumentError.of(
            "threshold", found=threshold, expected="a score in (0, 1)", mend="pass threshold=0.5"
        )
