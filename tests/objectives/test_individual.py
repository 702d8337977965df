"""Properties of the objectives that look at rows, inputs and representations."""

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call

from fairlightning.front import Stacked
from fairlightning.functional.columns import Columns
from fairlightning.groups import GroupSpec
from fairlightning.models import MLP
from fairlightning.objectives import (
    ContrastivePenalty,
    CounterfactualPenalty,
    FairnessHead,
    SensitiveGradientPenalty,
    SimilarityPenalty,
    Step,
)

SPEC = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})
COLUMNS = Columns(("x", "z"), ("sex", "race", "job"), (("F", "M"), ("a", "b", "c"), ("k", "l")))
PROXIES = {"sex": {"F": {"job": {"l": "k"}}, "M": {"job": {"k": "l"}}}}

CASES = {
    "similarity": partial(SimilarityPenalty, lipschitz=0.05, candidates=8),
    "similarity, random pairs": partial(SimilarityPenalty, lipschitz=0.0, candidates=4),
    "sensitive_gradient": SensitiveGradientPenalty,
    "counterfactual": CounterfactualPenalty,
    "counterfactual, proxies": partial(CounterfactualPenalty, proxies=PROXIES),
    "contrastive": partial(ContrastivePenalty, block=16),
    "fairness_head": partial(FairnessHead, in_features=6, hidden=(4,)),
}
OF_PAIRS = {"similarity", "similarity, random pairs", "contrastive"}
every = pytest.mark.parametrize("case", CASES)


def network(seed=0):
    torch.manual_seed(seed)
    return MLP(2, COLUMNS.cardinalities, hidden=(6,)).double()


def rows(number=48, seed=0):
    random = torch.Generator().manual_seed(seed)
    sex = torch.randint(-1, 2, (number,), generator=random)
    race = torch.randint(-1, 3, (number,), generator=random)
    job = torch.randint(0, 3, (number,), generator=random)
    numbers = torch.randn(number, 2, generator=random, dtype=torch.float64) + 0.5 * sex[:, None]
    target = torch.randint(0, 2, (number,), generator=random)
    inputs = (numbers, torch.stack([sex + 1, race + 1, job], 1))
    return Step(None, target, torch.stack([sex, race], 1), inputs=inputs)


def look(net, batch, **fields):
    logits, representation = net(batch.inputs)
    seen = dict(logits=logits, representation=representation, predict=net)
    return batch._replace(**(seen | fields))


def build(case):
    torch.manual_seed(1)
    made = CASES[case](SPEC)
    made.prepare(rows(400, seed=9), COLUMNS)
    return made.double().eval()  # in training some look at a part of what they look at here


def value(case, batch, net=None):
    return build(case)(look(net or network(), batch)).value


def take(batch, chosen):
    inputs = tuple(part[chosen] for part in batch.inputs)
    return Step(None, batch.target[chosen], batch.sensitive[chosen], inputs=inputs)


@every
def test_positive_finite_and_differentiable(case):
    batch, net, made = rows(24, seed=3), network(), build(case)
    assert value(case, batch) > 0

    def loss(weight, bias):
        seen = partial(functional_call, net, {f"{layer}.weight": weight, f"{layer}.bias": bias})
        return made(look(lambda inputs: seen((inputs,)), batch)).value

    # What the head says of a representation is a constant, on which no gradient runs.
    layer = "output" if case == "fairness_head" else "body.0"
    part = net.get_submodule(layer)
    parameters = [p.detach().clone().requires_grad_() for p in (part.weight, part.bias)]
    assert gradcheck(loss, parameters, fast_mode=True)


@every
@pytest.mark.parametrize("awkward", ["unknown", "one group", "one row", "empty"])
def test_what_cannot_be_estimated_gives_zero_and_a_finite_gradient(case, awkward):
    batch, net = rows({"one row": 1, "empty": 0}.get(awkward, 48)), network()
    if awkward in ("unknown", "one group"):
        code = -1 if awkward == "unknown" else 1
        batch = batch._replace(sensitive=torch.full_like(batch.sensitive, code))
    term = build(case)(look(net, batch))
    gradient = torch.autograd.grad(term.value, list(net.parameters()), allow_unused=True)
    assert all(part is None or part.isfinite().all() for part in gradient)
    blind = case.startswith(("similarity", "sensitive_gradient"))  # they need no groups
    whole = awkward.startswith("one") and case.startswith("counterfactual")
    if awkward == "empty" or not (blind or whole):
        assert term.value == 0
    if awkward == "empty" or (awkward == "unknown" and not blind):
        assert all((support == 0).all() for support in term.support.values())


@every
def test_models_together_equal_a_loop(case):
    nets, batch, made = [network(seed) for seed in range(3)], rows(), build(case)
    looped = torch.stack([made(look(net, batch)).value for net in nets])
    stacked = Stacked(nets)
    if case == "fairness_head":
        made.head = Stacked([made.head] * 3, shared=False)
    together = made(look(stacked, batch)).value
    assert torch.allclose(together, looped)
    made.train()
    assert torch.allclose(drawn_alike(made, stacked, batch), look_alone(made, nets, batch))


def drawn_alike(made, net, batch):
    torch.manual_seed(0)
    return made(look(net, batch)).value


def look_alone(made, nets, batch):
    if isinstance(made, FairnessHead):
        made.head = made.head.member(0)
    return torch.stack([drawn_alike(made, net, batch) for net in nets])


@every
def test_row_order_weights_and_pieces(case):
    batch, net, made = rows(), network(), build(case)
    whole = made(look(net, batch)).value
    pieces = [made.sums(look(net, take(batch, slice(s, s + 16)))) for s in (0, 16, 32)]
    if case == "contrastive":  # whose blocks they are
        assert torch.allclose(made.term([sum(p) for p in zip(*pieces, strict=True)]).value, whole)
    if case in OF_PAIRS:
        return
    assert torch.allclose(made.term([sum(p) for p in zip(*pieces, strict=True)]).value, whole)
    assert torch.allclose(made(look(net, take(batch, torch.randperm(48)))).value, whole)
    count = torch.arange(48) % 3
    repeated = take(batch, torch.arange(48).repeat_interleave(count))
    weighted = made(look(net, batch, row_weight=count.double())).value
    assert torch.allclose(weighted, made(look(net, repeated)).value)


@every
def test_bfloat16_autocast_and_meta_device(case):
    batch = rows(200)
    exact = value(case, batch)
    low = batch._replace(inputs=(batch.inputs[0].float(), batch.inputs[1]))
    made, net = build(case).float(), network().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(look(net, low)).value
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, atol=5e-3, rtol=0.03)
    inputs = tuple(part.to("meta") for part in low.inputs)
    there = low._replace(
        inputs=inputs, target=low.target.to("meta"), sensitive=low.sensitive.to("meta")
    )
    assert made.to("meta")(look(net.to("meta"), there)).value.device.type == "meta"


def test_a_blank_representation_has_a_bounded_gradient():
    representation = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
    representation[::8] = 0
    representation.requires_grad_()
    term = build("contrastive")(rows()._replace(representation=representation))
    (gradient,) = torch.autograd.grad(term.value, representation)
    assert 0 < gradient[::8].abs().max() < 1e3


@pytest.mark.parametrize("case", ["sensitive_gradient", "contrastive"])
def test_compiles_in_one_graph(case):
    torch.compiler.reset()
    batch, net, made = rows(), network(), build(case)

    def loss(*inputs):
        return made(look(net, batch._replace(inputs=inputs))).value

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(*batch.inputs), loss(*batch.inputs))


@pytest.mark.parametrize(
    "case", ["sensitive_gradient", "counterfactual", "counterfactual, proxies"]
)
def test_in_training_rows_take_turns_without_bias(case):
    batch, net, made = rows(84), network(), build(case)
    expected = made(look(net, batch)).value
    made.train()
    assert not torch.allclose(made(look(net, batch)).value, expected)
    # Seven directions, or at most two other values: also for fewer rows, from any of them on.
    few = take(batch, slice(3))
    whole = made.eval()(look(net, few)).value
    made.train()
    found = {made(look(net, few)).value.item() for _ in range(100)}
    assert len(found) == (7 if case == "sensitive_gradient" else 2)
    assert sum(found) / len(found) == pytest.approx(whole.item())
