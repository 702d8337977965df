"""Networks, blind to fairness: each returns logits and a representation."""

from fairlightning.models.base import EnsembleOutputs, Outputs, TabularEncoder
from fairlightning.models.cnn import CNN
from fairlightning.models.embeddings import Periodic, PiecewiseLinear, prepare
from fairlightning.models.ensemble import Ensemble
from fairlightning.models.ft_transformer import FTTransformer
from fairlightning.models.linear import Linear
from fairlightning.models.mlp import MLP
from fairlightning.models.rescaled import Rescaled
from fairlightning.models.resnet import TabularResNet
from fairlightning.models.sequences import RNN, SequenceTransformer
from fairlightning.models.soft_trees import SoftForest
from fairlightning.models.tabm import TabM
from fairlightning.models.wrapped import Wrapped

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "Ensemble",
    "EnsembleOutputs",
    "FTTransformer",
    "Linear",
    "Outputs",
    "Periodic",
    "PiecewiseLinear",
    "Rescaled",
    "SequenceTransformer",
    "SoftForest",
    "TabM",
    "TabularEncoder",
    "TabularResNet",
    "Wrapped",
    "prepare",
]
