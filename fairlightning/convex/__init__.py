"""Convex optimisation: layers and models whose fairness is a constraint with a certificate."""

from fairlightning.convex.projection import FairProjection

__all__ = ["FairProjection"]
