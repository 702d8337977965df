import pytest
import torch

from fairlightning.functional import reverse_gradient


def test_forward_is_the_identity_and_backward_is_minus_weight():
    x = torch.randn(4, 3, requires_grad=True)
    y = reverse_gradient(x, torch.tensor(0.7))
    assert torch.equal(x, y)
    upstream = torch.randn(4, 3)
    (y * upstream).sum().backward()
    assert torch.allclose(x.grad, -0.7 * upstream)


def test_weight_per_model_under_vmap():
    x = torch.randn(3, 5, requires_grad=True)
    weight = torch.tensor([0.0, 1.0, 2.5])
    torch.vmap(reverse_gradient)(x, weight).sum().backward()
    assert torch.allclose(x.grad, -weight[:, None].expand(3, 5))


def test_compiles_without_graph_breaks():
    torch.compiler.reset()

    def loss(x, weight):
        return (reverse_gradient(x.tanh(), weight) ** 2).sum()

    x = torch.randn(6, requires_grad=True)
    weight = torch.tensor(0.3)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(loss(x, weight), x)
    (found,) = torch.autograd.grad(compiled(x, weight), x)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_gradient_keeps_its_dtype(dtype):
    x = torch.ones(2, dtype=dtype, requires_grad=True)
    reverse_gradient(x, torch.tensor(0.5)).sum().backward()
    assert x.grad.dtype == dtype
