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
from fairlightning.objectives.contrastive import ContrastivePenalty
from fairlightning.objectives.counterfactual import CounterfactualPenalty
from fairlightning.objectives.dependence import DependencePenalty
from fairlightning.objectives.distributed import sum_over_ranks
from fairlightning.objectives.fairness import Fairness, Observation, Sums
from fairlightning.objectives.fairness_head import FairnessHead
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
from fairlightning.objectives.sensitive_gradient import SensitiveGradientPenalty
from fairlightning.objectives.similarity import SimilarityPenalty
from fairlightning.objectives.split_parity import SplitParityPenalty
from fairlightning.objectives.strengths import Strength, Strengths
from fairlightning.objectives.task_projection import TaskProjection

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
    "ContrastivePenalty",
    "CounterfactualPenalty",
    "DependencePenalty",
    "DualAscent",
    "EpsilonConstraint",
    "Fairness",
    "FairnessHead",
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
    "SensitiveGradientPenalty",
    "SimilarityPenalty",
    "SmoothChebyshev",
    "SplitParityPenalty",
    "Step",
    "Strength",
    "Strengths",
    "Strict",
    "Sums",
    "TaskProjection",
    "Term",
    "WeightedSum",
    "checked_step",
    "sum_over_ranks",
]
