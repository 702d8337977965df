"""Networks for images and sequences, on digits of scikit-learn and what they say in rows."""

from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits

from fairlightning.exceptions import ArgumentError
from fairlightning.front import Stacked
from fairlightning.models import CNN, RNN, SequenceTransformer
from fairlightning.module import cross_entropy

SEQUENCES = {
    "gru": partial(RNN, width=16),
    "lstm": partial(RNN, width=16, cell="lstm", layers=2),
    "transformer": partial(SequenceTransformer, width=16, heads=2, longest=9, dropout=0.0),
}
MADE = {
    **{f"{name}, tokens": partial(make, vocabulary=17) for name, make in SEQUENCES.items()},
    **{f"{name}, features": partial(make, features=8) for name, make in SEQUENCES.items()},
    "cnn": partial(CNN, channels=1, widths=(8, 16)),
}


def digits(kind):
    """Inputs of a kind, and whether a digit is at least 5."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 8, 8)
    target = torch.tensor(labels >= 5).long()
    if kind == "cnn":
        return images.unsqueeze(1) / 16, target
    if kind.endswith("tokens"):  # the sum of grey levels of each column
        return ((images.sum(1) / 8).long(), torch.full((len(images),), 8)), target
    return (images / 16, torch.full((len(images),), 8)), target


def take(inputs, chosen):
    return inputs[chosen] if isinstance(inputs, torch.Tensor) else tuple(p[chosen] for p in inputs)


every_network = pytest.mark.parametrize("name", MADE)


@every_network
def test_shapes_gradients_and_independent_rows(name):
    network, (inputs, _) = MADE[name](), digits(name)
    inputs = take(inputs, slice(6))
    outputs = network(inputs)
    assert outputs.logits.shape == (6, 1)
    assert outputs.representation.shape == (6, network.sizes["representation"])
    outputs.logits.square().sum().backward()
    for part, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), part
    order = torch.tensor([4, 2])
    for one, other in zip(network.eval()(take(inputs, order)), network(inputs), strict=True):
        torch.testing.assert_close(one, other[order])


@pytest.mark.parametrize("name", [name for name in MADE if name != "cnn"])
def test_padding_does_not_matter(name):
    network, (inputs, _) = MADE[name]().eval(), digits(name)
    values = inputs[0][:4]
    lengths = torch.tensor([3, 5, 8, 1])
    whole = network((values, lengths))
    for row, length in enumerate(lengths):
        alone = network((values[row : row + 1, :length], lengths[row : row + 1]))
        for one, other in zip(alone, whole, strict=True):
            torch.testing.assert_close(one[0], other[row])
    longer = torch.cat([values, values[:, :1]], 1)
    for one, other in zip(network((longer, lengths)), whole, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(network((values, lengths.roll(1))).logits, whole.logits)


@pytest.mark.parametrize("name", ["cnn", "transformer, tokens", "transformer, features"])
def test_copies_are_mapped(name):
    networks = [MADE[name]().eval() for _ in range(2)]
    inputs = take(digits(name)[0], slice(5))
    stacked = Stacked(networks).eval()
    for k, network in enumerate(networks):
        for one, other in zip(stacked(inputs), network(inputs), strict=True):
            torch.testing.assert_close(one[k], other, atol=1e-5, rtol=1e-4)


def test_recurrent_layers_are_refused_by_name():
    with pytest.raises(ArgumentError, match="'body', GRU"):
        Stacked([RNN(vocabulary=5)])


@pytest.mark.parametrize("name", ["gru, features", "transformer, features", "cnn"])
def test_learns_digits(name):
    network, (inputs, target) = MADE[name](), digits(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(100):
        some = torch.randint(0, len(target), (64,))
        optimizer.zero_grad()
        cross_entropy(network(take(inputs, some)).logits, target[some]).mean().backward()
        optimizer.step()
    with torch.no_grad():
        decided = network.eval()(inputs).logits[:, 0] > 0
    assert (decided == target).float().mean() > 0.75


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (RNN, "one of them"),
        (partial(RNN, vocabulary=3, features=3), "one of them"),
        (partial(RNN, vocabulary=0), "steps: found 0"),
        (partial(RNN, vocabulary=3, cell="rnn"), "one of gru, lstm"),
        (partial(SequenceTransformer, vocabulary=3, width=6), "a divisor of the width"),
        (partial(SequenceTransformer, vocabulary=3, longest=0), "longest: found 0"),
        (partial(CNN, 0), "channels: found 0"),
        (partial(CNN, 1, widths=()), "widths: found 0"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_too_long_sequences_are_refused():
    network = SequenceTransformer(vocabulary=3, longest=4)
    with pytest.raises(ArgumentError, match="longest=5"):
        network((torch.zeros(1, 5, dtype=torch.long), torch.tensor([5])))
