"""Fair splitting: the gap of routes at every node of soft trees."""

import pytest
import torch
from torch.autograd import gradcheck

from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec
from fairlightning.models import Ensemble, SoftForest
from fairlightning.objectives import SplitParityPenalty, Step

SPEC = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})
SEX = GroupSpec({"sex": ["F", "M"]})
CRITERIA = pytest.mark.parametrize(
    "criterion", ["demographic_parity", "equal_opportunity", "equalized_odds"]
)


def make_leaves(*shape, dtype=torch.float64, seed=0, trees=2, depth=3):
    """Probabilities of leaves of random soft trees, `(*shape, T·2^D)`."""
    random = torch.Generator().manual_seed(seed)
    gates = torch.rand(*shape, trees, 2**depth - 1, generator=random, dtype=dtype)
    reached = torch.ones(*shape, trees, 1, dtype=dtype)
    for level in range(depth):
        right = gates[..., 2**level - 1 : 2 ** (level + 1) - 1]
        reached = torch.stack([reached * (1 - right), reached * right], -1).flatten(-2)
    return reached.flatten(-2)


def step(leaves, seed=1, spec=SPEC, **fields):
    rows = leaves.shape[-2]
    random = torch.Generator().manual_seed(seed)
    codes = [torch.randint(-1, size, (rows,), generator=random) for size in spec.sizes]
    target = torch.randint(0, 2, (rows,), generator=random)
    made = dict(representation=leaves, target=target, sensitive=torch.stack(codes, 1))
    return Step(**(made | fields))


def by_hand(leaves, group, trees=2, depth=3):
    """Node by node, from the definition."""
    leaves = leaves.view(len(leaves), trees, 2**depth)
    known = group >= 0
    total = 0.0
    for tree in range(trees):
        for level in range(depth):
            width = 2 ** (depth - level)
            for node in range(2**level):
                below = leaves[:, tree, node * width : (node + 1) * width]
                reach, right = below.sum(1), below[:, width // 2 :].sum(1)
                rates = [right[group == g].sum() / reach[group == g].sum() for g in (0, 1)]
                share = reach[known].sum() / known.sum()
                total += share * (rates[0] - rates[1]).abs()
    return total / trees / depth


def test_value_is_that_of_the_definition():
    leaves = make_leaves(50)
    batch = step(leaves, spec=SEX)
    found = SplitParityPenalty(SEX, trees=2)(batch)
    torch.testing.assert_close(found.value, by_hand(leaves, batch.sensitive[:, 0]))
    assert found.support["sex"].tolist() == [
        [(batch.sensitive[:, 0] == g).sum().item() for g in (0, 1)]
    ]
    positive = batch.target == 1
    ours = SplitParityPenalty(SEX, trees=2, criterion="equal_opportunity")(batch).value
    torch.testing.assert_close(ours, by_hand(leaves[positive], batch.sensitive[positive, 0]))


def test_fair_splits_make_equal_mean_logits_and_unfair_ones_do_not_pass():
    torch.manual_seed(0)
    forest = SoftForest(1, [], trees=3, depth=2).double()
    same = torch.randn(30, 1, dtype=torch.float64).repeat(2, 1)
    group = torch.arange(2).repeat_interleave(30)[:, None]
    none, label = torch.empty(60, 0, dtype=torch.long), torch.zeros(60, dtype=torch.long)
    penalty = SplitParityPenalty(SEX, trees=3)
    logits, leaves = forest((same, none))
    value = penalty(Step(representation=leaves, target=label, sensitive=group)).value
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert logits[:30].mean().item() == pytest.approx(logits[30:].mean().item())
    _, leaves = forest((same + 2 * group, none))
    assert penalty(Step(representation=leaves, target=label, sensitive=group)).value > 0.05


@CRITERIA
@pytest.mark.parametrize("gap", ["max", "mean", "squared", "logsumexp", "ratio"])
@pytest.mark.parametrize("intersections", [False, True])
def test_absent_and_unknown_groups_leave_everything_finite(criterion, gap, intersections):
    options = dict(criterion=criterion, gap=gap, intersections=intersections, trees=2)
    penalty = SplitParityPenalty(SPEC, **options)
    batch = step(make_leaves(40))
    sensitive = batch.sensitive.where(batch.sensitive != 1, 0)  # no M, no b
    leaves = batch.representation.clone().requires_grad_()

    value = penalty(batch._replace(representation=leaves, sensitive=sensitive)).value
    value.backward()
    assert value >= 0 and value.isfinite() and leaves.grad.isfinite().all()
    of_nobody = sensitive.amax(1) < 0
    assert of_nobody.any() and not leaves.grad[of_nobody].any()
    leaves.grad = None
    nobody = torch.full_like(sensitive, -1)
    none = penalty(batch._replace(representation=leaves, sensitive=nobody)).value
    none.backward()
    assert none == 0 and leaves.grad.isfinite().all() and not leaves.grad.any()


def test_a_group_that_does_not_reach_a_node_takes_no_part_there():
    # F goes left at the root and M right: below it each node has one group, and nothing to compare.
    leaves = torch.tensor([[0.9, 0.1, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]], dtype=torch.float64)
    batch = Step(
        representation=leaves, target=torch.tensor([0, 1]), sensitive=torch.tensor([[0], [1]])
    )
    assert SplitParityPenalty(SEX, trees=1)(batch).value.item() == pytest.approx(1 / 2)


def test_gradient_of_a_single_split_is_that_of_finite_differences():
    # With one node per tree every row reaches it, and the constant share is one.
    batch = step(make_leaves(12, trees=2, depth=1), spec=SEX)
    penalty = SplitParityPenalty(SEX, trees=2, gap="squared")
    gates = batch.representation[:, 1::2].clone().requires_grad_()

    def value(right):
        leaves = torch.stack([1 - right, right], -1).flatten(-2)
        return penalty(batch._replace(representation=leaves)).value

    assert gradcheck(value, (gates,))


@CRITERIA
def test_models_together_batches_in_pieces_and_weights(criterion):
    penalty = SplitParityPenalty(SPEC, criterion=criterion, trees=2)
    batch = step(make_leaves(3, 60))
    together = penalty(batch).value
    assert together.shape == (3,)
    each = [penalty(batch._replace(representation=one)).value for one in batch.representation]
    torch.testing.assert_close(together, torch.stack(each))
    mapped = torch.vmap(lambda one: penalty(batch._replace(representation=one)).value)
    torch.testing.assert_close(mapped(batch.representation), together)

    def rows(part):
        return batch._replace(
            representation=batch.representation[:, part],
            target=batch.target[part],
            sensitive=batch.sensitive[part],
        )

    halves = [penalty.sums(rows(part)) for part in (slice(0, 25), slice(25, 60))]
    joined = penalty.term([a + b for a, b in zip(*halves, strict=True)]).value
    torch.testing.assert_close(joined, together)

    twice = torch.cat([torch.arange(60), torch.arange(20)])
    weight = torch.ones(60, dtype=torch.float64)
    weight[:20] = 2
    weighted = penalty(batch._replace(row_weight=weight)).value
    torch.testing.assert_close(weighted, penalty(rows(twice)).value)


def test_compiles_whole_and_keeps_float32_under_autocast():
    penalty = SplitParityPenalty(SPEC, trees=2)
    batch = step(make_leaves(40, dtype=torch.float32))
    compiled = torch.compile(penalty, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch).value, penalty(batch).value)
    half = batch._replace(representation=batch.representation.bfloat16())
    found = penalty(half).value
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, penalty(batch).value, atol=0.01, rtol=0)


def test_an_ensemble_counts_its_trees_and_other_networks_are_refused():
    ensemble = Ensemble(SoftForest, 2, numeric=2, cardinalities=[], trees=3, depth=2)
    assert SplitParityPenalty.build(SEX, ensemble.sizes).trees == 6
    with pytest.raises(ArgumentError, match=r"pass model=soft_tree or model=soft_forest"):
        SplitParityPenalty.build(SEX, {"logits": 1, "representation": 64})
    with pytest.raises(ArgumentError, match=r"trees: found 0"):
        SplitParityPenalty(SEX, trees=0)
