"""Objectives, and the combination that makes one loss of them."""

from fairlightning.objectives.adversarial import Adversary
from fairlightning.objectives.base import Losses, Objective, Step, Term, checked_step
from fairlightning.objectives.combination import WeightedSum
from fairlightning.objectives.complexity import ComplexityPenalty
from fairlightning.objectives.distributed import sum_over_ranks
from fairlightning.objectives.fairness import Fairness, Observation, Sums
from fairlightning.objectives.parity import ParityPenalty
from fairlightning.objectives.projection import ProjectionPenalty

__all__ = [
    "Adversary",
    "ComplexityPenalty",
    "Fairness",
    "Losses",
    "Objective",
    "Observation",
    "ParityPenalty",
    "ProjectionPenalty",
    "Step",
    "Sums",
    "Term",
    "WeightedSum",
    "checked_step",
    "sum_over_ranks",
]
