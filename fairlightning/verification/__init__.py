"""Verification: evaluate anybody's predictions, keep the results in files, compare two runs."""

from fairlightning.verification.comparison import Comparison, compare
from fairlightning.verification.evaluation import evaluate
from fairlightning.verification.files import (
    PREDICTION_COLUMNS,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)

__all__ = [
    "PREDICTION_COLUMNS",
    "Comparison",
    "compare",
    "evaluate",
    "read_metrics",
    "read_predictions",
    "write_metrics",
    "write_predictions",
]
