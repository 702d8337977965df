import pytest
import torch
from fair_batches import GROUPS, table
from processes import two_processes

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional import dependence
from fairlightning.functional.continuous import contingency_from_sums, soft_bins
from fairlightning.objectives import DependencePenalty, Fairness, ParityPenalty, Step
from fairlightning.objectives.dependence import MEASURES, OF_ROWS, OF_SUMS

each = pytest.mark.parametrize("measure", MEASURES)


def step(rows=60, seed=0, **fields):
    p, sensitive, target = table(rows, seed)
    made = dict(logits=p.logit()[:, None], target=target, sensitive=sensitive)
    return Step(**(made | fields))


def value(batch, **options):
    return DependencePenalty(GROUPS, **options)(batch).value


def by_definition(measure, scores, group, count):
    if measure == "wasserstein_squared":
        return dependence.wasserstein(scores, group, count, order=2)
    if measure == "hgr":
        bins = soft_bins(scores, (0.0, 1.0))
        known = torch.stack([bins[:, group == g].sum(-1) for g in range(count)], -1)
        return contingency_from_sums(known)
    return getattr(dependence, measure)(scores, group, count)


@each
def test_value_averages_labels_and_attributes_and_counts_their_rows(measure):
    batch = step(200)
    scores = torch.sigmoid(batch.logits[:, 0])
    found = []
    for axis, count in enumerate((2, 3)):
        for label in (0, 1):
            rows = batch.target == label
            group = batch.sensitive[rows, axis]
            found.append(by_definition(measure, scores[rows], group, count))
    options = dict(measure=measure, criterion="equalized_odds")
    term = DependencePenalty(GROUPS, **options)(batch)
    assert torch.allclose(term.value, torch.stack(found).mean())
    opportunity = dict(measure=measure, criterion="equal_opportunity", attributes=["race"])
    assert torch.allclose(value(batch, **opportunity), found[3])
    theirs = ParityPenalty(GROUPS, criterion="equalized_odds")(batch).support
    assert term.support.keys() == theirs.keys()
    assert all((term.support[name] == theirs[name]).all() for name in theirs)


@each
def test_a_label_under_which_nothing_can_be_compared_does_not_halve_the_value(measure):
    batch = step(200)
    sex = torch.where(batch.target == 0, 1, batch.sensitive[:, 0])
    batch = batch._replace(sensitive=torch.stack([sex, batch.sensitive[:, 1]], 1))
    options = dict(measure=measure, attributes=["sex"])
    odds = value(batch, criterion="equalized_odds", **options)
    assert odds > 0
    assert torch.allclose(odds, value(batch, criterion="equal_opportunity", **options))


@each
def test_descent_closes_the_gap(measure):
    batch = step(80)
    logits = batch.logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(150):
        loss = value(Step(logits, batch.target, batch.sensitive), measure=measure)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gap = ParityPenalty(GROUPS)
    before = gap(batch).value
    assert before > 0.1
    assert gap(Step(logits, batch.target, batch.sensitive)).value < before / 3


def test_only_whole_distributions_see_groups_of_one_mean_and_two_spreads():
    spread = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    sensitive = torch.tensor([[0, -1]] * 50 + [[1, -1]] * 50)
    logits = torch.cat([spread, 3 * spread])
    batch = Step(logits, torch.ones(100, dtype=torch.long), sensitive)
    for measure in MEASURES:
        found = value(batch, measure=measure, attributes=["sex"])
        whole = measure in OF_ROWS or measure == "hgr"
        assert found > 1e-3 if whole else abs(found) < 1e-12


@each
def test_saturated_float32_logits_leave_a_finite_gradient(measure):
    logits = torch.tensor([[-1e4], [1e4], [1e38], [-1e38]], requires_grad=True)
    batch = Step(logits, torch.tensor([0, 1, 1, 0]), torch.tensor([[0, 0], [1, 1], [0, 2], [0, 0]]))
    found = value(batch, measure=measure)
    found.backward()
    assert found > 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("measure", OF_ROWS)
def test_distributions_of_several_batches_give_their_mean_by_rows(measure):
    penalty = DependencePenalty(GROUPS, measure=measure)
    batches = [step(20, seed=1), step(60, seed=2)]
    sums = zip(*map(penalty.sums, batches), strict=True)
    joined = penalty.term([sum(parts) for parts in sums]).value
    assert torch.allclose(
        joined, (20 * penalty(batches[0]).value + 60 * penalty(batches[1]).value) / 80
    )


def test_arguments():
    with pytest.raises(ArgumentError, match="measure"):
        DependencePenalty(GROUPS, measure="hgn")
    with pytest.raises(ArgumentError, match="criterion"):
        DependencePenalty(GROUPS, criterion="parity")


def _on_two_ranks(rank):
    found = {}
    for measure in MEASURES:
        fairness = Fairness(GROUPS)
        fairness.add("dependence", DependencePenalty(GROUPS, measure=measure))
        try:
            fairness(torch.tensor(0.0, dtype=torch.float64), step(seed=rank))
            found[measure] = fairness.last.losses.parts["dependence"]
        except SetupError as error:
            found[measure] = str(error)
    return found


def test_on_two_ranks_group_sums_are_exact_and_distributions_refused(tmp_path):
    parts = [step(seed=0), step(seed=1)]
    whole = Step(*(torch.cat(pair) for pair in zip(*(p[:3] for p in parts), strict=True)))
    for found in two_processes(tmp_path / "ranks", _on_two_ranks):
        for measure in OF_SUMS:
            assert torch.allclose(found[measure], value(whole, measure=measure))
        for measure in OF_ROWS:
            assert "objective 'dependence': found training on 2 ranks" in found[measure]
