"""Which rows an epoch is made of: every one once, groups in equal parts, or in adaptive parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.exceptions import DataError
from fairlightning.functional.rates import segment_sums
from fairlightning.functional.rows import check_labels
from fairlightning.groups import GroupSpec


class Sampling(ABC):
    """Base of rules that decide how many rows of each cell (group and label) an epoch has.

    An epoch has as many rows as there are. Rows of a cell that gets more than it has repeat, each
    equally often but for one; of a cell that gets fewer every epoch draws others. Cells are spread
    evenly over the epoch, so that every batch, and every rank's part of it, has them in their
    shares. Rows of unknown group keep the share that they have.

    Args:
        groups: The sensitive attributes.
        attributes: Those whose intersections are the groups; all if None.

    Attributes:
        num_groups: Number of groups `G`; a cell is `group + (G + 1) · label`, the unknown group
            being the last.
    """

    def __init__(self, groups: GroupSpec, attributes: Sequence[str] | None = None) -> None:
        self.groups = groups
        self.attributes = tuple(groups.names if attributes is None else attributes)
        self.num_groups = groups.num_groups(self.attributes)

    def cells(self, target: Tensor, sensitive: Tensor) -> Tensor:
        """Cell `(N,)` of each row.

        Raises:
            ArgumentError: If a label is neither 0 nor 1.
        """
        target = check_labels(target, len(target)).long()
        group = self.groups.group_ids(sensitive, self.attributes)
        group = torch.where(group < 0, self.num_groups, group)
        return group + (self.num_groups + 1) * target

    def table(self, cell: Tensor, values: Tensor | None = None) -> Tensor:
        """Sums `(2, G + 1)` float64 of values, or rows, by label and group."""
        values = torch.ones_like(cell) if values is None else values
        total = segment_sums(values.double(), cell, 2 * (self.num_groups + 1))
        return total.view(2, self.num_groups + 1)

    @abstractmethod
    def shares(self, rows: Tensor) -> Tensor:
        """Shares `(2, G + 1)` that cells should have in the epoch.

        Args:
            rows: Number of rows of each cell, `(2, G + 1)`.
        """

    def begin(self, epoch: int) -> None:
        """Get ready for an epoch; shares that do not change need nothing."""
        return

    def order(self, data: Batch, generator: torch.Generator) -> Tensor:
        """Positions `(N,)` of the rows of an epoch, in their order.

        Args:
            data: All rows.
            generator: Of everything that is drawn.
        """
        cell = self.cells(data.target, data.sensitive).cpu()
        rows = self.table(cell)
        share = torch.where(rows > 0, self.shares(rows), 0.0).flatten()
        number = _whole(share / share.sum() * len(cell), len(cell))
        chosen, place = [], []
        for position, wanted in enumerate(number.tolist()):
            if wanted:
                members = torch.nonzero(cell == position)[:, 0]
                chosen.append(_repeated(members, wanted, generator))
                start = torch.rand((), generator=generator, dtype=torch.float64)
                place.append((torch.arange(wanted) + start) / wanted)
        order = torch.cat(chosen)[torch.cat(place).argsort(stable=True)]
        return order.to(data.index.device)


class Balanced(Sampling):
    """Every group has the same share of each batch.

    Args:
        groups: The sensitive attributes.
        attributes: Those whose intersections are the groups; all if None.
        label: Whether the two labels of a group have the same share, too, where it has rows of
            both; otherwise each group keeps its share of label 1.

    >>> groups = GroupSpec({"sex": ["f", "m"]})
    >>> sex, y = torch.tensor([[0], [1], [1], [1], [1], [1]]), torch.tensor([0, 0, 1, 1, 1, 1])
    >>> data = Batch(y, y, sex, None, torch.arange(6))
    >>> order = Balanced(groups).order(data, torch.Generator().manual_seed(0))
    >>> sex[order][:, 0].bincount()
    tensor([3, 3])
    """

    def __init__(
        self, groups: GroupSpec, attributes: Sequence[str] | None = None, label: bool = False
    ) -> None:
        super().__init__(groups, attributes)
        self.label = label

    def shares(self, rows: Tensor) -> Tensor:
        """Equal shares of the groups."""
        known, unknown = rows[:, :-1], rows[:, -1:]
        rows = (known > 0).double() if self.label else known
        part = rows / rows.sum(0).clamp_min(1)
        part = part / part.sum() * known.sum()
        return torch.cat([part, unknown], 1)


def reweighing(
    target: Tensor,
    sensitive: Tensor,
    groups: GroupSpec,
    *,
    attributes: Sequence[str] | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Row weights under which group and label are independent, with the mass of both kept.

    The weight of a row is P(group)·P(label) / P(group, label), after Kamiran & Calders, "Data
    preprocessing techniques for classification without discrimination" (2012, Knowl. Inf. Syst.
    33). Rows of unknown group keep their weight.

    Args:
        target: `(N,)` labels in {0, 1}.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        groups: The sensitive attributes.
        attributes: Those whose intersections are the groups; all if None.
        weight: `(N,)` row weights ≥ 0 that the new ones multiply.

    Returns:
        `(N,)` float64 weights.

    Raises:
        ArgumentError: If a label is neither 0 nor 1.
        DataError: If a group has rows of one label only, which no weights can mend.

    >>> y, sex = torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> reweighing(y, sex[:, None], GroupSpec({"sex": ["f", "m"]}))
    tensor([1.5000, 0.7500, 0.7500, 0.7500, 0.7500, 1.5000], dtype=torch.float64)
    """
    cells = Balanced(groups, attributes)
    cell = cells.cells(target, sensitive)
    given = torch.ones(len(cell), dtype=torch.float64) if weight is None else weight.double()
    mass = cells.table(cell, given.to(cell.device))[:, :-1]
    alone = ((mass > 0).sum(0) == 1).nonzero()[:, 0].tolist()
    if alone:
        raise DataError.of(
            "sampling",
            found=f"one label only in {groups.group_names(cells.attributes)[alone[0]]}",
            expected="rows of both labels in every group",
            mend="name fewer attributes, merge the group with another, or give it no category",
        )
    expected = mass.sum(0) * mass.sum(1, keepdim=True) / mass.sum()
    factor = torch.where(mass > 0, expected / mass, 1.0)
    factor = torch.cat([factor, torch.ones_like(factor[:, :1])], 1).flatten()
    return given.to(cell.device) * factor[cell]


def _whole(wanted: Tensor, total: int) -> Tensor:
    """Whole numbers close to `wanted` that add up to `total`: largest remainders go up."""
    down = wanted.floor()
    missing = total - int(down.sum())
    up = (wanted - down).argsort(descending=True, stable=True)[:missing]
    down[up] += 1
    return down.long()


def _repeated(members: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    """`wanted` of the members, in passes that each have a new order."""
    passes = -(-wanted // len(members))
    shuffled = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
    return torch.cat(shuffled)[:wanted]
