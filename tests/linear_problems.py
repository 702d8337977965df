"""Small problems, and the programs that cvxpy solves on all of their rows."""

import cvxpy as cp
import numpy as np
import torch

from fairlightning.convex.constraints import LogitBounds
from fairlightning.convex.linear import LinearBatch
from fairlightning.data import adult
from fairlightning.groups import GroupSpec
from fairlightning.models import TabularEncoder


def adult_batch(rows=2000, attributes=("sex",), weighted=False):
    """Rows of Adult without constant columns; sex, or race, or both."""
    data = adult()
    data.setup()
    batch = data.batch("train")
    numeric, categorical = (part[:rows] for part in batch.inputs)
    x = TabularEncoder(data.num_numeric, data.cardinalities)((numeric, categorical)).double()
    axes = data.groups.axes(attributes)
    groups = GroupSpec({name: data.groups.to_dict()[name] for name in attributes})
    weight = None
    if weighted:
        weight = torch.rand(rows, generator=torch.Generator().manual_seed(0)).double() + 0.1
        weight[:7] = 0
    x = x[:, x.std(0) > 0]
    return LinearBatch(x, batch.target[:rows], batch.sensitive[:rows][:, axes], weight), groups


def eight_groups(rows=2000, seed=0, columns=12):
    """Rows in eight groups that differ in their features; group -1 is unknown."""
    random = torch.Generator().manual_seed(seed)
    group = torch.randint(-1, 8, (rows,), generator=random)
    x = torch.randn(rows, columns, generator=random, dtype=torch.float64)
    x[:, 0] += 0.3 * group
    x[:, 1] -= 0.1 * group
    noise = torch.randn(rows, generator=random, dtype=torch.float64)
    y = (x[:, 0] + x[:, 2] - x[:, 3] + noise > 0.8).long()
    return LinearBatch(x, y, group[:, None]), GroupSpec({"group": range(8)})


def problem(groups, weighted=False):
    if groups == 2:
        return adult_batch(weighted=weighted)
    batch, spec = eight_groups()
    if weighted:
        batch = batch._replace(weight=adult_batch(weighted=True)[0].weight)
    return batch, spec


LOSSES = {
    "logistic": lambda margin: cp.logistic(-margin),
    "squared_hinge": lambda margin: cp.square(cp.pos(1 - margin)),
    "hinge": lambda margin: cp.pos(1 - margin),
}


def conditions(criterion, target):
    """Rows that count, by condition."""
    positive = target == 1
    return {
        "demographic_parity": [np.full(len(target), True)],
        "equal_opportunity": [positive],
        "equalized_odds": [~positive, positive],
    }[criterion]


def means(batch, spec, constraint):
    """For every partition and condition the mean rows of the groups that have some, by mask."""
    x, target = batch.inputs.numpy(), batch.target.numpy()
    weight = np.ones(len(x)) if batch.weight is None else batch.weight.numpy()
    for partition in constraint.partitions(spec):
        group = spec.group_ids(batch.sensitive, partition).numpy()
        blocks = []
        for condition in conditions(constraint.criterion, target):
            found = []
            for g in range(spec.num_groups(partition)):
                w = weight * (condition & (group == g))
                if w.sum() > 0:
                    found.append(w @ x / w.sum())
            blocks.append(found)
        yield blocks


def by_cvxpy(batch, spec, constraints, loss="logistic", l2=1e-3, l1=0.0, class_weight=(1, 1)):
    """The optimum of the whole program, with every pair of groups."""
    x, target = batch.inputs.numpy(), batch.target.numpy()
    weight = np.ones(len(x)) if batch.weight is None else batch.weight.numpy()
    weight = weight * np.where(target == 1, class_weight[1], class_weight[0])
    beta, intercept = cp.Variable(x.shape[1]), cp.Variable()
    margin = cp.multiply(2.0 * target - 1, x @ beta + intercept)
    goal = weight @ LOSSES[loss](margin) / weight.sum() + l2 / 2 * cp.sum_squares(beta)
    goal = goal + l1 * cp.norm1(beta)
    bounds = []
    for constraint in constraints:
        for blocks in means(batch, spec, constraint):
            if isinstance(constraint, LogitBounds):
                values = [m @ beta + intercept for block in blocks for m in block]
                bounds += [v >= constraint.at_least for v in values]
                bounds += [v <= constraint.at_most for v in values]
                continue
            gaps = [cp.abs((a - b) @ beta) for block in blocks for a in block for b in block]
            if constraint.penalty is None:
                bounds += [gap <= constraint.epsilon_logit for gap in gaps]
            else:
                goal = goal + constraint.penalty * cp.maximum(*gaps)
    program = cp.Problem(cp.Minimize(goal), bounds)
    program.solve(solver=cp.CLARABEL, tol_gap_rel=1e-9, tol_gap_abs=1e-9)
    return program.value, beta.value, float(intercept.value)


def objective(batch, beta, intercept, loss="logistic", l2=1e-3, l1=0.0):
    """Objective without penalties, from its definition."""
    x, sign = batch.inputs.numpy(), 2.0 * batch.target.numpy() - 1
    margin = sign * (x @ beta + intercept)
    value = {
        "logistic": np.logaddexp(0, -margin),
        "squared_hinge": np.maximum(0, 1 - margin) ** 2,
        "hinge": np.maximum(0, 1 - margin),
    }[loss]
    weight = np.ones(len(x)) if batch.weight is None else batch.weight.numpy()
    return weight @ value / weight.sum() + l2 / 2 * beta @ beta + l1 * np.abs(beta).sum()
