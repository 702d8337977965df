"""A network of anybody's, joined by the name of the layer that is its representation."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.models.base import Outputs


class Wrapped(nn.Module):
    """Any module that computes logits, as a network that also returns its representation.

    The layer is watched by a hook that lives for one call of `forward`: nothing is kept on the
    module, so copies of it can be mapped over (`FrontModule`), and its own hooks stay.

    Args:
        module: Maps `inputs` to logits `(N,)` or `(N, C)`.
        representation: Name of the layer in `module.named_modules()`, such as `body.3`.
        example: Inputs of a few rows. The module runs on them once, in evaluation mode, for the
            shapes.
        side: Whether the representation is the layer's `output`, or its (first) `input`: that of
            the last layer, say, where an activation has no name.
        outputs: Number C of outputs: 1, or the number of several classes.

    Attributes:
        sizes: Number of features of `logits` and `representation`.

    Raises:
        ArgumentError: If there is no such layer, it does not run exactly once, or logits or
            representation are no tensors with a row for each row of the inputs.

    Shapes: representation `(N, H)`; what has more axes is flattened.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> network = Wrapped(net, representation="1", example=torch.zeros(2, 4))
    >>> logits, representation = network(torch.zeros(5, 4))
    >>> logits.shape, representation.shape, network.sizes
    (torch.Size([5, 1]), torch.Size([5, 8]), {'logits': 1, 'representation': 8})
    """

    def __init__(
        self,
        module: nn.Module,
        representation: str,
        example: Any,
        side: Literal["output", "input"] = "output",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        names = [name for name, _ in module.named_modules() if name]
        self.layer = check_choice("representation", representation, names)
        self.side = check_choice("side", side, ["output", "input"])
        self.module = module
        self.sizes = {"logits": outputs}
        modes = {part: part.training for part in module.modules()}
        try:
            module.eval()
            with torch.no_grad():
                logits, kept = self._run(example)
        finally:
            for part, training in modes.items():
                part.training = training
        self._check(logits, kept)
        self.sizes["representation"] = kept[0].flatten(1).shape[1]

    def forward(self, inputs: Any) -> Outputs:
        """Compute logits `(N, C)` and representation `(N, H)`."""
        logits, kept = self._run(inputs)
        return Outputs(logits.reshape(len(logits), self.sizes["logits"]), kept[0].flatten(1))

    def _run(self, inputs: Any) -> tuple[Any, list[Any]]:
        kept: list[Any] = []

        def keep(_: nn.Module, arguments: tuple[Any, ...], output: Any = None) -> None:
            value = output if self.side == "output" else arguments[0]
            # A copy, since an activation may change it in place as soon as the hook returns.
            kept.append(value.clone() if isinstance(value, Tensor) else value)

        layer = self.module.get_submodule(self.layer)
        before = self.side == "input"
        watch = layer.register_forward_pre_hook if before else layer.register_forward_hook
        handle = watch(keep)
        try:
            return self.module(inputs), kept
        finally:
            handle.remove()

    def _check(self, logits: Any, kept: list[Any]) -> None:
        count = self.sizes["logits"]
        shapes = {(), (1,)} if count == 1 else {(count,)}
        if not isinstance(logits, Tensor) or logits.shape[1:] not in shapes:
            raise ArgumentError.of(
                "module",
                found=f"outputs {_shown(logits)}",
                expected="logits (N,) or (N, 1): one logit of the positive class"
                if self.sizes["logits"] == 1
                else f"logits (N, {self.sizes['logits']})",
                mend="with two outputs return their difference, logits[:, 1] - logits[:, 0]; of "
                "more classes pass outputs=...",
            )
        if len(kept) != 1:
            raise ArgumentError.of(
                "representation",
                found=f"the layer {self.layer!r}, which runs {len(kept)} times",
                expected="one that runs once in forward",
                mend="name another layer, or call this one once",
            )
        if not isinstance(kept[0], Tensor) or kept[0].ndim < 2 or len(kept[0]) != len(logits):
            raise ArgumentError.of(
                "representation",
                found=f"{_shown(kept[0])} at the layer {self.layer!r}",
                expected=f"a tensor with a row for each of the {len(logits)} logits",
                mend="name another layer, or its other side",
            )


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    return f"of type {type(value).__name__}"
