"""Verification: evaluate anybody's predictions, keep the results in files, compare two runs."""

from fairlightning.verification.comparison import Comparison, compare
from fairlightning.verification.decision import Decision, read_decision
from fairlightning.verification.evaluation import class_columns, evaluate, task_of_columns
from fairlightning.verification.files import (
    PREDICTION_COLUMNS,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)
from fairlightning.verification.front_file import Criterion, Front, FrontLimit, FrontPoint
from fairlightning.verification.front_json import read_front, write_front
from fairlightning.verification.probe import probe
from fairlightning.verification.results import Verification
from fairlightning.verification.results_json import read_verification, write_verification

__all__ = [
    "PREDICTION_COLUMNS",
    "Comparison",
    "Criterion",
    "Decision",
    "Front",
    "FrontLimit",
    "FrontPoint",
    "Verification",
    "class_columns",
    "compare",
    "evaluate",
    "probe",
    "read_decision",
    "read_front",
    "read_metrics",
    "read_predictions",
    "read_verification",
    "task_of_columns",
    "write_front",
    "write_metrics",
    "write_predictions",
    "write_verification",
]
