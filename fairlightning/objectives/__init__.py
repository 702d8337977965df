"""Objectives, and the combination that makes one loss of them."""

from fairlightning.objectives.adversarial import Adversary
from fairlightning.objectives.aggregation import GradientAggregation
from fairlightning.objectives.base import (
    Adaptive,
    Constraint,
    Losses,
    Objective,
    Step,
    Strict,
    Term,
    checked_step,
)
from fairlightning.objectives.calibration import CalibrationPenalty
from fairlightning.objectives.combination import Combination, WeightedSum
from fairlightning.objectives.complexity import ComplexityPenalty
from fairlightning.objectives.constraint import RateConstraint
from fairlightning.objectives.dependence import DependencePenalty
from fairlightning.objectives.distributed import sum_over_ranks
from fairlightning.objectives.fairness import Fairness, Observation, Sums
from fairlightning.objectives.group_loss import BoundedGroupLoss, GroupDRO
from fairlightning.objectives.multipliers import (
    AugmentedLagrangian,
    DualAscent,
    Multipliers,
    NuPI,
)
from fairlightning.objectives.parity import ParityPenalty
from fairlightning.objectives.projection import ProjectionPenalty
from fairlightning.objectives.scalarisation import (
    AugmentedChebyshev,
    Chebyshev,
    EpsilonConstraint,
    SmoothChebyshev,
)
from fairlightning.objectives.strengths import Strength, Strengths

__all__ = [
    "Adaptive",
    "Adversary",
    "AugmentedChebyshev",
    "AugmentedLagrangian",
    "BoundedGroupLoss",
    "CalibrationPenalty",
    "Chebyshev",
    "Combination",
    "ComplexityPenalty",
    "Constraint",
    "DependencePenalty",
    "DualAscent",
    "EpsilonConstraint",
    "Fairness",
    "GradientAggregation",
    "GroupDRO",
    "Losses",
    "Multipliers",
    "NuPI",
    "Objective",
    "Observation",
    "ParityPenalty",
    "ProjectionPenalty",
    "RateConstraint",
    "SmoothChebyshev",
    "Step",
    "Strength",
    "Strengths",
    "Strict",
    "Sums",
    "Term",
    "WeightedSum",
    "checked_step",
    "sum_over_ranks",
]
