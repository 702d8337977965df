import pytest
import torch
from fair_batches import CRITERIA, GROUPS, by_cvxpy, table
from processes import two_processes

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.projection import DISTANCES, parity_cells
from fairlightning.objectives import Fairness, ParityPenalty, ProjectionPenalty, Step

each = pytest.mark.parametrize("distance", DISTANCES)


def step(rows=60, seed=0, **fields):
    p, sensitive, target = table(rows, seed)
    made = dict(logits=p.logit()[:, None], target=target, sensitive=sensitive)
    return Step(**(made | fields))


def value(batch, **options):
    return ProjectionPenalty(GROUPS, **options)(batch).value


@each
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("crossed", [False, True])
def test_value_is_the_distance_to_what_cvxpy_finds_nearest(distance, criterion, crossed):
    batch = step()
    partitions = [("sex", "race")] if crossed else [("sex",), ("race",)]
    cells = parity_cells(criterion, batch.target, batch.sensitive, GROUPS, partitions)
    p = torch.sigmoid(batch.logits[:, 0])
    x = by_cvxpy(p, cells, 0.02, distance)
    bernoulli = torch.distributions.Bernoulli
    divergence = torch.distributions.kl_divergence(bernoulli(x.clamp(0, 1)), bernoulli(p))
    expected = divergence.mean() if distance == "kl" else (x - p).square().mean()
    options = dict(epsilon=0.02, criterion=criterion, intersections=crossed, distance=distance)
    term = ProjectionPenalty(GROUPS, **options)(batch)
    assert expected > 1e-3
    assert term.value.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = ParityPenalty(GROUPS, criterion=criterion, intersections=crossed)(batch).support
    assert term.support.keys() == theirs.keys()
    assert all((term.support[name] == theirs[name]).all() for name in theirs)


@each
def test_descent_ends_where_the_parity_penalty_sees_no_larger_gap(distance):
    batch = step(80)
    logits = batch.logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    options = dict(criterion="equalized_odds", attributes=["race"])
    for _ in range(100):
        moved = Step(logits, batch.target, batch.sensitive)
        loss = value(moved, epsilon=0.02, distance=distance, **options)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gap = ParityPenalty(GROUPS, **options)
    assert gap(batch).value > 0.1
    assert gap(Step(logits, batch.target, batch.sensitive)).value < 0.03
    fair = value(step(), epsilon=1.0, distance=distance)
    assert fair == 0


def test_gradient_of_kl_is_the_distance_in_probability():
    batch = step()
    logits = batch.logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(
        value(Step(logits, batch.target, batch.sensitive), epsilon=0.02), logits
    )
    p = torch.sigmoid(batch.logits[:, 0])
    cells = parity_cells("demographic_parity", None, batch.sensitive, GROUPS, [("sex",), ("race",)])
    expected = (p - by_cvxpy(p, cells, 0.02, "kl")) / len(p)
    assert torch.allclose(grad[:, 0], expected, atol=1e-7)


@each
def test_weights_models_order_and_short_types(distance):
    batch, penalty = step(30), ProjectionPenalty(GROUPS, epsilon=0.02, distance=distance)
    alone = penalty(batch).value
    order = torch.randperm(30)
    shuffled = Step(*(part[order] for part in (batch.logits, batch.target, batch.sensitive)))
    assert torch.allclose(penalty(shuffled).value, alone)
    count = torch.arange(30) % 3
    repeated = [
        part.repeat_interleave(count, 0) for part in (batch.logits, batch.target, batch.sensitive)
    ]
    weighted = penalty(step(30, row_weight=count.double()))
    assert torch.allclose(weighted.value, penalty(Step(*repeated)).value)
    assert weighted.support["sex"].sum() < penalty(Step(*repeated)).support["sex"].sum()
    stacked = step(30, logits=torch.stack([batch.logits, 2 * batch.logits]))
    assert torch.allclose(
        penalty(stacked).value,
        torch.stack([alone, penalty(step(30, logits=2 * batch.logits)).value]),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = penalty(step(30, logits=batch.logits.bfloat16())).value
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(alone.item(), rel=0.02)


@each
@pytest.mark.parametrize("case", ["unknown", "one group", "no positives", "one row", "empty"])
def test_what_cannot_be_compared_costs_nothing(distance, case):
    batch = step({"one row": 1, "empty": 0}.get(case, 40))
    sensitive, target = batch.sensitive.clone(), batch.target
    if case == "unknown":
        sensitive.fill_(-1)
    elif case == "one group":
        sensitive.fill_(1)
    elif case == "no positives":
        target = torch.zeros_like(target)
    logits = batch.logits.clone().requires_grad_()
    found = value(Step(logits, target, sensitive), criterion="equal_opportunity", distance=distance)
    (grad,) = torch.autograd.grad(found, logits)
    assert found == 0
    assert (grad == 0).all()


@each
def test_large_float32_logits_are_projected_and_those_of_1_are_named(distance):
    logits = torch.tensor([[25.0], [30.0], [-2.0], [-30.0]], requires_grad=True)
    batch = Step(logits, torch.tensor([1, 1, 0, 0]), torch.tensor([[0, 0], [0, 0], [1, 1], [1, 1]]))
    found = value(batch, distance=distance)
    (grad,) = torch.autograd.grad(found, logits)
    assert found > 0.1
    assert grad.isfinite().all()
    if distance == "kl":
        with pytest.raises(ArgumentError, match="keep probabilities off 0 and 1"):
            value(Step(1000 * logits, batch.target, batch.sensitive), distance=distance)
    with pytest.raises(ArgumentError, match="NaN"):
        value(Step(logits * torch.nan, batch.target, batch.sensitive), distance=distance)


def test_several_batches_give_their_mean_by_rows():
    penalty = ProjectionPenalty(GROUPS, epsilon=0.02)
    batches = [step(20, seed=1), step(60, seed=2)]
    joined = penalty.term(
        [sum(parts) for parts in zip(*map(penalty.sums, batches), strict=True)]
    ).value
    expected = (20 * value(batches[0], epsilon=0.02) + 60 * value(batches[1], epsilon=0.02)) / 80
    assert torch.allclose(joined, expected)


def test_arguments():
    with pytest.raises(ArgumentError, match="epsilon"):
        ProjectionPenalty(GROUPS, epsilon=-0.1)
    with pytest.raises(ArgumentError, match="distance"):
        ProjectionPenalty(GROUPS, distance="l1")
    with pytest.raises(ArgumentError, match="criterion"):
        ProjectionPenalty(GROUPS, criterion="parity")


def _on_two_ranks(rank):
    fairness = Fairness(GROUPS)
    fairness.add("projection", ProjectionPenalty(GROUPS))
    batch = step(seed=rank)
    try:
        fairness(torch.tensor(0.0), batch)
        message = ""
    except SetupError as error:
        message = str(error)
    fairness.eval()
    fairness(torch.tensor(0.0, dtype=torch.float64), batch)
    return message, fairness.finish(fairness.last.sums).parts["projection"]


def test_training_on_two_ranks_is_refused_and_evaluation_is_not(tmp_path):
    found = two_processes(tmp_path / "ranks", _on_two_ranks)
    expected = (value(step(seed=0)) + value(step(seed=1))) / 2
    for message, mean in found:
        assert "objective 'projection': found training on 2 ranks" in message
        assert torch.allclose(mean, expected)
