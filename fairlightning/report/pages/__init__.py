"""Pages: one HTML file each, which opens offline in any browser."""

from fairlightning.report.pages.front import front_page
from fairlightning.report.pages.report import report_page

__all__ = ["front_page", "report_page"]
