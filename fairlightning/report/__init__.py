"""Reports: tables that read plain records."""

from fairlightning.report.fronts import FrontRow, front_table
from fairlightning.report.probes import probe_table
from fairlightning.report.tables import comparison_table, is_shown, metrics_table, place

__all__ = [
    "FrontRow",
    "comparison_table",
    "front_table",
    "is_shown",
    "metrics_table",
    "place",
    "probe_table",
]
