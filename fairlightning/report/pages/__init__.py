"""Pages: one HTML file each, which opens offline in any browser."""

from fairlightning.report.pages.front import front_page

__all__ = ["front_page"]
