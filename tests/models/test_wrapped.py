import pytest
import torch
from torch import nn
from torch.func import functional_call

from fairlightning.exceptions import ArgumentError
from fairlightning.models import Wrapped


class Net(nn.Module):
    """A user's network, with an activation that has no name."""

    def __init__(self, outputs=1):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        self.unused = nn.Linear(2, 2)
        self.twice = nn.Identity()
        self.head = nn.Linear(12, outputs)

    def forward(self, images):
        return self.head(self.twice(self.twice(self.body(images))).relu().flatten(1))


def images(number=5):
    return torch.randn(number, 1, 4, 4)


def test_input_of_the_last_layer():
    net, x = Net().eval(), images()
    network = Wrapped(net, "head", images(2), side="input").eval()
    logits, representation = network(x)
    torch.testing.assert_close(logits, net(x))
    torch.testing.assert_close(representation, net.body(x).relu().flatten(1))
    torch.testing.assert_close(net.head(representation), logits)
    assert network.sizes == {"logits": 1, "representation": 12}


@pytest.mark.parametrize(("layer", "side"), [("0", "output"), ("1", "input")])
def test_an_activation_in_place_changes_nothing(layer, side):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))
    x = torch.randn(5, 4)
    logits, representation = Wrapped(net, layer, x, side=side)(x)
    torch.testing.assert_close(representation, net[0](x))
    torch.testing.assert_close(logits, net[2](representation.relu()))


def test_gradients_reach_what_comes_before_the_layer_alone():
    network = Wrapped(Net(), "body", images(2))
    network(images()).representation.square().sum().backward()
    assert network.module.body[0].weight.grad.any()
    assert network.module.head.weight.grad is None


def test_nothing_is_left_behind():
    net = Net().train()
    net.body[1].eval()
    running = net.body[1].running_mean.clone()
    network = Wrapped(net, "body", images(2))
    network(images())
    with pytest.raises(RuntimeError):
        network(torch.randn(2, 7, 4, 4))
    assert not net.body._forward_hooks
    assert set(vars(network)) - set(vars(nn.Module())) == {"layer", "side", "sizes"}
    assert net.training
    assert not net.body[1].training
    torch.testing.assert_close(net.body[1].running_mean, running)


def test_other_parameters_for_one_call():
    network, x = Wrapped(Net(), "body", images(2)).eval(), images()
    zeros = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    logits, representation = functional_call(network, zeros, (x,))
    assert not logits.any()
    assert not representation.any()
    assert network(x).logits.any()


def test_flat_logits_become_a_column():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
    network = Wrapped(net, "1", torch.zeros(2, 3))
    assert network(torch.zeros(6, 3)).logits.shape == (6, 1)


@pytest.mark.parametrize(
    ("net", "layer", "message"),
    [
        (Net(), "bodi", "did you mean 'body'"),
        (Net(), "unused", "runs 0 times"),
        (Net(), "twice", "runs 2 times"),
        (Net(outputs=2), "body", "one logit of the positive class"),
        (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, 16)), nn.Linear(16, 1)), "0", "a row"),
    ],
)
def test_what_cannot_be_joined_is_refused(net, layer, message):
    with pytest.raises(ArgumentError, match=message):
        Wrapped(net, layer, images(2))
