"""Reports: tables that read plain records."""

from fairlightning.report.tables import comparison_table, metrics_table

__all__ = ["comparison_table", "metrics_table"]
