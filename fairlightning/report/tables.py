"""Tables for the terminal: the figures of one run, and two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fairlightning.exceptions import check_choice
from fairlightning.metrics import SMALL_SUPPORT, SUPPORT, Change, Record, readable, signed

ABSENT = "–"
SMALL = "†"

_RATE_NAMES = {
    "selection_rate": "Selected",
    "true_positive_rate": "TPR",
    "false_positive_rate": "FPR",
    "accuracy": "Accuracy",
}
_VERDICTS = {True: ("better", "green"), False: ("worse", "bold red"), None: ("", "")}


def metrics_table(records: Iterable[Record], stage: str) -> RenderableType:
    """Show the figures of one run: overall, by attribute, and by group.

    A figure that is not estimable is shown as `–`; one over fewer than `SMALL_SUPPORT` rows is
    marked `†`. Within a partition the groups whose selection rate lies farthest from that of all
    rows come first, then small groups, then absent ones. It fits 100 columns.

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
    overall = [record for record in records if record.attribute is None]
    criteria = [record for record in records if record.attribute and record.group is None]
    groups = [record for record in records if record.group is not None]
    everyone = next((r.value for r in overall if r.metric == "selection_rate"), None)
    parts: list[RenderableType] = [_overall(overall, stage)]
    parts += [_criteria(criteria)] if criteria else []
    parts += [_groups(groups, everyone)] if groups else []
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
    figures = [row for row in rows if row.key.group is None]
    for attribute in dict.fromkeys(row.key.attribute for row in figures):
        table.add_section()
        table.add_row(Text(attribute or "all rows", style="bold"))
        for row in figures:
            if row.key.attribute == attribute:
                table.add_row(*_change_cells(row))
    members = [row for row in rows if row.key.group and row.key.metric != SUPPORT]
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
            size = max(row.support for row in of.values())
            cells = [_both(of[metric]) if metric in of else Text(ABSENT) for metric in metrics]
            table.add_row(_indented(_short(name, str(attribute))), f"{size:,}", *cells)
    return table


def _both(row: Change) -> Text:
    arrow = Text("→ ", style="dim")
    return _number(row.baseline, row.support) + arrow + _number(row.intervention, row.support)


def _overall(records: list[Record], stage: str) -> Table:
    rows = max((record.support for record in records), default=0)
    table = _table(f"{stage}: {rows:,} rows", first="")
    for record in records:
        table.add_column(_header(record.metric), justify="right", vertical="bottom")
    table.add_row(_indented("all rows"), *map(_cell, records))
    return table


def _criteria(records: list[Record]) -> Table:
    table = _table("Fairness: 0 is parity for a difference, 1 for a ratio", first="Attribute")
    cells = {(record.attribute, record.metric): _cell(record) for record in records}
    metrics = list(dict.fromkeys(record.metric for record in records))
    for metric in metrics:
        table.add_column(_header(metric), justify="right", vertical="bottom")
    for attribute in dict.fromkeys(record.attribute for record in records):
        found = [cells.get((attribute, metric), Text(ABSENT)) for metric in metrics]
        table.add_row(_indented(str(attribute)), *found)
    return table


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


def _change_cells(row: Change) -> list[RenderableType]:
    word, style = _VERDICTS[row.better]
    relative = ABSENT if row.relative is None else signed(100 * row.relative, 0)
    change = ABSENT if row.change is None else signed(row.change, 3)
    return [
        _indented(readable(row.key.metric)),
        _number(row.baseline, row.support),
        _number(row.intervention, row.support),
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


def _header(metric: str) -> str:
    name = readable(metric).replace("-", " ")
    # The space stands over the one that keeps figures with and without a mark in line.
    return "\n".join(f"{word} " for word in (name[0].upper() + name[1:]).split())


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
