"""Strengths: what multiplies the λ of objectives, for one model or several trained together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from numbers import Real
from typing import TypeAlias

from fairlightning.exceptions import ArgumentError

Strength: TypeAlias = float | Sequence[float] | Mapping[str, Sequence[float]]
"""A number; K for K models trained together; or, by objective, K for each of them."""


class Strengths:
    """Checked strengths of K models, the same for all objectives or by name.

    Args:
        given: See `Strength`. Under the name `task` K factors of the task's weight.

    Attributes:
        given: As it was given, in floats.
        members: Number K of models; None for a single number.

    Raises:
        ArgumentError: If there is none, one is negative or no finite number, or names have
            different numbers of them.

    >>> Strengths({"task": [1.0, 0.5], "parity": [0.0, 0.5]}).of("parity")
    (0.0, 0.5)
    """

    given: float | tuple[float, ...] | dict[str, tuple[float, ...]]

    def __init__(self, given: Strength) -> None:
        rows: list[Sequence[float]]
        if isinstance(given, Mapping):
            rows = [row if isinstance(row, Sequence) else () for row in given.values()]
        else:
            rows = [given if isinstance(given, Sequence) else (given,)]
        counts = {len(row) for row in rows}
        if len(counts) != 1 or not min(counts) or not all(_is_strength(e) for r in rows for e in r):
            raise ArgumentError.of(
                "strength",
                found=given,
                expected="a finite number of at least 0, or one for each of several models, which "
                "may be given for each objective by its name",
                mend="pass 0 for the plain model, 1.0 for the full weight",
            )
        floats = [tuple(map(float, row)) for row in rows]
        self._shared = floats[0]
        self._named: dict[str, tuple[float, ...]] | None = (
            dict(zip(given, floats, strict=True)) if isinstance(given, Mapping) else None
        )
        single = not isinstance(given, Mapping | Sequence)
        self.given = self._shared[0] if single else self._named or self._shared
        self.members = None if single else counts.pop()

    @property
    def task(self) -> tuple[float, ...] | None:
        """Factors of the task's weight, if members differ in it."""
        return None if self._named is None else self._named.get("task")

    def of(self, name: str) -> tuple[float, ...]:
        """Strength of an objective for each model.

        Raises:
            ArgumentError: If strengths were given by name, but not for this one.
        """
        if self._named is None:
            return self._shared
        if name not in self._named:
            raise ArgumentError.of(
                "strength",
                found=f"none for {name!r}, only for {', '.join(self._named)}",
                expected="one for each model under the name of every objective",
                mend=f"add {name!r}: {list(self._shared)}, with numbers of your choice",
            )
        return self._named[name]


def _is_strength(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < inf
