"""Several networks of one architecture as one module, mapped over their stacked parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from fairlightning.exceptions import ArgumentError


class Stacked(nn.Module):
    """K modules of one architecture, run in one pass by `torch.vmap`.

    `module` has their structure; each of its parameters holds those of all K along a leading axis,
    so that an elementwise optimizer (Adam, AdamW, SGD) does to K copies what it does to each alone.
    So do the running means and variances of BatchNorm, which every member learns by itself.

    Args:
        modules: The K ≥ 1 modules. Their parameters are copied.
        shared: Whether all get the same inputs, or each its own along a leading axis of K.

    Raises:
        ArgumentError: If there is none, they differ in more than the values of their parameters, as
            in an activation or a rate of dropout, or a layer cannot be stacked: recurrent layers,
            running statistics other than BatchNorm's.

    Shapes: what a module returns, with a leading axis of K. Dropout draws for each by itself.

    >>> pair = Stacked([nn.Linear(3, 1), nn.Linear(3, 1)])
    >>> pair(torch.zeros(5, 3)).shape, pair.module.weight.shape
    (torch.Size([2, 5, 1]), torch.Size([2, 1, 3]))
    """

    def __init__(self, modules: Sequence[nn.Module], *, shared: bool = True) -> None:
        super().__init__()
        if not modules:
            raise ArgumentError.of(
                "networks", found="none", expected="at least one", mend="pass [network, ...]"
            )
        for module in modules:
            check_layers(module)
            _check_alike(modules[0], module)
        self.members = len(modules)
        self.shared = shared
        self.module = deepcopy(modules[0])
        named = [dict(module.named_parameters()) for module in modules]
        made = {}
        for name, parameter in self.module.named_parameters():
            values = torch.stack([parameters[name].detach() for parameters in named])
            made[parameter] = nn.Parameter(values, requires_grad=parameter.requires_grad)
        _replace_parameters(self.module, made)
        self._running = running(self.module)
        for name in self._running:
            values = torch.stack([module.get_buffer(name) for module in modules])
            _set_buffer(self.module, name, values)

    def forward(self, inputs: Any) -> Any:
        """Run all members on `inputs`."""
        own: dict[str, Tensor] = dict(self.module.named_parameters())
        own |= {name: self.module.get_buffer(name) for name in self._running}
        return mapped(self.module, own, inputs, shared=self.shared)

    def member(self, k: int) -> nn.Module:
        """Return a copy of module `k`, plain and by itself.

        Raises:
            ArgumentError: If there is no such member.
        """
        if not 0 <= k < self.members:
            raise ArgumentError.of(
                "k", found=k, expected=f"0 to {self.members - 1}", mend="pass k=0"
            )
        module = deepcopy(self.module)
        one = {
            parameter: nn.Parameter(parameter.detach()[k].clone(), parameter.requires_grad)
            for parameter in module.parameters()
        }
        _replace_parameters(module, one)
        for name in self._running:
            _set_buffer(module, name, module.get_buffer(name)[k].clone())
        return module


def mapped(
    module: nn.Module, parameters: Mapping[str, Tensor], inputs: Any, *, shared: bool
) -> Any:
    """Run a module with K values of its parameters and buffers.

    Args:
        module: The module; its own values of these are not used.
        parameters: By name, `(K, ...)`; buffers too.
        inputs: What it takes; with a leading axis of K if not shared.
        shared: Whether all get the same inputs.

    Returns:
        What it returns, with a leading axis of K.
    """

    def one(values: dict[str, Tensor], inputs: Any) -> Any:
        return functional_call(module, values, (inputs,))

    in_dims = (0, None if shared else 0)
    return torch.vmap(one, in_dims=in_dims, randomness="different")(dict(parameters), inputs)


def _replace_parameters(module: nn.Module, made: dict[nn.Parameter, nn.Parameter]) -> None:
    # One new parameter for each old one, however many names it has: tied weights stay tied.
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            setattr(part, name, made[parameter])


def running(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the buffers that hold running statistics."""
    # Only these. Batches are counted alike in all members, and momentum=None reads that count as a
    # Python number, which it could not do if it were mapped.
    return tuple(
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
        for name in ("running_mean", "running_var")
    )


def _set_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    prefix, _, last = name.rpartition(".")
    setattr(module.get_submodule(prefix), last, value)


def check_layers(module: nn.Module) -> None:
    """Refuse layers that `torch.vmap` cannot map.

    Raises:
        ArgumentError: Naming the layer.
    """
    for name, layer in module.named_modules():
        running = isinstance(layer, _NormBase) and layer.track_running_stats
        mapped = isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
        if (running and not mapped) or isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            raise ArgumentError.of(
                "networks",
                found=f"the layer {name or '(the network)'!r}, {type(layer).__name__}",
                expected="layers that torch.vmap can map",
                mend="use BatchNorm or LayerNorm in place of other running statistics, attention "
                "in place of recurrent layers, or train the models one by one",
            )


def _check_alike(first: nn.Module, other: nn.Module) -> None:
    own = running(first)
    # Other buffers are shared, so that what depends on them alone is computed once.
    shared = [name for name, _ in first.named_buffers() if name not in own]
    ours, others = _architecture(first), _architecture(other)
    for what, facts in ours.items():
        same = facts == others[what]
        if what == "buffers" and same:
            same = all(torch.equal(first.get_buffer(n), other.get_buffer(n)) for n in shared)
        if not same:
            raise ArgumentError.of(
                "networks",
                found=f"members whose {what} differ",
                expected="one architecture, with the same options, buffers and frozen parameters",
                mend="build all members with the same arguments",
            )


def _architecture(module: nn.Module) -> dict[str, object]:
    """All that members must have in common but the values of buffers, by what it is called."""
    return {
        "parameters": {
            name: (value.shape, value.requires_grad) for name, value in module.named_parameters()
        },
        "buffers": {name: value.shape for name, value in module.named_buffers()},
        "layers or their options": [
            (name, type(layer), layer.extra_repr()) for name, layer in module.named_modules()
        ],
    }
