"""Networks, blind to fairness: each returns logits and a representation."""

from fairlightning.models.base import EnsembleOutputs, Outputs, TabularEncoder
from fairlightning.models.embeddings import Periodic, PiecewiseLinear, prepare
from fairlightning.models.linear import Linear
from fairlightning.models.mlp import MLP
from fairlightning.models.tabm import TabM

__all__ = [
    "MLP",
    "EnsembleOutputs",
    "Linear",
    "Outputs",
    "Periodic",
    "PiecewiseLinear",
    "TabM",
    "TabularEncoder",
    "prepare",
]
