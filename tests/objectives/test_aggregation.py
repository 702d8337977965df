"""Gradient aggregation by TorchJD."""

import sys

import pytest
import torch
from torch import nn

from fairlightning.exceptions import ArgumentError, FairnessWarning, MissingFieldError, SetupError
from fairlightning.groups import GroupSpec
from fairlightning.objectives import (
    Adversary,
    ComplexityPenalty,
    Fairness,
    GradientAggregation,
    ParityPenalty,
    RateConstraint,
    Step,
)
from fairlightning.objectives.aggregation import jacobian
from fairlightning.objectives.base import Term

GROUPS = GroupSpec({"sex": ["F", "M"]})


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(SetupError, match=r"fairlightning\[aggregation\]"):
        GradientAggregation("MGDA")


torchjd = pytest.importorskip("torchjd")
from torchjd import aggregation  # noqa: E402
from torchjd.linalg import QuadprogProjector  # noqa: E402

OPTIONS = {
    "CAGrad": {"c": 0.5},
    "Constant": {"weights": [1.0, 2.0, 3.0]},
    "FairGrad": {"alpha": 1.0},
    "Krum": {"n_byzantine": 0},
    "NashMTL": {"n_tasks": 3},
}
BASES = (aggregation.WeightedAggregator, aggregation.GramianWeightedAggregator)
WEIGHTED = sorted(
    name
    for name in aggregation.__all__
    if issubclass(getattr(aggregation, name), BASES) and getattr(aggregation, name) not in BASES
)
OTHERS = {"ConFIG", "GradDrop", "TrimmedMean"}


def made(name, **options):
    if name == "NashMTL":
        pytest.importorskip("ecos")
    return GradientAggregation(name, {**OPTIONS.get(name, {}), **options})


def test_every_aggregator_is_either_tested_or_refused():
    assert len(WEIGHTED) > 15
    named = {k for k in aggregation.__all__ if not k.endswith(("Weighting", "Aggregator"))}
    assert named == set(WEIGHTED) | OTHERS


def step_and_network(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    x, sex = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 2
    x[:, 0] += sex
    target = (x[:, 0] + torch.randn(50) > 0.5).long()
    logits = network(x)
    parameters = tuple(network.parameters())
    task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.double())
    return network, task, Step(logits, target, sex[:, None], parameters=parameters)


def fair(combination):
    fairness = Fairness(GROUPS, combination=combination)
    fairness.add("parity", ParityPenalty(GROUPS, gap="squared", weight=5.0))
    fairness.add("simple", ComplexityPenalty(GROUPS, weight=0.01))
    return fairness.double()


def flat_gradient(network):
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("name", WEIGHTED)
def test_gradient_is_torchjds_aggregation_of_the_jacobian(name):
    network, task, step = step_and_network()
    fairness = fair(made(name))
    terms = [5.0 * fairness.objectives["parity"](step).value]
    terms += [0.01 * fairness.objectives["simple"](step).value]
    rows = []
    for loss in [task, *terms]:
        network.zero_grad()
        loss.backward(retain_graph=True)
        rows.append(flat_gradient(network))
    options = dict(OPTIONS.get(name, {}))
    if "weights" in options:
        options["weights"] = torch.tensor(options["weights"], dtype=torch.float64)
    if name in ("DualProj", "UPGrad"):  # as exact as quadprog can
        options["projector"] = QuadprogProjector(norm_eps=0.0, reg_eps=1e-11)
    torch.manual_seed(7)
    expected = getattr(aggregation, name)(**options)(torch.stack(rows))
    network.zero_grad()
    torch.manual_seed(7)
    fairness(task, step).backward()
    found = flat_gradient(network)
    torch.testing.assert_close(found, expected.double(), rtol=1e-6, atol=1e-9)
    assert found.abs().max() > 0


CONFLICT = torch.tensor([[1.0, 0.0, 0.0], [-0.8, 0.6, 0.0]])


def direction(rule, rows):
    """The aggregated gradient of losses that have these gradients."""
    x = torch.zeros(rows.shape[1], dtype=rows.dtype, requires_grad=True)
    task, other = rows @ x
    one = torch.ones((), dtype=rows.dtype)
    rule(task, {"parity": Term(other)}, {"parity": one}, (x,)).loss.backward()
    return x.grad


@pytest.mark.parametrize("name", ["DualProj", "UPGrad"])
@pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-3])
def test_projections_conflict_with_no_term_however_small(name, ratio):
    found = direction(made(name), CONFLICT * torch.tensor([[1.0], [ratio]]))
    assert (nn.functional.cosine_similarity(CONFLICT, found[None]) >= -1e-3).all()


@pytest.mark.parametrize("name", ["CAGrad", "DualProj", "UPGrad"])
def test_a_common_factor_of_the_gradients_is_one_of_the_direction(name):
    rule = made(name)
    expected = direction(rule, CONFLICT)
    torch.testing.assert_close(1e6 * direction(rule, 1e-6 * CONFLICT), expected)


def test_cagrad_trains_the_task_beside_a_term_that_hardly_has_a_gradient():
    rows = CONFLICT * torch.tensor([[1.0], [1e-5]])
    found = direction(made("CAGrad"), rows)
    mean = rows.mean(0)
    assert found @ rows[0] > 0.2
    assert (found - mean).norm().item() == pytest.approx(0.5 * mean.norm().item(), rel=1e-3)


def test_steps_that_do_not_train_are_told():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    with pytest.warns(FairnessWarning, match="CAGrad gives all terms a weight of 0"):
        assert not direction(made("CAGrad"), opposite).any()


@pytest.mark.parametrize("name", ["AlignedMTL", "CAGrad", "IMTLG", "NashMTL", "UPGrad"])
def test_gradients_in_bfloat16(name):
    options = {"n_tasks": 2} if name == "NashMTL" else {}
    found = direction(made(name, **options), CONFLICT.bfloat16()).float()
    expected = direction(made(name, **options), CONFLICT)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_mgda_finds_a_pareto_stationary_point_that_is_known():
    # |x − a|² and |x − b|²: the Pareto set is the segment from a to b. From x the min-norm
    # combination is the vector to the nearest point of the segment, so descent ends there.
    a, b = torch.tensor([0.0, 0.0]).double(), torch.tensor([4.0, 0.0]).double()
    x = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    rule = made("MGDA", epsilon=1e-9, max_iters=1000)
    optimizer = torch.optim.SGD([x], lr=0.1)
    one = {"second": torch.tensor(1.0, dtype=torch.float64)}
    for _ in range(200):
        optimizer.zero_grad()
        second = {"second": Term((x - b).square().sum())}
        rule((x - a).square().sum(), second, one, (x,)).loss.backward()
        optimizer.step()
    torch.testing.assert_close(x.detach(), torch.tensor([1.0, 0.0]).double(), atol=1e-5, rtol=0)
    rows = jacobian([(x - a).square().sum(), (x - b).square().sum()], (x,))
    # Stationary: weights (3/4, 1/4) of the simplex bring the two gradients to 0.
    assert (torch.tensor([0.75, 0.25]).double() @ rows).norm() < 1e-4
    assert rows.norm(dim=1).min() > 1


def test_evaluation_shows_the_plain_sum():
    _, task, step = step_and_network()
    fairness = fair(made("MGDA"))
    trained = fairness(task, step)
    shown = fairness.last.losses.total
    evaluated = fairness.eval()(task, step)
    torch.testing.assert_close(evaluated.detach(), shown)
    assert abs(trained.item() - shown.item()) > 1e-3


def test_objectives_of_weight_0_are_left_out():
    _, task, step = step_and_network()
    fairness = fair(made("MGDA"))
    for name in ("parity", "simple"):
        fairness.set_factor(name, 0.0)
    # MGDA would give a zero gradient all of the weight, and training would stop.
    torch.testing.assert_close(fairness(task, step), task)


def test_state_dict_loads_into_a_fresh_module():
    _, task, step = step_and_network()
    fairness = fair(made("ExcessMTL"))
    fairness(task, step)
    fresh = fair(made("ExcessMTL"))
    fresh.load_state_dict(fairness.state_dict())
    for name, value in fairness.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_aggregators_without_weights_are_refused_by_name(name):
    with pytest.raises(ArgumentError, match=f"{name}, which is no weighted sum"):
        GradientAggregation(name)


@pytest.mark.parametrize(
    "objective",
    [RateConstraint(GROUPS, epsilon=0.1), Adversary(GROUPS, in_features=1, feed="logits")],
    ids=["constraint", "adversary"],
)
def test_what_weighs_itself_is_refused_by_name(objective):
    with pytest.raises(ArgumentError, match=r"GradientAggregation with the .* 'fair'"):
        Fairness(GROUPS, combination=made("MGDA")).add("fair", objective)


def test_mistakes_have_named_errors():
    with pytest.raises(ArgumentError, match="did you mean 'UPGrad'"):
        GradientAggregation("UpGrad")
    with pytest.raises(ArgumentError, match="options of CAGrad"):
        GradientAggregation("CAGrad", {"c": -1.0})
    with pytest.raises(ArgumentError, match="options of MGDA"):
        GradientAggregation("MGDA", {"epsilons": 1.0})
    _, task, step = step_and_network()
    with pytest.raises(MissingFieldError, match="parameters"):
        fair(made("MGDA"))(task, step._replace(parameters=[step.logits.detach()]))


def test_number_of_tasks_is_checked():
    _, task, step = step_and_network()
    with pytest.raises(ArgumentError, match="n_tasks: found 2, expected 3"):
        fair(made("NashMTL", n_tasks=2))(task, step)
