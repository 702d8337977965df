"""Which column of a table plays which part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from fairlightning.data.table import check_columns
from fairlightning.exceptions import DataError

RESERVED = ("row", "split", "member", "score", "prediction", "target", "weight")
"""Columns of predictions, beside which those of the sensitive attributes stand under their names.

Names that begin with `score_`, those of classes, are taken as well.
"""


@dataclass(frozen=True)
class Features:
    """The columns that a model learns from.

    Attributes:
        numeric: Numeric columns.
        categorical: Categorical columns.
        unused: Columns without any role: neither named nor inferred.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """Columns as the caller named them.

    Attributes:
        target: Label.
        sensitive: Sensitive attributes.
        numeric: Numeric features, or None to take every other column of a numeric type.
        categorical: Categorical features, or None to take every other column of another type.
        ignore: Columns that are left out on purpose.
        weight: Row weights.
        split: Column that names the split of each row.
        include_sensitive: Whether the sensitive attributes are features too.
    """

    target: str
    sensitive: tuple[str, ...]
    numeric: tuple[str, ...] | None
    categorical: tuple[str, ...] | None
    ignore: tuple[str, ...] = ()
    weight: str | None = None
    split: str | None = None
    include_sensitive: bool = False

    def features(self, frame: pd.DataFrame) -> Features:
        """Check the roles against a table and infer the features that were not named.

        Booleans count as categories. A sensitive attribute that is a feature without being named
        as numeric is categorical.

        Raises:
            DataError: If a column does not exist, has two roles, or no feature is left.
        """
        self.check(frame)
        taken = {name for names in self._named().values() for name in names}
        free = [name for name in frame.columns if name not in taken]
        numbers = [name for name in free if _is_number(frame[name])]
        others = [name for name in free if name not in numbers]
        numeric = tuple(numbers) if self.numeric is None else self.numeric
        categorical = tuple(others) if self.categorical is None else self.categorical
        if self.include_sensitive:
            named = {*numeric, *categorical}
            categorical += tuple(name for name in self.sensitive if name not in named)
        if not numeric and not categorical:
            raise DataError.of(
                "numeric, categorical",
                found="no feature",
                expected="at least one column to learn from",
                mend="name the features, or ignore fewer columns",
            )
        unused = tuple(name for name in free if name not in {*numeric, *categorical})
        return Features(numeric, categorical, unused)

    def check(self, frame: pd.DataFrame) -> None:
        """Check the roles against a table.

        Raises:
            DataError: If a column does not exist or has two roles, or a sensitive attribute the
                name of a column of predictions.
        """
        for argument, names in self._named().items():
            check_columns(frame, names, argument)
        self._check_overlap()
        for name in self.sensitive:
            if name in RESERVED or name.startswith("score_"):
                raise DataError.of(
                    "sensitive",
                    found=f"the name {name!r}, which is that of a column of predictions",
                    expected="another than " + ", ".join(RESERVED) + " and score_…",
                    mend="rename the column",
                )

    def _named(self) -> dict[str, tuple[str, ...]]:
        """Columns that the caller named, by argument."""
        return {
            "target": (self.target,),
            "sensitive": self.sensitive,
            "weight": () if self.weight is None else (self.weight,),
            "split": () if self.split is None else (self.split,),
            "ignore": self.ignore,
            "numeric": self.numeric or (),
            "categorical": self.categorical or (),
        }

    def _check_overlap(self) -> None:
        first: dict[str, str] = {}
        for argument, names in self._named().items():
            for name in names:
                other = first.setdefault(name, argument)
                if (other, names.count(name)) == (argument, 1):
                    continue
                leak = other == "sensitive" and argument in ("numeric", "categorical")
                if leak and self.include_sensitive:
                    first[name] = argument  # numeric and categorical still exclude each other
                    continue
                raise DataError.of(
                    argument,
                    found=f"column {name!r}, which is named in {other} as well"
                    if other != argument
                    else f"column {name!r} twice",
                    expected="one role for every column",
                    mend=f"leave {name!r} out, or pass include_sensitive=True to learn from it"
                    if leak
                    else f"name {name!r} once",
                )


def column_list(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """`names` as a tuple, refusing a plain string, whose letters would pass for names."""
    if isinstance(names, str):
        raise DataError.of(
            argument,
            found=f"the text {names!r}",
            expected="a list of names",
            mend=f"pass {argument}=[{names!r}]",
        )
    return tuple(names)


def _is_number(column: pd.Series) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
