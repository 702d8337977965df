"""Metrics: one count table per stage, the figures that follow from it, and their records."""

from fairlightning.functional.rows import positive_scores
from fairlightning.metrics.confusion import ConfusionTable, GroupConfusion
from fairlightning.metrics.fairness import FairnessMetrics, fairness_records
from fairlightning.metrics.ranking import AUROC, auroc
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

__all__ = [
    "AUROC",
    "SMALL_SUPPORT",
    "STAGES",
    "SUPPORT",
    "Change",
    "ConfusionTable",
    "FairnessMetrics",
    "GroupConfusion",
    "Key",
    "Record",
    "auroc",
    "fairness_records",
    "higher_is_better",
    "positive_scores",
    "readable",
    "signed",
    "tag",
]
