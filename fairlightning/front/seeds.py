"""Initial weights of members, drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from fairlightning.exceptions import ArgumentError


def copies(
    module: nn.Module, members: int, seeds: Sequence[int] | None, name: str
) -> list[nn.Module]:
    """Return the module once for each member.

    Args:
        module: A network, or a private part of an objective.
        members: Their number K.
        seeds: If given, the weights of copy k are those that its layers draw after
            `torch.manual_seed(seeds[k])`; else all are the module's.
        name: What errors call the module.

    Raises:
        ArgumentError: If there are not K seeds, or a layer has parameters, but no
            `reset_parameters` that draws them.
    """
    if seeds is None:
        return [module] * members
    if len(seeds) != members:
        raise ArgumentError.of(
            "seeds",
            found=f"{len(seeds)} seeds and {members} strengths",
            expected="one seed for each member",
            mend=f"pass seeds=range({members})",
        )
    return [_drawn(module, seed, name) for seed in seeds]


def _drawn(module: nn.Module, seed: int, name: str) -> nn.Module:
    made = deepcopy(module)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer_name, layer in made.named_modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
            elif any(True for _ in layer.parameters(recurse=False)):
                raise ArgumentError.of(
                    f"{name}, seeds",
                    found=f"the layer {layer_name or '(itself)'!r}, {type(layer).__name__}, "
                    "without reset_parameters()",
                    expected="layers that can draw their weights anew, as those of torch.nn can",
                    mend="pass a list of networks, each made after torch.manual_seed(...)",
                )
    return made
