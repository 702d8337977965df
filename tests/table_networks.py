"""Every network for tables, small, by name."""

from functools import partial

from fairlightning.models import MLP, Linear, TabM

PIECEWISE = {"kind": "piecewise_linear", "bins": 8, "width": 4}
PERIODIC = {"kind": "periodic", "frequencies": 6, "width": 4}

NETWORKS = {
    "linear": Linear,
    "mlp": partial(MLP, hidden=(16, 16)),
    "mlp, dropout": partial(MLP, hidden=(16,), dropout=0.3),
    "mlp, piecewise linear": partial(MLP, hidden=(16, 16), embedding=PIECEWISE),
    "mlp, periodic": partial(MLP, hidden=(16, 16), embedding=PERIODIC),
    "tabm": partial(TabM, members=3, width=16),
    "tabm, piecewise linear": partial(TabM, members=3, width=16, embedding=PIECEWISE),
}
