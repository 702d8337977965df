"""What models are compared by: names of logged figures, their directions and worst values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.pareto import Array
from fairlightning.functional.regression import FIGURES

DIRECTIONS = ("max", "min")

_BEYOND_ONE = "|".join(("treatment_equality", "equalized_odds_sum", *FIGURES))
"""Criteria whose differences may exceed 1; those of a regression are in units of the target."""

_UP_TO_ONE = re.compile(rf"/fairness/(?!{_BEYOND_ONE})\w+_difference/|/(brier|calibration_error)$")


@dataclass(frozen=True)
class Criteria:
    """Logged figures by which models are compared, and how they become costs.

    Attributes:
        directions: Name of a logged figure → `max` or `min`, the better end.
        reference: Name → the worst value that counts towards a hypervolume.
    """

    directions: dict[str, str]
    reference: dict[str, float]

    @classmethod
    def of(
        cls, directions: Mapping[str, str], reference: Mapping[str, float] | None = None
    ) -> Criteria:
        """Check them, and fill in the worst values that are known.

        Args:
            directions: Name → direction; at least one.
            reference: Worst values. Where none is given it is 0 for what is maximised, and 1 for
                the Brier score, the calibration error and the differences between groups that
                are at most 1: of rates and of AUROC, but neither of treatment equality, the sum of
                equalized odds nor anything of a regression.

        Raises:
            ArgumentError: Without criteria, on an unknown direction, on a reference for something
                else or that is not finite, and if one is missing that cannot be known.

        >>> Criteria.of({"val/accuracy": "max", "val/loss/task": "min"}, {"val/loss/task": 0.7})
        ... # doctest: +ELLIPSIS
        Criteria(directions={...}, reference={'val/accuracy': 0.0, 'val/loss/task': 0.7})
        """
        if not directions:
            raise ArgumentError.of(
                "criteria",
                found="none",
                expected="at least one logged figure with its direction",
                mend='pass {"val/accuracy": "max", ...}',
            )
        given = dict(reference or {})
        for name in given:
            check_choice("reference", name, directions)
        found = {}
        for name, direction in directions.items():
            check_choice(f"criteria[{name!r}]", direction, DIRECTIONS)
            found[name] = float(given[name]) if name in given else _worst(name, direction)
            if not np.isfinite(found[name]):
                raise ArgumentError.of(
                    f"reference[{name!r}]",
                    found=found[name],
                    expected="a finite number",
                    mend="pass the worst value that counts",
                )
        return cls(dict(directions), found)

    @property
    def corner(self) -> Array:
        """`(J,)` the reference as costs."""
        return self.costs([self.reference]).ravel()

    def costs(self, values: Sequence[Mapping[str, float]]) -> Array:
        """Turn the figures of M models into `(M, J)` costs, all to be minimised."""
        signs = [-1.0 if direction == "max" else 1.0 for direction in self.directions.values()]
        rows = [[model[name] for name in self.directions] for model in values]
        costs: Array = np.array(rows, dtype=np.float64).reshape(len(rows), len(signs)) * signs
        return costs


def _worst(name: str, direction: str) -> float:
    if direction == "max":
        return 0.0
    if _UP_TO_ONE.search(name):
        return 1.0
    raise ArgumentError.of(
        "reference",
        found=f"none for {name!r}",
        expected="the worst value that counts, which is known of accuracies, gaps of rates, Brier "
        "score and calibration error alone",
        mend=f"pass reference={{{name!r}: ...}}",
    )
