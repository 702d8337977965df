"""Batches to be projected onto the fair set, and the program by its definition as an oracle."""

import cvxpy as cp
import numpy as np
import torch

from fairlightning.functional import CRITERIA, Rates, group_rates, parity_gap
from fairlightning.functional.projection import Cells
from fairlightning.groups import GroupSpec

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})
__all__ = ["CRITERIA", "GROUPS", "by_cvxpy", "largest_gap", "one_partition", "table"]


def one_partition(rows, groups, seed=0, spread=1.5, lean=0.6, dtype=torch.float64):
    """Probabilities that lean on the group, and the cells of one attribute."""
    random = torch.Generator().manual_seed(seed)
    group = torch.randint(0, groups, (rows,), generator=random)
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64) + lean * group
    return torch.sigmoid(logit).to(dtype), Cells(group[None], (groups,))


def table(rows=60, seed=0, spread=2.0):
    random = torch.Generator().manual_seed(seed)
    sensitive = torch.stack(
        [torch.randint(-1, size, (rows,), generator=random) for size in GROUPS.sizes], 1
    )
    target = torch.randint(0, 2, (rows,), generator=random)
    logit = spread * torch.randn(rows, generator=random, dtype=torch.float64)
    return torch.sigmoid(logit + sensitive[:, 0] - sensitive[:, 1]), sensitive, target


def largest_gap(value, cells, weight=None):
    """The gap that penalties and metrics see, over all blocks and partitions."""
    gaps, first = [], 0
    found = [group_rates(value, ids, sum(cells.blocks), weight=weight) for ids in cells.ids]
    for size in cells.blocks:
        block = slice(first, first + size)
        for rates in found:
            part = Rates(rates.rate[None, block], rates.support[None, block])
            gaps.append(parity_gap(part, "max").item())
        first += size
    return max(gaps)


def by_cvxpy(p, cells, epsilon, distance="squared", weight=None, **solver):
    """The program as it is defined, with a constraint for every pair of cells."""
    p = p.numpy()
    weight = np.ones(len(p)) if weight is None else weight.numpy()
    x = cp.Variable(len(p))
    constraints, first = [x >= 0, x <= 1], 0
    for size in cells.blocks:
        means = []
        for cell in range(first, first + size):
            inside = weight * (cells.ids == cell).any(0).numpy()
            if inside.sum() > 0:
                means.append(inside @ x / inside.sum())
        constraints += [a - b <= epsilon for a in means for b in means if a is not b]
        first += size
    counted = np.where(weight > 0, weight, 1.0)
    if distance == "squared":
        goal = cp.sum(cp.multiply(counted, cp.square(x - p)))
    else:
        terms = cp.rel_entr(x, p) + cp.rel_entr(1 - x, 1 - p)
        goal = cp.sum(cp.multiply(counted, terms))
    cp.Problem(cp.Minimize(goal), constraints).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11, **solver
    )
    return torch.from_numpy(x.value)
