"""What a linear model may be asked for: bounds on mean logits of groups, all linear in θ.

The mean logit of a group is m·θ, with m the mean of the group's rows and θ the coefficients with
the intercept last. So every gap between mean logits is a function of a few numbers per group,
summed over the data once by the segment sums that penalties and metrics use. Bounding them relaxes
parity of the thresholded rates (Zafar et al. 2017, arXiv:1507.05259 and arXiv:1610.08452).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from fairlightning.convex.blocks import Array, Block
from fairlightning.convex.cells import Cells
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.parity import CRITERIA, Criterion
from fairlightning.functional.rates import Rates
from fairlightning.groups import GroupSpec

Form = Literal["gap", "covariance"]
FORMS: tuple[Form, ...] = ("gap", "covariance")


@dataclass(frozen=True)
class LogitParity:
    """Mean logits of all groups close to each other: bounded by ε, or penalised with weight λ.

    Args:
        criterion: `demographic_parity` compares groups over all rows, `equal_opportunity` over
            rows of label 1, `equalized_odds` over each label separately.
        epsilon_logit: Largest difference ≥ 0 between the mean logits of two groups. A difference
            of logits, not of rates.
        penalty: λ ≥ 0; adds λ·gap to the objective for every partition, the larger gap of the two
            for equalized odds.
        attributes: Attributes that it is about; all of the groups if None.
        intersections: False: a gap for every attribute. True: one for the intersections of the
            attributes.
        form: `gap`, or `covariance`: the decision-boundary covariance of each group's indicator
            with the logit, |share_g·(mean_g − mean)|, in place of the difference of mean logits.

    Raises:
        ArgumentError: On unknown names, negative numbers, or unless exactly one of
            `epsilon_logit` and `penalty` is given.

    >>> LogitParity("equal_opportunity", epsilon_logit=0.1).criterion
    'equal_opportunity'
    """

    criterion: Criterion = "demographic_parity"
    epsilon_logit: float | None = None
    penalty: float | None = None
    attributes: Sequence[str] | None = None
    intersections: bool = False
    form: Form = "gap"

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, CRITERIA)
        check_choice("form", self.form, FORMS)
        if (self.epsilon_logit is None) == (self.penalty is None):
            raise ArgumentError.of(
                "epsilon_logit, penalty",
                found=f"{self.epsilon_logit} and {self.penalty}",
                expected="exactly one of the two",
                mend="pass epsilon_logit for a bound, or penalty for a weight in the objective",
            )
        name = "epsilon_logit" if self.penalty is None else "penalty"
        value = self.epsilon_logit if self.penalty is None else self.penalty
        if value is None or not 0 <= value < np.inf:
            raise ArgumentError.of(
                name, found=value, expected="a number of at least 0", mend=f"pass {name}=0.1"
            )

    def partitions(self, groups: GroupSpec) -> tuple[tuple[str, ...], ...]:
        """Attributes or intersections that are compared."""
        return groups.partitions_of(self.attributes, self.intersections)

    def blocks(self, cells: Cells) -> Iterator[Block]:
        """One block for every partition and condition under which two groups can be compared."""
        unit = "logit gap" if self.form == "gap" else "covariance"
        for partition in self.partitions(cells.groups):
            name = f"{self.criterion}/{' & '.join(partition)}"
            for label, rates in cells.conditions(self.criterion, partition):
                rows = self._rows(rates)
                if rows is None:
                    continue
                spread = self.form == "gap" and len(rows) > 1
                half = 0.5 if spread else 1.0
                bound = np.full(len(rows), np.inf)
                if self.epsilon_logit is not None:
                    bound = np.full(len(rows), half * self.epsilon_logit)
                yield Block(
                    name=f"{name}/{label}" if self.criterion == "equalized_odds" else name,
                    family=f"{name}/{self.form}",
                    unit=unit,
                    rows=rows,
                    lower=-bound,
                    upper=bound,
                    centred=spread,
                    half=half,
                    bound=self.epsilon_logit,
                    penalty=self.penalty,
                )

    def _rows(self, rates: Rates) -> Array | None:
        """Rows whose products with θ lie within the bound; None with fewer than two groups."""
        present = rates.present[-1]
        if int(present.sum()) < 2:
            return None
        means, mass = rates.rate[:-1, present].T, rates.support[-2, present]
        if self.form == "covariance":
            share = mass / mass.sum()
            rows = share[:, None] * (means - share @ means)
            # The two groups of a pair have the same covariance but for the sign.
            rows = rows[1:] if len(rows) == 2 else rows
        elif len(means) == 2:
            rows = means[1:] - means[:1]
        else:
            # Around a free centre, so that G rows do for G·(G − 1)/2 pairs; taking the mean of the
            # rows off changes nothing but the rounding.
            rows = means - means.mean(0)
        rows[:, -1] = 0.0  # the intercept moves all groups alike
        return rows.cpu().numpy()


@dataclass(frozen=True)
class LogitBounds:
    """Mean logit of every group within fixed bounds: the linear form of "TPR of every group ≥ t".

    Args:
        at_least: Lowest mean logit of a group.
        at_most: Highest mean logit of a group.
        criterion: Rows that count: all, those of label 1, or each label separately.
        attributes: Attributes that it is about; all of the groups if None.
        intersections: Whether their intersections are meant.

    Raises:
        ArgumentError: On unknown names, or bounds that are missing or contradict each other.
    """

    at_least: float = -np.inf
    at_most: float = np.inf
    criterion: Criterion = "equal_opportunity"
    attributes: Sequence[str] | None = None
    intersections: bool = False

    def __post_init__(self) -> None:
        check_choice("criterion", self.criterion, CRITERIA)
        bounded = np.isfinite(self.at_least) or np.isfinite(self.at_most)
        if not bounded or not self.at_least <= self.at_most:
            raise ArgumentError.of(
                "at_least, at_most",
                found=f"{self.at_least} and {self.at_most}",
                expected="at least one finite bound, the lower not above the upper",
                mend="pass at_least=0.0 for a mean logit of at least 0 in every group",
            )

    def partitions(self, groups: GroupSpec) -> tuple[tuple[str, ...], ...]:
        """Attributes or intersections whose groups are meant."""
        return groups.partitions_of(self.attributes, self.intersections)

    def blocks(self, cells: Cells) -> Iterator[Block]:
        """One block for every group that has rows."""
        for partition in self.partitions(cells.groups):
            names = cells.groups.group_names(partition)
            for label, rates in cells.conditions(self.criterion, partition):
                for group in rates.present[-1].nonzero()[:, 0].tolist():
                    name = f"logit_bounds/{self.criterion}/{names[group]}"
                    name = f"{name}/{label}" if self.criterion == "equalized_odds" else name
                    yield Block(
                        name=name,
                        family=name,
                        unit="mean logit",
                        rows=rates.rate[:-1, group][None].cpu().numpy(),
                        lower=np.array([self.at_least]),
                        upper=np.array([self.at_most]),
                        centred=False,
                        half=1.0,
                        bound=None,
                        penalty=None,
                    )


LinearConstraint = LogitParity | LogitBounds


def make_blocks(constraints: Sequence[LinearConstraint], cells: Cells) -> list[Block]:
    """Blocks of all constraints, each under a name of its own.

    Raises:
        ArgumentError: If a constraint constrains nothing, as fewer than two groups have rows.
    """
    blocks: list[Block] = []
    for position, constraint in enumerate(constraints):
        made = list(constraint.blocks(cells))
        if not made:
            names = [" & ".join(p) for p in constraint.partitions(cells.groups)]
            raise ArgumentError.of(
                "constraints",
                found=f"{constraint.criterion} on {', '.join(names)}, of which fewer than two "
                "groups have rows",
                expected="two groups that can be compared",
                mend="drop the constraint, or check the codes of the sensitive attributes",
            )
        taken = {block.name for block in blocks}
        again = any(block.name in taken for block in made)
        suffix = f" #{position + 1}" if again else ""
        blocks += [b._replace(name=b.name + suffix, family=f"{b.family} #{position}") for b in made]
    return blocks


def as_constraint(value: LinearConstraint | Mapping[str, object]) -> LinearConstraint:
    """Accept a constraint or the plain mapping of its arguments, as a configuration has it.

    A mapping with `at_least` or `at_most` makes `LogitBounds`, any other one `LogitParity`.

    Raises:
        ArgumentError: If it is neither, or names an argument that there is not.
    """
    if isinstance(value, LogitParity | LogitBounds):
        return value
    if not isinstance(value, Mapping):
        raise ArgumentError.of(
            "constraints",
            found=repr(value),
            expected="a list of LogitParity, LogitBounds, or mappings of their arguments",
            mend="pass constraints=[dict(epsilon_logit=0.1)]",
        )
    kind = LogitBounds if {"at_least", "at_most"} & set(value) else LogitParity
    for name in value:
        check_choice(f"argument of {kind.__name__}", name, [each.name for each in fields(kind)])
    return kind(**value)  # type: ignore[arg-type]
