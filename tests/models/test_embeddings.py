import numpy as np
import pytest
import torch
from rtdl_num_embeddings import PiecewiseLinearEncoding, compute_bins

from fairlightning.data import adult
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.models import MLP, Periodic, PiecewiseLinear, prepare


def codes(embedding, numeric):
    """What the bins of an embedding make of numbers, before the learned layer."""
    return embedding.layer.impl(numeric)


def test_bins_are_those_of_the_library_where_quantiles_are_distinct():
    numeric = torch.randn(500, 3)
    embedding = PiecewiseLinear(3, bins=8)
    embedding.prepare((numeric, torch.empty(500, 0)))
    expected = PiecewiseLinearEncoding(compute_bins(numeric, 8))(numeric)
    torch.testing.assert_close(codes(embedding, numeric).flatten(1), expected)


def test_a_column_of_few_values_keeps_a_knot_at_each():
    values = np.array([-1.0, 0.0, 9.0], dtype=np.float32)
    numeric = torch.from_numpy(np.random.default_rng(0).choice(values, (300, 1)))
    embedding = PiecewiseLinear(1, bins=7)
    embedding.prepare((numeric, torch.empty(300, 0)))
    coded = codes(embedding, torch.from_numpy(values)[:, None])[:, 0]
    # At a knot every bin is full or empty. Six of seven bins go to the widest interval.
    torch.testing.assert_close(coded, coded.round())
    assert coded.round().sum(1).tolist() == [0, 1, 7]


def test_bins_that_coinciding_quantiles_leave_over_go_to_frequent_values():
    # Like a capital gain: nine rows of ten are 0, some amounts are shared by many, most by none.
    shared = np.repeat([3.0, 3.5, 4.0], 30)
    column = np.concatenate([np.zeros(900), shared, np.linspace(5, 40, 10)])
    embedding = PiecewiseLinear(1, bins=8)
    embedding.prepare((torch.from_numpy(column)[:, None].float(), torch.empty(1000, 0)))
    coded = codes(embedding, torch.tensor([[0.0], [3.0], [3.5], [4.0], [40.0]]))[:, 0]
    torch.testing.assert_close(coded, coded.round())
    filled = coded.round().sum(1)
    assert filled[0] == 0 and filled[-1] == 8
    assert (filled.diff() > 0).all()


def test_a_constant_column_is_no_obstacle():
    numeric = torch.stack([torch.full((50,), 3.0), torch.randn(50)], 1)
    network = MLP(2, [], embedding="piecewise_linear")
    prepare(network, (numeric, torch.empty(50, 0)))
    assert network((numeric, torch.empty(50, 0)))[0].isfinite().all()


def test_embeds_as_a_line_before_it_has_learned():
    numeric = torch.linspace(-2, 2, 101)[:, None]
    embedding = PiecewiseLinear(1, width=4)
    embedding.prepare((numeric, torch.empty(101, 0)))
    bends = embedding(numeric)[:, 0].diff(dim=0).diff(dim=0)
    assert bends.abs().max() < 1e-5


def test_the_data_module_s_columns():
    data = adult()
    data.setup()
    inputs = data.batch("train").inputs
    network = MLP(data.num_numeric, data.cardinalities, embedding="piecewise_linear")
    prepare(network, inputs)
    coded = codes(network.encoder.embedding, inputs[0])
    assert coded.min() > -1e-4
    assert coded.max() < 1 + 1e-4
    # The first quantiles of age have equally many rows between them.
    age = data.feature_names.index("age")
    full = (coded[:, age] > 1 - 1e-4).float().mean(0)
    assert full[0] > 0.9 > full[-2] > 0.0


def test_edges_have_to_be_known():
    network = MLP(2, [], embedding="piecewise_linear")
    inputs = torch.randn(5, 2), torch.empty(5, 0)
    with pytest.raises(SetupError, match="prepare"):
        network(inputs)
    network.load_state_dict({}, strict=False)
    with pytest.raises(SetupError, match="prepare"):
        network(inputs)


@pytest.mark.parametrize(
    "numeric", [torch.randn(5, 3), torch.full((5, 2), torch.nan), torch.empty(0, 2)]
)
def test_rows_without_numbers_are_refused(numeric):
    with pytest.raises(ArgumentError, match="rows of 2 numbers"):
        PiecewiseLinear(2).prepare((numeric, torch.empty(len(numeric), 0)))


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ("perodic", "did you mean 'periodic'"),
        ({"width": 3}, "one of none, piecewise_linear, periodic"),
        ({"kind": "periodic", "bins": 3}, "Periodic"),
        ({"kind": "none", "bins": 3}, "options bins of no embedding"),
        ({"kind": "piecewise_linear", "bins": 1}, "at least 1, 1, 2"),
        ({"kind": "periodic", "scale": 0.0}, "a number > 0"),
    ],
)
def test_a_wrong_embedding_is_refused(embedding, message):
    with pytest.raises(ArgumentError, match=message):
        MLP(2, [], embedding=embedding)


def test_periodic_is_a_sum_of_sines():
    embedding = Periodic(1, width=5, frequencies=3, scale=1.0)
    frequencies = 2 * torch.pi * embedding.layer.periodic.weight
    x = torch.randn(7, 1)
    waves = torch.cat([torch.cos(x * frequencies), torch.sin(x * frequencies)], 1)
    expected = torch.relu(waves @ embedding.layer.linear.weight[0] + embedding.layer.linear.bias)
    torch.testing.assert_close(embedding(x)[:, 0], expected)
