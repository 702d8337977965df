"""Fronts and the separate trainings that they are compared with."""

import torch
from helpers import GROUPS, Net, make_batch, quiet_trainer

from fairlightning.callbacks import LambdaRamp
from fairlightning.data import BatchLoader
from fairlightning.groups import GroupSpec
from fairlightning.objectives import Adversary, ComplexityPenalty, ParityPenalty, ProjectionPenalty

SPEC = GroupSpec(GROUPS)
STRENGTH = (0.0, 0.5, 1.0, 3.0)


def objectives(name):
    torch.manual_seed(7)
    made = {
        "none": {},
        "complexity": {"complexity": ComplexityPenalty(SPEC, weight=1e-2)},
        "adversary": {"adversary": Adversary(SPEC, in_features=9, feed="both")},
        "adversary, odds": {
            "adversary": Adversary(SPEC, in_features=8, criterion="equalized_odds")
        },
        "projection": {"projection": ProjectionPenalty(SPEC)},
        "all": {
            "parity": ParityPenalty(SPEC, criterion="equalized_odds"),
            "adversary": Adversary(SPEC, in_features=8, weight=0.3),
            "complexity": ComplexityPenalty(SPEC, norm="l1"),
        },
    }
    if name in made:
        return made[name]
    return {"parity": ParityPenalty(SPEC, gap=name, debiased=name == "squared")}


def networks(make=Net):
    made = []
    for seed in range(len(STRENGTH)):
        torch.manual_seed(seed)
        made.append(make())
    return made


def batches(weighted=False):
    """Batches of 32 in float64: 11 in each epoch."""
    data = make_batch(352)
    weight = torch.rand(352, generator=torch.Generator().manual_seed(4)) if weighted else None
    data = data._replace(
        inputs=(data.inputs[0].double(), data.inputs[1]),
        weight=None if weight is None else weight.double(),
    )
    return BatchLoader(data, 32, shuffle=True, seed=3)


def fit(module, folder, **options):
    defaults = dict(callbacks=[LambdaRamp()], max_epochs=28)
    quiet_trainer(folder, **(defaults | options)).fit(module.double(), batches(), None)
    return module


def largest_difference(front, singles):
    return max(
        (value - alone.state_dict()[name]).abs().max().item()
        for k, alone in enumerate(singles)
        for name, value in front.export(k).state_dict().items()
    )
