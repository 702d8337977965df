"""A front in the terminal: its models, their figures, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from fairlightning.metrics import Record, readable
from fairlightning.report.tables import ABSENT


@dataclass(frozen=True)
class FrontRow:
    """A model of a front as tables and pictures show it.

    Attributes:
        name: Its name in the front.
        settings: What distinguishes it from the others.
        figures: Its records of one stage, first performance, then a record for each gap.
        chosen: Whether no other model dominates it on the stage that models are chosen on.
        baseline: Whether it is the plain model.
        series: What it belongs to, such as `"seed 1"`; empty where there is one series.
    """

    name: str
    settings: Mapping[str, object]
    figures: Sequence[Record]
    chosen: bool
    baseline: bool = False
    series: str = ""


def front_table(rows: Sequence[FrontRow], title: str) -> Table:
    """Show the models of a front, those with the best performance first.

    Args:
        rows: At least one model.
        title: What is seen.

    Returns:
        What a `rich` console prints: for each model its settings, every criterion with its
        interval, `●` if no other dominates it, and `plain` for the baseline.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("Model", overflow="fold")  # the one that gives way: figures are never cut
    settings = list(dict.fromkeys(name for row in rows for name in row.settings))
    for name in settings:
        table.add_column(Text(name), justify="right", overflow="fold")
    for record in rows[0].figures:
        about = f" {record.attribute}" if record.attribute else ""
        header = (readable(record.metric) + about).replace(" ", "\n")  # leaves room for names
        table.add_column(Text(header), justify="right", no_wrap=True)
    table.add_column("Front", justify="center")
    table.add_column("")
    for row in sorted(rows, key=lambda row: -(row.figures[0].value or 0.0)):
        table.add_row(
            Text(row.name),
            *(Text(_setting(row.settings.get(name))) for name in settings),
            *(Text(_figure(record)) for record in row.figures),
            "●" if row.chosen else "",
            "plain" if row.baseline else "",
            style="" if row.chosen or row.baseline else "dim",
        )
    return table


def _setting(value: object) -> str:
    return ABSENT if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _figure(record: Record) -> str:
    if record.value is None:
        return ABSENT
    if record.low is None and record.high is None:
        return f"{record.value:.3f}"
    low, high = (ABSENT if end is None else f"{end:.3f}" for end in (record.low, record.high))
    return f"{record.value:.3f} [{low}, {high}]"
