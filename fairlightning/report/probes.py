"""What a probe recovered, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from fairlightning.metrics import Recovery
from fairlightning.report.tables import ABSENT


def probe_table(found: Iterable[Recovery], stage: str) -> Table:
    """Show how well each attribute was recovered, beside the levels to compare it with.

    Args:
        found: What was recovered.
        stage: Where the rows are from.

    Returns:
        What a `rich` console prints.
    """
    title = f"{stage}: sensitive attributes guessed by a fresh classifier"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("Attribute")
    table.add_column("From")
    for name in ("Balanced\naccuracy", "Interval", "Blind\nguess", "From the\nlabel alone", "Rows"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        known = row.accuracy is not None
        table.add_row(
            Text(row.attribute),
            row.source,
            f"{row.accuracy:.3f}" if known else ABSENT,
            f"{row.low:.3f} to {row.high:.3f}" if known else ABSENT,
            f"{row.chance:.3f}",
            f"{row.label_alone:.3f}",
            f"{row.support:,}",
        )
    return table
