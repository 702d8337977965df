"""Figures of records and counts, for TensorBoard, reports and files.

Each function gives a `matplotlib.figure.Figure` of 800 pixels width, drawn with the Agg canvas
alone: `pyplot` never knows it, and it is gone with its last reference.
"""

from fairlightning.report.figures.calibration import calibration_figure
from fairlightning.report.figures.curves import curves_figure
from fairlightning.report.figures.epoch_front import epoch_front_figure
from fairlightning.report.figures.front import front_figure
from fairlightning.report.figures.gaps import gaps_figure
from fairlightning.report.figures.graded import Panel, Series, graded_figure
from fairlightning.report.figures.intersections import intersections_figure
from fairlightning.report.figures.rates import rates_figure
from fairlightning.report.figures.scores import score_histogram_figure
from fairlightning.report.figures.vector import svg

__all__ = [
    "Panel",
    "Series",
    "calibration_figure",
    "curves_figure",
    "epoch_front_figure",
    "front_figure",
    "gaps_figure",
    "graded_figure",
    "intersections_figure",
    "rates_figure",
    "score_histogram_figure",
    "svg",
]
