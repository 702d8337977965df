"""What the inputs of a network for tables mean, column by column."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError


class Columns(NamedTuple):
    """Names of the columns of `(numeric, categorical)` inputs, and the meaning of their codes.

    Attributes:
        numeric: Names of the `D` numeric columns.
        categorical: Names of the `F` categorical columns.
        categories: Values of each categorical column: code `i + 1` is value `i`, code 0 stands for
            what is missing or unknown.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, numeric ones first."""
        return self.numeric + self.categorical

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of each categorical column, code 0 included."""
        return [len(values) + 1 for values in self.categories]

    def code(self, column: str, value: object) -> int:
        """Return the code of a value of a categorical column.

        Raises:
            ArgumentError: If there is no such column or value.

        >>> Columns(("age",), ("sex",), (("Female", "Male"),)).code("sex", "Male")
        2
        """
        if column not in self.categorical:
            raise ArgumentError.of(
                "column",
                found=repr(column),
                expected="a categorical input: " + (", ".join(self.categorical) or "there is none"),
                mend="name one of these, or make it a feature: dataset.categorical=[…]",
            )
        values = self.categories[self.categorical.index(column)]
        if str(value) not in values:
            raise ArgumentError.of(
                f"value of {column!r}",
                found=repr(value),
                expected="one that training rows have: " + ", ".join(values),
                mend="check its spelling",
            )
        return values.index(str(value)) + 1

    def kept(self, without: Collection[str]) -> Tensor:
        """Tell which columns are left, `(D + F,)` float of 0 and 1.

        Raises:
            ArgumentError: If none is.
        """
        found = torch.tensor([float(name not in without) for name in self.names])
        if not found.any():
            raise ArgumentError.of(
                "columns",
                found="none beside " + ", ".join(sorted(without)),
                expected="at least one column by which rows are compared",
                mend="add features, or leave fewer columns out",
            )
        return found


def code_shares(categorical: Tensor, cardinalities: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Turn codes into shares of each code, all of a row's in one: one-hot vectors side by side.

    Args:
        categorical: `(N, F)` int64 codes.
        cardinalities: Number of codes of each column.
        dtype: Type of the result.

    Returns:
        `(N, ΣC)`.

    >>> code_shares(torch.tensor([[1, 0]]), [2, 3], torch.float32)
    tensor([[0., 1., 1., 0., 0.]])
    """
    starts = [sum(cardinalities[:column]) for column in range(len(cardinalities))]
    place = categorical + torch.tensor(starts, device=categorical.device, dtype=torch.long)
    shares = torch.zeros(
        len(categorical), sum(cardinalities), dtype=dtype, device=categorical.device
    )
    return shares.scatter(1, place, 1.0)
