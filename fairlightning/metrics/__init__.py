"""Metrics: one count table per stage, the figures that follow from it, and their records."""

from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.ranking import auroc
from fairlightning.functional.rows import positive_scores
from fairlightning.functional.score_histogram import ScoreTable
from fairlightning.functional.tasks import TASK_NAMES, Task, task_of
from fairlightning.metrics.confusion import GroupConfusion
from fairlightning.metrics.counts import GroupCounts
from fairlightning.metrics.fairness import FairnessMetrics, fairness_records
from fairlightning.metrics.individual import Consistency, CounterfactualFlips
from fairlightning.metrics.multiclass import multiclass_records
from fairlightning.metrics.per_group import PerGroup
from fairlightning.metrics.ranking import AUROC, GroupAUROC
from fairlightning.metrics.records import (
    SMALL_SUPPORT,
    STAGES,
    SUPPORT,
    Change,
    Key,
    Record,
    higher_is_better,
    readable,
    signed,
    tag,
)
from fairlightning.metrics.recovery import Recovery
from fairlightning.metrics.regression import (
    ExactGroupDistribution,
    GroupDistribution,
    GroupRegression,
)
from fairlightning.metrics.regression_records import regression_records
from fairlightning.metrics.stage import INTERVALS, Intervals, StageMetrics
from fairlightning.metrics.tables import GAP_METRICS, GROUP_METRICS, OVERALL_METRICS, GroupTables
from fairlightning.metrics.tasks import stage_metrics
from fairlightning.metrics.verdicts import DECIDABLE, GapVerdict, gap_verdict

__all__ = [
    "AUROC",
    "DECIDABLE",
    "GAP_METRICS",
    "GROUP_METRICS",
    "INTERVALS",
    "OVERALL_METRICS",
    "SMALL_SUPPORT",
    "STAGES",
    "SUPPORT",
    "TASK_NAMES",
    "Change",
    "ConfusionTable",
    "Consistency",
    "CounterfactualFlips",
    "ExactGroupDistribution",
    "FairnessMetrics",
    "GapVerdict",
    "GroupAUROC",
    "GroupConfusion",
    "GroupCounts",
    "GroupDistribution",
    "GroupRegression",
    "GroupTables",
    "Intervals",
    "Key",
    "PerGroup",
    "Record",
    "Recovery",
    "ScoreTable",
    "StageMetrics",
    "Task",
    "auroc",
    "fairness_records",
    "gap_verdict",
    "higher_is_better",
    "multiclass_records",
    "positive_scores",
    "readable",
    "regression_records",
    "signed",
    "stage_metrics",
    "tag",
    "task_of",
]
