"""Every network for tables, small, by name."""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from fairlightning.models import (
    MLP,
    Ensemble,
    FTTransformer,
    Linear,
    SoftForest,
    TabM,
    TabularEncoder,
    TabularResNet,
    Wrapped,
)

PIECEWISE = {"kind": "piecewise_linear", "bins": 8, "width": 4}
PERIODIC = {"kind": "periodic", "frequencies": 6, "width": 4}


def ensemble(network, numeric, cardinalities, **options):
    made = partial(network, **options)
    return Ensemble(made, members=3, numeric=numeric, cardinalities=cardinalities)


def wrapped(numeric, cardinalities):
    encoder = TabularEncoder(numeric, cardinalities)
    first = nn.Linear(encoder.out_features, 16)
    body = nn.Sequential(first, nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 16), nn.Tanh())
    module = nn.Sequential(OrderedDict(encoder=encoder, body=body, head=nn.Linear(16, 1)))
    device = first.weight.device
    codes = torch.zeros(2, len(cardinalities), dtype=torch.long, device=device)
    example = torch.zeros(2, numeric, device=device), codes
    return Wrapped(module, representation="body.4", example=example)


NETWORKS = {
    "linear": Linear,
    "mlp": partial(MLP, hidden=(16, 16)),
    "mlp, dropout": partial(MLP, hidden=(32, 32), dropout=0.1),
    "mlp, piecewise linear": partial(MLP, hidden=(16, 16), embedding=PIECEWISE),
    "mlp, periodic": partial(MLP, hidden=(16, 16), embedding=PERIODIC),
    "tabm": partial(TabM, members=3, width=16),
    "tabm, piecewise linear": partial(TabM, members=3, width=16, embedding=PIECEWISE),
    "tabular_resnet": partial(TabularResNet, width=16, hidden=32),
    "tabular_resnet, periodic": partial(TabularResNet, width=16, hidden=32, embedding=PERIODIC),
    "ft_transformer": partial(FTTransformer, width=16, heads=2),
    "ft_transformer, piecewise linear": partial(
        FTTransformer, width=16, heads=2, embedding={"kind": "piecewise_linear", "bins": 8}
    ),
    "soft_tree": partial(SoftForest, trees=1),
    "soft_forest": partial(SoftForest, trees=8, depth=3),
    "wrapped": wrapped,
    "ensemble": partial(ensemble, MLP, hidden=(16, 16)),
    "ensemble of tabm": partial(ensemble, TabM, members=2, width=8, embedding=PIECEWISE),
}
