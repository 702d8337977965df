"""Networks, blind to fairness: each returns logits and a representation."""

from fairlightning.models.base import Outputs, TabularEncoder
from fairlightning.models.linear import Linear
from fairlightning.models.mlp import MLP

__all__ = ["MLP", "Linear", "Outputs", "TabularEncoder"]
