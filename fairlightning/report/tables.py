"""Tables for the terminal: the figures of one run, and two runs side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fairlightning.exceptions import check_choice
from fairlightning.metrics import (
    GAP_METRICS,
    OVERALL_METRICS,
    SMALL_SUPPORT,
    SUPPORT,
    Change,
    Key,
    Record,
    readable,
    signed,
)

ABSENT = "–"
SMALL = "†"

SHOWN_OVERALL: tuple[str, ...] = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "auroc",
    "calibration_error",
    "selection_rate",
)
"""Figures over all rows that tables have a column for."""

SHOWN_GAPS: tuple[str, ...] = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "predictive_parity_difference",
    "accuracy_parity_difference",
    "worst_group_accuracy",
)
"""Figures over groups that tables have a column for; the records of a run hold more."""

_RATE_NAMES = {
    "selection_rate": "Selected",
    "true_positive_rate": "TPR",
    "false_positive_rate": "FPR",
    "accuracy": "Accuracy",
}
_OTHER = ("accuracy", "mean_prediction", "mean_target", "mean_residual", "mean_absolute_error")
_SELECTED = re.compile(r"class_.*_selection_rate").fullmatch
_VERDICTS = {True: ("better", "green"), False: ("worse", "bold red"), None: ("", "")}


def metrics_table(records: Iterable[Record], stage: str) -> RenderableType:
    """Show the figures of one run: over all rows, by attribute, and by group.

    Of the figures of classifiers it shows `SHOWN_OVERALL` and `SHOWN_GAPS`. A figure that is not
    estimable is shown as `–`; one over fewer than `SMALL_SUPPORT` rows is marked `†`. Within a
    partition the groups whose selection rate lies farthest from that of all rows come first, then
    small groups, then absent ones. It fits 100 columns.

    Args:
        records: Records of a run.
        stage: The stage to show.

    Returns:
        What a `rich` console prints.

    Raises:
        ArgumentError: If there are no records of the stage.
    """
    records = list(records)
    check_choice("stage", stage, dict.fromkeys(record.stage for record in records))
    records = [record for record in records if record.stage == stage]
    groups = [record for record in records if record.group is not None]
    everyone = next((r.value for r in records if r.key[1:] == ("selection_rate", None, None)), None)
    parts: list[RenderableType] = [_figures(records, stage)]
    if any(_has_columns(r) for r in groups):
        binary = any(r.metric == "selection_rate" for r in groups)
        parts.append(_groups(groups, everyone) if binary else _other_groups(groups))
    if any(_is_small(record) for record in records):
        note = f"{SMALL} over fewer than {SMALL_SUPPORT} rows, where chance alone moves it widely"
        parts.append(Text(f" {note}", style="dim"))
    return Group(*parts)


def comparison_table(rows: Iterable[Change], stage: str) -> RenderableType:
    """Show what changed between two runs, and whether for better or worse.

    Args:
        rows: Changes between the runs, as `verification.compare` gives them.
        stage: The stage to show.

    Returns:
        What a `rich` console prints.

    Raises:
        ArgumentError: If nothing of the stage was compared.
    """
    rows = list(rows)
    check_choice("stage", stage, dict.fromkeys(row.key.stage for row in rows))
    rows = [row for row in rows if row.key.stage == stage]
    table = _table(f"{stage}: baseline and intervention")
    for header in ("Baseline ", "Intervention ", "Change", "%", ""):
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    figures = sorted((r for r in rows if r.key.group is None and is_shown(r.key)), key=place)
    for attribute in dict.fromkeys(row.key.attribute for row in figures):
        table.add_section()
        table.add_row(Text(attribute or "all rows", style="bold"))
        for row in figures:
            if row.key.attribute == attribute:
                table.add_row(*_change_cells(row))
    members = [row for row in rows if row.key.group and row.key.metric in _RATE_NAMES]
    return Group(table, _group_changes(members)) if members else table


def _group_changes(rows: list[Change]) -> Table:
    table = _table("Groups: baseline → intervention", first="Group")
    metrics = list(dict.fromkeys(row.key.metric for row in rows))
    table.add_column("Rows", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(_RATE_NAMES.get(metric, readable(metric)), justify="right", no_wrap=True)
    for attribute in dict.fromkeys(row.key.attribute for row in rows):
        groups: dict[str, dict[str, Change]] = {}
        for row in rows:
            if row.key.attribute == attribute:
                groups.setdefault(str(row.key.group), {})[row.key.metric] = row
        table.add_section()
        table.add_row(Text(str(attribute), style="bold"))
        for name, of in groups.items():
            size = max(row.baseline_support for row in of.values())
            cells = [_both(of[metric]) if metric in of else Text(ABSENT) for metric in metrics]
            table.add_row(_indented(_short(name, str(attribute))), f"{size:,}", *cells)
    return table


def _both(row: Change) -> Text:
    baseline, intervention = _change_numbers(row)
    return baseline + Text("→ ", style="dim") + intervention


def _figures(records: list[Record], stage: str) -> Table:
    shown = sorted((r for r in records if r.group is None and is_shown(r.key)), key=place)
    rows = max((r.support for r in shown if r.attribute is None), default=0)
    table = _table(f"{stage}: {rows:,} rows")
    intervals = any(r.low is not None or r.high is not None for r in shown)
    for header in ("Value ", *(["Interval"] if intervals else []), "Rows"):
        table.add_column(header, justify="right", no_wrap=True)
    for attribute in dict.fromkeys(record.attribute for record in shown):
        table.add_section()
        of_all = "all rows" if attribute is None else attribute
        table.add_row(Text(of_all, style="bold"))
        for record in shown:
            if record.attribute == attribute:
                cells = [_cell(record), *([_interval(record)] if intervals else [])]
                name = _indented(readable(record.metric))
                table.add_row(name, *cells, f"{record.support:,}")
    return table


def place(row: Record | Change) -> int:
    """Rank of a figure among those that are shown; sorting by it keeps attributes apart."""
    metric = row.metric if isinstance(row, Record) else row.key.metric
    shown = (*SHOWN_OVERALL, *SHOWN_GAPS)
    return shown.index(metric) if metric in shown else len(shown)


def _interval(record: Record) -> Text:
    if record.value is None or (record.low is None and record.high is None):
        return Text(ABSENT, style="dim")
    ends = ["…" if limit is None else f"{limit:.3f}" for limit in (record.low, record.high)]
    return Text(" to ".join(ends), style="dim")


def is_shown(key: Key) -> bool:
    """Say whether tables have a row for a figure; the records of a run hold more.

    Args:
        key: What the figure is about.
    """
    if key.group is not None:
        return _has_columns(key)
    known, shown = OVERALL_METRICS, SHOWN_OVERALL
    if key.attribute is not None:
        known, shown = GAP_METRICS, SHOWN_GAPS
    # Of tasks with other figures all are shown, but of single classes how many rows they get alone.
    of_class = key.metric.startswith("class_") and not _SELECTED(key.metric)
    return key.metric in shown or (key.metric not in known and not of_class)


def _has_columns(record: Record | Key) -> bool:
    return record.metric in _RATE_NAMES or record.metric == SUPPORT


def _groups(records: list[Record], everyone: float | None) -> Table:
    title = "Groups: share selected, also against all rows; true and false positive rate"
    table = _table(title, first="Group")
    for header in ("Rows", "Positives", "Selected ", "vs all", "TPR ", "FPR ", "Accuracy "):
        table.add_column(header, justify="right", no_wrap=True)
    for attribute in dict.fromkeys(record.attribute for record in records):
        members: dict[str, dict[str, Record]] = {}
        for record in records:
            if record.attribute == attribute:
                members.setdefault(str(record.group), {})[record.metric] = record
        table.add_section()
        table.add_row(Text(str(attribute), style="bold"))
        known = {name: of for name, of in members.items() if "selection_rate" in of}
        for name in sorted(known, key=lambda name: _order(known[name]["selection_rate"], everyone)):
            table.add_row(
                _indented(_short(name, str(attribute))), *_group_cells(known[name], everyone)
            )
        for of in members.values():
            if SUPPORT in of and of[SUPPORT].support:
                table.add_row(_indented("unknown"), f"{of[SUPPORT].support:,}")
    return table


def _other_groups(records: list[Record]) -> Table:
    """Figures of the groups of a task that is not binary, as many as there is room for."""
    table = _table("Groups", first="Group")
    shown = dict.fromkeys(r.metric for r in records if r.metric in _OTHER or _SELECTED(r.metric))
    metrics = list(shown)[:6]
    for name in ("Rows", *map(readable, metrics)):
        table.add_column(name, justify="right")
    for attribute in dict.fromkeys(record.attribute for record in records):
        table.add_section()
        table.add_row(Text(str(attribute), style="bold"))
        members: dict[str, dict[str, Record]] = {}
        for record in records:
            if record.attribute == attribute:
                members.setdefault(str(record.group), {})[record.metric] = record
        for name, of in members.items():
            known = [of[metric] for metric in metrics if metric in of]
            size = max((r.support for r in known or of.values()), default=0)
            if size:
                table.add_row(
                    _indented(_short(name, str(attribute))), f"{size:,}", *map(_cell, known)
                )
    return table


def _short(group: str, attribute: str) -> str:
    # Under the heading "sex & race" the group "sex=Female & race=Black" is "Female & Black".
    names, parts = attribute.split(" & "), group.split(" & ")
    prefixes = [f"{name}=" for name in names]
    if len(parts) == len(names) and all(map(str.startswith, parts, prefixes)):
        parts = list(map(str.removeprefix, parts, prefixes))
    return " & ".join(parts)


def _indented(name: str) -> Padding:
    return Padding(Text(name, overflow="fold"), (0, 0, 0, 2))


def _order(rate: Record, everyone: float | None) -> tuple[int, float]:
    if rate.value is None or everyone is None:
        return 2, 0.0
    return int(_is_small(rate)), -abs(rate.value - everyone)


def _group_cells(of: dict[str, Record], everyone: float | None) -> list[Text | str]:
    selected, recall = of["selection_rate"], of["true_positive_rate"]
    apart = ABSENT
    if selected.value is not None and everyone is not None:
        apart = signed(selected.value - everyone, 3)
    return [
        f"{selected.support:,}",
        f"{recall.support:,}",
        _cell(selected),
        apart,
        _cell(recall),
        _cell(of["false_positive_rate"]),
        _cell(of["accuracy"]),
    ]


def _change_numbers(row: Change) -> tuple[Text, Text]:
    return (
        _number(row.baseline, row.baseline_support),
        _number(row.intervention, row.intervention_support),
    )


def _change_cells(row: Change) -> list[RenderableType]:
    word, style = _VERDICTS[row.better]
    relative = ABSENT if row.relative is None else signed(100 * row.relative, 0)
    change = ABSENT if row.change is None else signed(row.change, 3)
    return [
        _indented(readable(row.key.metric)),
        *_change_numbers(row),
        Text(change, style=style),
        Text(relative, style=style),
        Text(word, style=style),
    ]


def _table(title: str, first: str = "") -> Table:
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    table.add_column(first, vertical="bottom")
    return table


def _is_small(record: Record) -> bool:
    return record.value is not None and record.metric != SUPPORT and record.support < SMALL_SUPPORT


def _cell(record: Record) -> Text:
    return _number(record.value, record.support)


def _number(value: float | None, support: int) -> Text:
    if value is None:
        return Text(ABSENT, style="dim")
    if support < SMALL_SUPPORT:
        return Text(f"{value:.3f}{SMALL}", style="yellow")
    return Text(f"{value:.3f} ")
