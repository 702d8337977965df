"""A figure as an SVG file, the same bytes each time."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.figure import Figure


def svg(figure: Figure) -> str:
    """Write a figure as SVG, with its text as outlines, so that it looks the same everywhere.

    Args:
        figure: One of this package.

    Returns:
        The SVG, without date, so that the same figure gives the same text.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fairlightning", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().decode()
