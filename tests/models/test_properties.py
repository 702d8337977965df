"""What every network for tables keeps to."""

import pytest
import torch
from table_networks import NETWORKS
from torch.nn import functional as F

from fairlightning.front import Stacked
from fairlightning.models import prepare
from fairlightning.module import cross_entropy

NUMERIC, CARDINALITIES = 4, [3, 2]


def make(name, columns=(NUMERIC, CARDINALITIES)):
    network = NETWORKS[name](*columns)
    if columns == (NUMERIC, CARDINALITIES):
        prepare(network, rows(200))
    return network


def rows(number=32):
    codes = [torch.randint(0, n, (number,)) for n in CARDINALITIES]
    return torch.randn(number, NUMERIC), torch.stack(codes, 1)


def take(inputs, chosen):
    return tuple(part[chosen] for part in inputs)


def assert_same(left, right, **tolerance):
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
@pytest.mark.parametrize("number", [0, 1, 32])
def test_shapes(name, number):
    network = make(name).eval()
    logits, representation, *members = network(rows(number))
    assert logits.shape == (number, network.sizes["logits"]) == (number, 1)
    assert representation.shape == (number, network.sizes["representation"])
    for votes in members:
        assert votes.ndim == 2
        torch.testing.assert_close(votes.sigmoid().mean(1, keepdim=True), logits.sigmoid())


@every_network
@pytest.mark.parametrize("columns", [(NUMERIC, []), (0, CARDINALITIES)])
def test_kinds_of_columns_may_be_missing(name, columns):
    numeric, categorical = rows()
    network = NETWORKS[name](*columns)
    inputs = (numeric[:, : columns[0]], categorical[:, : len(columns[1])])
    prepare(network, inputs)
    assert network(inputs)[0].isfinite().all()


@every_network
def test_every_parameter_gets_a_finite_gradient(name):
    network = make(name)
    # Two steps, since what is 0 at first can keep others from learning in the first.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    moved = {name: False for name, _ in network.named_parameters()}
    for _ in range(3):
        loss = loss_of(network, rows(), torch.randint(0, 2, (32,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for part, parameter in network.named_parameters():
            assert parameter.grad is not None, part
            assert parameter.grad.isfinite().all(), part
            moved[part] = moved[part] or bool(parameter.grad.any())
    assert all(moved.values()), moved


def loss_of(network, inputs, target):
    logits, _, *members = network(inputs)
    return cross_entropy(members[0] if members else logits, target).mean()


@every_network
def test_rows_are_independent_and_their_order_does_not_matter(name):
    network, inputs = make(name).eval(), rows()
    whole = network(inputs)
    order = torch.randperm(32)
    assert_same(network(take(inputs, order)), take(whole, order))
    assert_same(network(take(inputs, slice(3, 4))), take(whole, slice(3, 4)))


@every_network
@pytest.mark.parametrize("grad", [True, False])
def test_copies_are_mapped(name, grad):
    networks = [make(name) for _ in range(2)]
    for network in networks[1:]:  # members share their buffers
        network.load_state_dict(networks[0].state_dict() | dict(network.named_parameters()))
    stacked, inputs = Stacked(networks).eval(), rows()
    for k, network in enumerate(networks):
        network.eval()
        with torch.set_grad_enabled(grad):
            assert_same(
                [part[k] for part in stacked(inputs)], network(inputs), atol=1e-5, rtol=1e-4
            )
            assert_same(stacked.member(k)(inputs), network(inputs))
    stacked.train()
    loss = sum(part.square().mean() for part in stacked(inputs))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in stacked.parameters())


@every_network
def test_weights_come_back_without_the_data(name, tmp_path):
    network, inputs = make(name).eval(), rows()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = NETWORKS[name](NUMERIC, CARDINALITIES).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert_same(other(inputs), network(inputs), atol=0, rtol=0)


@every_network
def test_built_on_the_meta_device_and_materialised(name):
    with torch.device("meta"):
        network = NETWORKS[name](NUMERIC, CARDINALITIES)
    assert all(p.is_meta for p in network.parameters())
    source = make(name).eval()
    network = network.to_empty(device="cpu").eval()
    network.load_state_dict(source.state_dict(), strict=True)
    fixed = dict(source.named_buffers())
    for part, buffer in network.named_buffers():  # those that are not saved
        buffer.copy_(fixed[part])
    inputs = rows()
    assert_same(network(inputs), source(inputs))


@every_network
def test_learns_what_no_linear_model_can(name):
    inputs = rows(1024)
    target = (inputs[0][:, 0].abs() > 0.67).long()  # half of the rows
    network = make(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(150):
        some = torch.randint(0, len(target), (128,))
        optimizer.zero_grad()
        loss_of(network, take(inputs, some), target[some]).backward()
        optimizer.step()
    accuracy = ((network.eval()(inputs)[0][:, 0] > 0) == target).float().mean()
    assert accuracy < 0.65 if name == "linear" else accuracy > 0.8


@every_network
def test_no_column_is_refused(name):
    with pytest.raises(ValueError, match="at least one input column"):
        NETWORKS[name](0, [])


def test_cross_entropy_is_that_of_torch():
    logits, target = torch.randn(9, 1), torch.randint(0, 2, (9,))
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target.float(), reduction="none")
    torch.testing.assert_close(cross_entropy(logits, target), expected)
