import cvxpy as cp
import numpy as np
import pytest
import torch
from linear_problems import adult_batch

from fairlightning.convex.linear import LinearBatch, fit_linear
from fairlightning.convex.reweighing import reweigh
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec

SPEC = GroupSpec({"sex": ["f", "m"], "race": ["a", "b", "c"]})


def rows(count=3000, seed=0, unknown=True):
    random = torch.Generator().manual_seed(seed)
    low = -1 if unknown else 0
    sensitive = torch.stack(
        [torch.randint(low, size, (count,), generator=random) for size in SPEC.sizes], 1
    )
    chance = 0.25 + 0.15 * sensitive[:, 0] + 0.1 * sensitive[:, 1]
    y = (torch.rand(count, generator=random) < chance).long()
    return y, sensitive, torch.rand(count, generator=random).double()


def label_rates(y, group, weight):
    return [
        (weight[(group == g) & (y == 1)].sum() / weight[group == g].sum()).item()
        for g in group.unique()
        if g >= 0
    ]


@pytest.mark.parametrize("distance", ["squared", "kl"])
@pytest.mark.parametrize("intersections", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_group_and_label_become_independent(distance, intersections, weighted):
    y, sensitive, weight = rows()
    weight = weight if weighted else None
    found = reweigh(
        y, sensitive, SPEC, intersections=intersections, distance=distance, weight=weight
    )
    given = torch.ones(len(y)).double() if weight is None else weight
    partitions = [("sex", "race")] if intersections else [("sex",), ("race",)]
    for partition in partitions:
        group = SPEC.group_ids(sensitive, partition)
        assert max(abs(r - found.label_rate) for r in label_rates(y, group, given)) > 0.05
        rates = label_rates(y, group, found.weight)
        assert rates == pytest.approx([found.label_rate] * len(rates), abs=1e-7)
    assert found.weight.sum() == pytest.approx(given.sum().item())
    assert found.weight.min() >= 0
    unknown = (sensitive < 0).any(1) if intersections else (sensitive < 0).all(1)
    assert torch.allclose(found.weight[unknown], given[unknown])
    factor = found.weight / given
    each = (factor - 1).square() if distance == "squared" else torch.xlogy(factor, factor)
    assert found.distance == pytest.approx(((given * each).sum() / given.sum()).item(), abs=1e-9)


def test_with_all_masses_kept_it_is_kamiran_and_calders():
    y, sensitive, _ = rows(unknown=False)
    sex = sensitive[:, 0]
    for distance in ("squared", "kl"):
        found = reweigh(y, sensitive, SPEC, attributes=["sex"], keep_groups=True, distance=distance)
        for g in range(2):
            for label in range(2):
                cell = (sex == g) & (y == label)
                expected = (sex == g).double().mean() * (y == label).double().mean()
                assert found.weight[cell] == pytest.approx(
                    (expected / cell.double().mean()).item(), rel=1e-6
                )
        freer = reweigh(y, sensitive, SPEC, attributes=["sex"], distance=distance)
        assert freer.distance < found.distance


def test_no_weights_of_rows_are_closer():
    y, sensitive, _ = rows(200, seed=1)
    found = reweigh(y, sensitive, SPEC)
    w = cp.Variable(200, nonneg=True)
    label = y.numpy()
    bounds = [cp.sum(w) == 200, label @ w == label.sum()]
    for axis, size in enumerate(SPEC.sizes):
        for g in range(size):
            inside = (sensitive[:, axis] == g).numpy()
            bounds.append((inside * (label - found.label_rate)) @ w == 0)
    both = (sensitive < 0).all(1).numpy()
    bounds.append(w[both] == 1)
    program = cp.Problem(cp.Minimize(cp.sum_squares(w - 1) / 200), bounds[:1] + bounds[2:])
    program.solve(solver=cp.CLARABEL)
    assert found.distance == pytest.approx(program.value, rel=1e-5)
    assert found.weight.numpy() == pytest.approx(w.value, abs=1e-4)


def test_fair_rows_keep_their_weights_and_a_rate_can_be_chosen():
    sensitive = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 0]]).repeat(10, 1)
    sensitive = torch.cat([sensitive, sensitive])
    y = torch.arange(2).repeat_interleave(40)
    found = reweigh(y, sensitive, SPEC)
    assert torch.allclose(found.weight, torch.ones(80).double(), atol=1e-7)
    assert found.distance < 1e-12
    found = reweigh(y, sensitive, SPEC, label_rate=0.25)
    assert found.weight[y == 1].sum() == pytest.approx(20, abs=1e-6)


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_a_group_of_hardly_any_weight_gets_its_label_rate_too(distance):
    y = torch.tensor([0, 1, 1, 0] * 20 + [0, 0, 1, 0])
    group = torch.tensor([0, 0, 1, 1] * 20 + [2] * 4)
    weight = torch.where(group == 2, 1e-10, 1.0).double()
    spec = GroupSpec({"g": range(3)})
    found = reweigh(y, group[:, None], spec, distance=distance, weight=weight)
    assert label_rates(y, group, found.weight) == pytest.approx([found.label_rate] * 3, abs=1e-7)
    # Its label 1 is too rare to be seen in floating point.
    weight[-2] = 1e-22
    with pytest.raises(ArgumentError, match=r"a share of .* in g=2, expected weights"):
        reweigh(y, group[:, None], spec, distance=distance, weight=weight)


def test_masses_that_no_weights_keep_are_named():
    # sex, race, label: one row alone is of sex 1 and race 0.
    cells = {(0, 0, 1): 10, (0, 1, 0): 30, (0, 0, 0): 2, (1, 1, 1): 20, (1, 1, 0): 20, (1, 0, 0): 1}
    table = torch.tensor([cell for cell, count in cells.items() for _ in range(count)])
    spec = GroupSpec({"sex": ["f", "m"], "race": ["a", "b"]})
    with pytest.raises(ArgumentError, match=r"keep_groups: found no weights .* sex=f, .* race=b"):
        reweigh(table[:, 2], table[:, :2], spec, keep_groups=True)


def test_weights_make_a_linear_model_fairer():
    batch, spec = adult_batch(rows=10000)
    weight = reweigh(batch.target, batch.sensitive, spec).weight

    def gap(weight):
        result = fit_linear(LinearBatch(batch.inputs, batch.target, weight=weight))
        logit, sex = result.decision(batch.inputs), batch.sensitive[:, 0]
        return (logit[sex == 1].mean() - logit[sex == 0].mean()).item()

    assert 0 < gap(weight) < 0.8 * gap(None)


def test_a_group_with_one_label_is_named():
    y, sensitive, _ = rows()
    only = torch.where(sensitive[:, 1] == 2, 1, y)
    with pytest.raises(ArgumentError, match="rows of label 1 only in the group race=c"):
        reweigh(only, sensitive, SPEC)
    with pytest.raises(ArgumentError, match=r"a share of 1\.0"):
        reweigh(torch.ones(10).long(), sensitive[:10], SPEC)
    with pytest.raises(ArgumentError, match="label_rate"):
        reweigh(y, sensitive, SPEC, label_rate=1.5)
    with pytest.raises(ArgumentError, match="did you mean 'kl'"):
        reweigh(y, sensitive, SPEC, distance="k")
    absent = GroupSpec({"sex": ["f", "m", "x"], "race": ["a", "b", "c"]})
    found = reweigh(y, sensitive, absent)
    assert np.isfinite(found.weight).all()
