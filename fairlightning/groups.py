"""Sensitive attributes and the groups they form: ids for tensors, names for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from math import prod
from operator import ge
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice

UNKNOWN = -1
"""Id of a sensitive value, or of a group, that is not known."""

MAX_CELLS = 1_000_000
"""Most intersections (unknown slots included) for which counts are kept."""


@dataclass(frozen=True, init=False)
class GroupSpec:
    """Names and categories of the sensitive attributes, and the groups that they form.

    A value is coded as the position of its category; `-1` means unknown. A *partition* is a tuple
    of attribute names: one attribute gives its own groups, several give their intersections.

    Args:
        attributes: For every sensitive attribute its categories, in a fixed order. Categories are
            kept as strings, of which 1, 1.0 and "1" are the same; missing values are left out.
        continuous: Attributes that also have a value, such as an age. Their categories are bins of
            it, in which metrics and gaps count; penalties of dependence and adversaries take the
            values themselves, `(N, B)` floats in this order, NaN for unknown.

    Raises:
        ArgumentError: If there is no attribute, an attribute has fewer than two categories, a
            category is named twice, or the attributes have too many intersections, or a continuous
            one is none of them.

    >>> spec = GroupSpec({"sex": ["Female", "Male"], "race": ["Black", "Other", "White"]})
    >>> spec.group_names(("sex", "race"))[0]
    'sex=Female & race=Black'
    >>> sensitive = torch.tensor([[0, 2], [1, -1]])
    >>> spec.group_ids(sensitive, ("sex",)), spec.group_ids(sensitive, ("sex", "race"))
    (tensor([0, 1]), tensor([ 2, -1]))
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    continuous: tuple[str, ...]

    def __init__(
        self, attributes: Mapping[str, Iterable[object]], continuous: Sequence[str] = ()
    ) -> None:
        table = {
            str(name): tuple(as_labels(pd.Series(list(values), dtype=object)).dropna())
            for name, values in attributes.items()
        }
        object.__setattr__(self, "names", tuple(table))
        object.__setattr__(self, "categories", tuple(table.values()))
        object.__setattr__(self, "continuous", tuple(continuous))
        self._check()
        for name in self.continuous:
            check_choice("continuous", name, self.names)

    def _check(self) -> None:
        if not self.names:
            raise ArgumentError.of(
                "groups",
                found="no sensitive attribute",
                expected="at least one",
                mend='name one, such as {"sex": ["Female", "Male"]}',
            )
        for name, values in zip(self.names, self.categories, strict=True):
            if len(values) < 2 or len(set(values)) != len(values):
                raise ArgumentError.of(
                    f"groups[{name!r}]",
                    found=f"categories {list(values)}",
                    expected="two or more different categories",
                    mend="list every category once, or leave the attribute out",
                )
        if self.num_cells > MAX_CELLS:
            raise ArgumentError.of(
                "groups",
                found=f"{self.num_cells:,} intersections of {', '.join(self.names)}",
                expected=f"at most {MAX_CELLS:,}",
                mend="name fewer attributes or merge rare categories",
            )

    @classmethod
    def of(cls, groups: GroupSpec | Mapping[str, Iterable[object]]) -> GroupSpec:
        """Accept a `GroupSpec` or the plain mapping that makes one."""
        return groups if isinstance(groups, GroupSpec) else cls(groups)

    def to_dict(self) -> dict[str, list[str]]:
        """Categories in plain Python, as hyperparameters and checkpoints need them."""
        pairs = zip(self.names, self.categories, strict=True)
        return {name: list(values) for name, values in pairs}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of categories of each attribute."""
        return tuple(map(len, self.categories))

    @property
    def num_cells(self) -> int:
        """Number of cells in which `cell_ids` counts: ∏(categories + 1)."""
        return prod(size + 1 for size in self.sizes)

    @property
    def partitions(self) -> tuple[tuple[str, ...], ...]:
        """Every attribute alone, then all crossings of two, of three, up to that of all."""
        orders = range(1, len(self.names) + 1)
        return tuple(chain.from_iterable(combinations(self.names, order) for order in orders))

    def partitions_of(
        self, attributes: Sequence[str] | None = None, intersections: bool = False
    ) -> tuple[tuple[str, ...], ...]:
        """Partitions that a penalty or constraint on some attributes compares.

        Args:
            attributes: Names of the attributes; all if None.
            intersections: False: every attribute by itself. True: their intersections.

        Raises:
            ArgumentError: If an attribute does not exist, or is named twice.

        >>> spec = GroupSpec({"sex": ["Female", "Male"], "race": ["Black", "White"]})
        >>> spec.partitions_of(), spec.partitions_of(intersections=True)
        ((('sex',), ('race',)), (('sex', 'race'),))
        """
        names = self.names if attributes is None else tuple(attributes)
        self.axes(names)
        return (names,) if intersections else tuple((name,) for name in names)

    def num_groups(self, partition: Sequence[str]) -> int:
        """Number of groups `G` of a partition."""
        return prod(self.sizes[axis] for axis in self.axes(partition))

    def group_names(self, partition: Sequence[str]) -> list[str]:
        """Readable name of each group of a partition, in the order of the ids."""
        axes = self.axes(partition)
        choices = [[f"{self.names[a]}={value}" for value in self.categories[a]] for a in axes]
        return [" & ".join(names) for names in product(*choices)]

    def axes(self, partition: Sequence[str]) -> list[int]:
        """Positions of the named attributes.

        Raises:
            ArgumentError: If the partition is a plain string, is empty, repeats a name or names an
                attribute that does not exist.
        """
        if isinstance(partition, str) or not partition or len(set(partition)) != len(partition):
            raise ArgumentError.of(
                "partition",
                found=repr(partition),
                expected="a sequence of different attribute names",
                mend=f"pass for example {self.names[:1]!r}",
            )
        return [self.names.index(check_choice("attribute", name, self.names)) for name in partition]

    def group_ids(self, sensitive: Tensor, partition: Sequence[str]) -> Tensor:
        """Group of each row.

        Args:
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            partition: Names of the attributes whose groups or intersections are meant.

        Returns:
            `(N,)` int64 ids in `[0, G)`, or `-1` where any of the named attributes is unknown.
        """
        axes = self.axes(partition)
        group = sensitive[:, axes[0]]
        for axis in axes[1:]:
            value = sensitive[:, axis]
            crossed = group * self.sizes[axis] + value
            group = torch.where((group < 0) | (value < 0), UNKNOWN, crossed)
        return group

    def cell_ids(self, sensitive: Tensor) -> Tensor:
        """One flat code for all attributes, in which each has a last slot of its own for unknown.

        Counts kept by this code give every partition by summing over the other attributes.

        Args:
            sensitive: `(N, A)` int64 codes, `-1` for unknown.

        Returns:
            `(N,)` int64 codes in `[0, num_cells)`.
        """
        code = torch.zeros_like(sensitive[:, 0])
        for axis, size in enumerate(self.sizes):
            value = sensitive[:, axis]
            code = code * (size + 1) + torch.where(value < 0, size, value)
        return code

    def encode(self, columns: Mapping[str, Any] | pd.DataFrame) -> Tensor:
        """Code values as category positions.

        Args:
            columns: For every attribute of the spec its values, one per row; other columns are
                ignored. Missing values and values that are no category become `-1`.

        Returns:
            `(N, A)` int64 codes.

        Raises:
            ArgumentError: If an attribute has no column.

        >>> GroupSpec({"sex": ["Female", "Male"]}).encode({"sex": ["Male", None, "Female"]}).T
        tensor([[ 1, -1,  0]])
        """
        codes = []
        for name, values in zip(self.names, self.categories, strict=True):
            if name not in columns:
                raise ArgumentError.of(
                    "columns",
                    found=f"no column {name!r}",
                    expected=f"the sensitive attributes {list(self.names)}",
                    mend="add the column or leave the attribute out of the groups",
                )
            column = as_labels(columns[name])
            codes.append(torch.tensor(pd.Categorical(column, categories=list(values)).codes))
        return torch.stack(codes, dim=1).long()

    def check(self, sensitive: Tensor, rows: int | None = None) -> Tensor:
        """Return `sensitive` as `(N, A)` int64 after checking its shape, type and range.

        Args:
            sensitive: `(N, A)` integer codes; `(N,)` is accepted when there is one attribute.
            rows: Number of rows that it must have.

        Raises:
            ArgumentError: If shape, type or range is wrong. Off the CPU the range is asserted on
                the device, without waiting for it.
        """
        if sensitive.ndim == 1 and len(self.names) == 1:
            sensitive = sensitive.unsqueeze(1)
        shape = tuple(sensitive.shape)
        if (
            len(shape) != 2
            or shape[1] != len(self.names)
            or (rows is not None and shape[0] != rows)
        ):
            raise ArgumentError.of(
                "sensitive",
                found=f"shape {shape}",
                expected=f"({'N' if rows is None else rows}, {len(self.names)}): one column for "
                f"each of {', '.join(self.names)}",
                mend="stack one int64 column per attribute, in the order of the groups",
            )
        if sensitive.is_floating_point() or sensitive.dtype == torch.bool:
            raise ArgumentError.of(
                "sensitive",
                found=str(sensitive.dtype),
                expected="integer category codes",
                mend="use GroupSpec.encode, or .long() on codes without NaN",
            )
        self._check_range(sensitive)
        return sensitive.long()

    def check_continuous(self, continuous: Tensor, rows: int | None = None) -> Tensor:
        """Return values of the continuous attributes as `(N, B)` after checking their shape.

        Args:
            continuous: `(N, B)` floats, NaN for unknown; `(N,)` where there is one attribute.
            rows: Number of rows that it must have.

        Raises:
            ArgumentError: If shape or type is wrong.
        """
        if continuous.ndim == 1 and len(self.continuous) == 1:
            continuous = continuous.unsqueeze(1)
        shape = (len(continuous) if rows is None else rows, len(self.continuous))
        if tuple(continuous.shape) != shape or not continuous.is_floating_point():
            raise ArgumentError.of(
                "continuous",
                found=f"{continuous.dtype} of shape {tuple(continuous.shape)}",
                expected=f"floats of shape {shape}: a column for each of {list(self.continuous)}",
                mend="name them in GroupSpec(..., continuous=[...]), and pass a column for each",
            )
        return continuous

    def _check_range(self, sensitive: Tensor) -> None:
        if sensitive.device.type != "cpu":
            bound = sensitive.new_tensor(self.sizes)
            torch._assert_async(((sensitive >= UNKNOWN) & (sensitive < bound)).all())
            return
        if not len(sensitive):
            return
        low, high = (ends.tolist() for ends in sensitive.aminmax(dim=0))
        if min(low) < UNKNOWN or any(map(ge, high, self.sizes)):
            raise ArgumentError.of(
                "sensitive",
                found=f"codes from {min(low)} to {max(high)}",
                expected=f"-1 (unknown) to {[size - 1 for size in self.sizes]}",
                mend="code categories by position, as GroupSpec.encode does",
            )


def as_labels(values: Any) -> pd.Series[Any]:
    """Values as strings, so that 1, 1.0 and "1" name the same category; missing stays missing.

    >>> as_labels([1.0, None, 1.5]).dropna().tolist()
    ['1', '1.5']
    """
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)  # as text, whole numbers beside a missing one are floats
    labels = series.astype("string")
    if pd.api.types.infer_dtype(series) not in ("string", "integer", "boolean"):
        found = [
            str(int(value)) if pd.api.types.is_float(value) and value.is_integer() else label
            for value, label in zip(series, labels, strict=True)
        ]
        labels = pd.Series(found, series.index, "string", series.name)
    return labels
