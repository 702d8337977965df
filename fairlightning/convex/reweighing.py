"""Row weights under which group and label are independent, as close to 1 as possible.

Weights depend on group and label alone, so the program has one unknown per cell, however many rows
there are. With both the label rate and the groups' masses kept there is one solution only, that of
Kamiran and Calders (2012, Knowl. Inf. Syst. 33); here the groups' masses may move too.
"""

# cvxpy re-exports its functions without saying so, and is typed in part only.
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cvxpy as cp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairlightning.convex.quadratic import run
from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.rates import segment_sums
from fairlightning.functional.rows import check_target, check_weight
from fairlightning.groups import GroupSpec

ReweighingDistance = Literal["squared", "kl"]
_DISTANCES = ("squared", "kl")
_DEVIATION = 1e-6


@dataclass(frozen=True)
class Reweighing:
    """Weights, and how far from 1 they had to go.

    Attributes:
        weight: `(N,)` float64 weights ≥ 0 by which rows count; given row weights are in them.
        factor: `(K, 2)` float64 factor of every cell of the attributes (`GroupSpec.cell_ids`) and
            label; 1 where there are no rows.
        distance: Mean over the rows of (factor − 1)², or of factor·log(factor) for `kl`.
        label_rate: Share of label 1 in every group, by the new weights.
    """

    weight: Tensor
    factor: Tensor
    distance: float
    label_rate: float


def reweigh(
    target: Tensor,
    sensitive: Tensor,
    groups: GroupSpec | Mapping[str, Iterable[object]],
    *,
    attributes: Sequence[str] | None = None,
    intersections: bool = False,
    distance: ReweighingDistance = "squared",
    label_rate: float | None = None,
    keep_groups: bool = False,
    weight: Tensor | None = None,
) -> Reweighing:
    """Find the row weights closest to 1 under which group and label are independent.

    The total mass is kept. Rows whose group is unknown in every attribute keep their weight.

    Args:
        target: `(N,)` labels in {0, 1}.
        sensitive: `(N, A)` int64 codes, `-1` for unknown.
        groups: The sensitive attributes.
        attributes: Attributes that it is about; all if None.
        intersections: False: the label is independent of every attribute. True: of all together.
        distance: `squared`: Σ w·(factor − 1)²; `kl`: Σ w·factor·log(factor), under which no
            factor becomes 0.
        label_rate: Share of label 1 that every group gets, in (0, 1); that of the rows if None.
        keep_groups: Keep the mass of every group, too.
        weight: `(N,)` row weights ≥ 0 that the factors multiply.

    Returns:
        The weights.

    Raises:
        ArgumentError: On wrong shapes, labels or codes, and where no weights give a group its label
            rate (to 1e-6), naming it: it has rows of one label only, or several attributes and
            `keep_groups` contradict each other.

    >>> y, sex = torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> reweigh(y, sex[:, None], {"sex": ["f", "m"]}, keep_groups=True).weight
    tensor([1.5000, 0.7500, 0.7500, 0.7500, 0.7500, 1.5000], dtype=torch.float64)
    """
    spec = GroupSpec.of(groups)
    check_choice("distance", distance, _DISTANCES)
    partitions = spec.partitions_of(attributes, intersections)
    positive = check_target(target, len(target)).long()
    sensitive = spec.check(sensitive, len(target))
    rows = torch.ones(len(target), dtype=torch.float64, device=target.device)
    if weight is not None:
        rows = check_weight(weight, len(target)).double()
    cell = spec.cell_ids(sensitive) * 2 + positive
    mass = segment_sums(rows, cell, 2 * spec.num_cells).cpu().numpy()
    used = np.flatnonzero(mass > 0)
    rate = _label_rate(label_rate, mass)
    found = _solve(
        mass[used], used % 2, rate, list(_members(spec, partitions, used)), distance, keep_groups
    )
    factor = np.ones(2 * spec.num_cells)
    factor[used] = found
    if distance == "squared":
        each = np.square(found - 1)
    else:
        each = found * np.log(np.maximum(found, 1e-300))
    table = torch.from_numpy(factor)
    return Reweighing(
        weight=rows * table.to(rows.device)[cell],
        factor=table.view(-1, 2),
        distance=float(mass[used] @ each / mass.sum()),
        label_rate=rate,
    )


def row_weights(
    target: Tensor,
    sensitive: Tensor,
    groups: GroupSpec | Mapping[str, Iterable[object]],
    **options: Any,
) -> Tensor:
    """Weights of `reweigh` alone, `(N,)` float64; the arguments are the same."""
    return reweigh(target, sensitive, groups, **options).weight


def _label_rate(label_rate: float | None, mass: NDArray[Any]) -> float:
    rate = mass[1::2].sum() / max(mass.sum(), 1e-300) if label_rate is None else label_rate
    if not 0 < rate < 1:
        raise ArgumentError.of(
            "target, label_rate",
            found=f"a share of {rate} of label 1",
            expected="a share strictly between 0 and 1",
            mend="pass rows of both labels, and a label_rate in (0, 1)",
        )
    return float(rate)


def _members(
    spec: GroupSpec, partitions: Sequence[tuple[str, ...]], used: NDArray[Any]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name of every group, and which of the used cells belong to it."""
    codes = torch.from_numpy(np.stack(np.unravel_index(used // 2, _shape(spec)), axis=1))
    size = torch.tensor(spec.sizes)
    codes = torch.where(codes == size, -1, codes)
    for partition in partitions:
        group = spec.group_ids(codes, partition).numpy()
        for position, name in enumerate(spec.group_names(partition)):
            if (group == position).any():
                yield name, group == position


def _shape(spec: GroupSpec) -> tuple[int, ...]:
    return tuple(size + 1 for size in spec.sizes)


def _solve(
    mass: NDArray[Any],
    label: NDArray[Any],
    rate: float,
    members: Sequence[tuple[str, NDArray[Any]]],
    distance: str,
    keep_groups: bool,
) -> NDArray[np.float64]:
    factor = cp.Variable(len(mass), nonneg=True)
    share = mass / mass.sum()
    moved = cp.multiply(share, factor)
    constraints = [cp.sum(moved) == 1]
    part_of_some = np.zeros(len(mass), dtype=bool)
    for name, inside in members:
        part_of_some |= inside
        if len(np.unique(label[inside])) < 2:
            raise ArgumentError.of(
                "target",
                found=f"rows of label {label[inside][0]} only in the group {name}",
                expected="both labels in every group",
                mend="merge the group with another, or leave the attribute out",
            )
        # By the group's own share: a small group would else be lost in the solver's tolerance.
        within = inside * share / (inside @ share)
        constraints.append((within * (label - rate)) @ factor == 0)
        if keep_groups:
            constraints.append(within @ factor == 1)
    if (~part_of_some).any():
        constraints.append(factor[~part_of_some] == 1)
    else:
        constraints.append(label @ moved == rate)
    squared, entropy = cp.square(factor - 1), -cp.entr(factor)
    goal = share @ (squared if distance == "squared" else entropy)
    problem = cp.Problem(cp.Minimize(goal), constraints)
    try:
        run(problem)
    except SetupError as error:
        if problem.status not in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            raise
        names = ", ".join(name for name, _ in members)
        raise _unreachable(rate, f"no weights that do for all of {names}") from error
    found: NDArray[np.float64] = np.maximum(np.asarray(factor.value), 0.0)
    for name, inside in members:
        mass_now = inside * share * found
        reached = label @ mass_now / max(mass_now.sum(), 1e-300)
        if abs(reached - rate) > _DEVIATION:
            raise _unreachable(rate, f"a share of {reached:.6g} in {name}")
    return found


def _unreachable(rate: float, found: str) -> ArgumentError:
    return ArgumentError.of(
        "label_rate, keep_groups",
        found=found,
        expected=f"weights by which label 1 has a share of {rate:.6g} in every group",
        mend="pass keep_groups=False or another label_rate, merge small groups, or name fewer "
        "attributes",
    )
