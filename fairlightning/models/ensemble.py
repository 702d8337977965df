"""Deep ensemble: several networks that decide together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fairlightning.models.base import EnsembleOutputs, check_sizes, mean_probability


class Ensemble(nn.Module):
    """M networks of one kind with different initial weights, whose mean probability decides.

    After Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty
    estimation using deep ensembles" (NeurIPS 2017). All are trained on the same batches in one
    optimizer. What is trained and what is fair: see `EnsembleOutputs`. For many members `TabM`
    costs less.

    Args:
        network: Makes one member. It has an attribute `sizes` and returns
            `(logits, representation)`, or is an ensemble itself.
        members: Number M of networks.
        **columns: Arguments for each member, such as `numeric` and `cardinalities`.

    Attributes:
        sizes: Number of features of `logits` and `representation`, that of all members together.

    Raises:
        ArgumentError: If there is no member.

    >>> from fairlightning.models import MLP
    >>> network = Ensemble(MLP, members=3, numeric=2, cardinalities=[])
    >>> logits, representation, members = network((torch.zeros(5, 2), torch.zeros(5, 0).long()))
    >>> logits.shape, representation.shape, members.shape
    (torch.Size([5, 1]), torch.Size([5, 192]), torch.Size([5, 3]))
    """

    tasks = ("binary",)  # it decides by the mean probability of one class

    def __init__(self, network: Callable[..., nn.Module], members: int = 5, **columns: Any) -> None:
        super().__init__()
        check_sizes(members=members)
        made = [network(**columns) for _ in range(members)]
        self.networks = nn.ModuleList(made)
        sizes: list[dict[str, int]] = [member.sizes for member in made]  # type: ignore[misc]
        summed = [name for name in ("representation", "trees") if name in sizes[0]]
        self.sizes: dict[str, int] = {name: sum(each[name] for each in sizes) for name in summed}
        self.sizes["logits"] = 1

    def forward(self, inputs: Any) -> EnsembleOutputs:
        """Compute logits `(N, 1)`, representations side by side, and members' logits `(N, M)`."""
        outputs = [network(inputs) for network in self.networks]
        # An ensemble's own members vote, each for itself.
        members = torch.cat([each[2] if len(each) > 2 else each[0] for each in outputs], 1)
        features = torch.cat([each[1] for each in outputs], 1)
        return EnsembleOutputs(mean_probability(members), features, members)
