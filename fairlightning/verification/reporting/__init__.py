"""The report of a verification: from the files in its folder to page, Markdown, JSON and card."""

from fairlightning.verification.reporting.writing import (
    REPORT_FILES,
    build_document,
    write_report,
)

__all__ = ["REPORT_FILES", "build_document", "write_report"]
