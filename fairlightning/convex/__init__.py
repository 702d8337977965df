"""Convex optimisation: layers and models whose fairness is a constraint with a certificate."""

from fairlightning.convex.constraints import LogitBounds, LogitParity
from fairlightning.convex.estimator import FairLinearClassifier
from fairlightning.convex.limit import LimitLine, limit_line
from fairlightning.convex.linear import LinearBatch, LinearResult, fit_linear
from fairlightning.convex.projection import FairProjection
from fairlightning.convex.reweighing import reweigh, row_weights
from fairlightning.convex.thresholds import adjusted_thresholds

__all__ = [
    "FairLinearClassifier",
    "FairProjection",
    "LimitLine",
    "LinearBatch",
    "LinearResult",
    "LogitBounds",
    "LogitParity",
    "adjusted_thresholds",
    "fit_linear",
    "limit_line",
    "reweigh",
    "row_weights",
]
