"""Reports: tables that read plain records."""

from fairlightning.report.tables import comparison_table, is_shown, metrics_table, place

__all__ = ["comparison_table", "is_shown", "metrics_table", "place"]
