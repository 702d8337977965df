"""Networks, blind to fairness: each returns logits and a representation."""

from fairlightning.models.base import Outputs, TabularEncoder
from fairlightning.models.mlp import MLP

__all__ = ["MLP", "Outputs", "TabularEncoder"]
