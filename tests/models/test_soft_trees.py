import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.models import SoftForest

NONE = torch.empty(40, 0, dtype=torch.long)


def by_hand(forest, inputs):
    """Reach of every node and leaf, one node after the other, by their place in the tree."""
    gates = torch.sigmoid(forest.gates(forest.encoder(inputs)))
    inner = 2**forest.depth - 1
    reach = {}
    for tree in range(forest.trees):
        reach[tree, 1] = torch.ones(len(gates))
        for node in range(1, inner + 1):  # children of node i are 2i and 2i + 1
            right = gates[:, tree * inner + node - 1]
            reach[tree, 2 * node] = reach[tree, node] * (1 - right)
            reach[tree, 2 * node + 1] = reach[tree, node] * right
    return reach


def test_probabilities_of_leaves_and_routes():
    forest = SoftForest(3, [], trees=2, depth=3)
    inputs = 3 * torch.randn(40, 3), NONE
    logits, leaves = forest(inputs)
    reach = by_hand(forest, inputs)
    expected = [reach[tree, node] for tree in range(2) for node in range(8, 16)]
    torch.testing.assert_close(leaves, torch.stack(expected, 1))
    torch.testing.assert_close(leaves.sum(1), torch.full((40,), 2.0))
    torch.testing.assert_close(logits, forest.output(leaves))

    received, passed = forest.routes(leaves)
    assert received.shape == passed.shape == (40, 2, 7)
    for tree in range(2):
        for node in range(1, 8):
            torch.testing.assert_close(received[:, tree, node - 1], reach[tree, node])
            torch.testing.assert_close(passed[:, tree, node - 1], reach[tree, 2 * node + 1])


def test_steep_gates_make_an_ordinary_tree():
    tree = SoftForest(2, [], trees=1, depth=2)
    with torch.no_grad():  # root: first column > 0; both of its children: second column > 1
        tree.gates.weight.copy_(torch.tensor([[1e4, 0], [0, 1e4], [0, 1e4]]))
        tree.gates.bias.copy_(torch.tensor([0, -1e4, -1e4]))
        tree.output.weight.copy_(torch.tensor([[-3.0, 1.0, 2.0, 5.0]]))
        tree.output.bias.zero_()
    x = torch.tensor([[-1.0, 0.0], [-1.0, 2.0], [1.0, 0.0], [1.0, 2.0]])
    logits = tree((x, NONE[:4]))[0]
    torch.testing.assert_close(logits[:, 0], torch.tensor([-3.0, 1.0, 2.0, 5.0]))


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": 13}, "at most 12"), ({"trees": 0}, "trees: found 0")]
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        SoftForest(3, [], **options)
