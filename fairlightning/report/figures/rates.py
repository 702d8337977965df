"""Rates of every group of an attribute, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.metrics import SUPPORT, Record
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words
from fairlightning.report.figures.rows import Line, RowSheet, draw_estimates, extent

DEFAULT_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
"""Rates that are shown if none are named, as far as there are records of them."""

MAX_GROUPS = 60
"""Most groups of one figure."""

Members = Mapping[str, Mapping[str, Record]]


def rates_figure(
    records: Iterable[Record],
    stage: str,
    attribute: str,
    metrics: Sequence[str] | None = None,
    *,
    level: float = 0.95,
) -> Figure:
    """Show rates of every group of an attribute: a dot, its interval, and the value of all rows.

    The groups whose first metric lies farthest from that of all rows come first, then groups of
    fewer than `SMALL_SUPPORT` rows, then groups without rows, which are listed too. A figure over
    fewer than `SMALL_SUPPORT` rows is hollow; the rows beside a name are those of the first metric.
    Of more than `MAX_GROUPS` groups the last ones are
    left out, and counted below.

    Args:
        records: Records of a run.
        stage: The stage to show.
        attribute: An attribute, such as `"sex"`, or crossing, such as `"sex & race"`.
        metrics: Metrics of single groups, one panel each; by default those of `DEFAULT_RATES` of
            which there are records.
        level: Level of the intervals in the records, in (0, 1), for the title.

    Returns:
        The figure. Where there is no record of a metric over all rows, no line is drawn in its
        panel, and the order is by the distance from the mean of the groups, weighted by support.

    Raises:
        ArgumentError: If there are no records of the stage, attribute or a metric.
    """
    records = list(records)
    groups = words.of_attribute(records, stage, attribute)
    chosen = _metrics(groups, metrics)
    members = _members(groups)
    overall = {
        r.metric: r.value
        for r in records
        if r.stage == stage and r.attribute is None and r.group is None and r.value is not None
    }
    rows, left_out = words.rank(
        _ranked(members, chosen[0], overall.get(chosen[0])), MAX_GROUPS, near="nearer to all rows"
    )
    shown = [members[row.group][m] for row in rows for m in chosen if m in members[row.group]]
    absent = {row.group for row in rows if not any(r.support for r in members[row.group].values())}
    subject = words.metric_words(chosen[0]) if len(chosen) == 1 else "Rates"
    sheet = RowSheet(
        words.title(f"{subject} by {attribute}", stage, words.shown_level(shown, level)),
        [Line(words.short_name(row.group, attribute), row.support) for row in rows],
        [*left_out, *_notes(shown, groups, attribute, overall, chosen[0])],
        headings=0 if len(chosen) == 1 else 2,
    )
    for place, metric in zip(sheet.panels(len(chosen)), chosen, strict=True):
        column = [None if row.group in absent else members[row.group].get(metric) for row in rows]
        heading = "" if len(chosen) == 1 else words.metric_words(metric)
        _draw(sheet, place, heading, column, overall.get(metric))
    return sheet.done()


def _metrics(groups: Sequence[Record], metrics: Sequence[str] | None) -> list[str]:
    found = [m for m in dict.fromkeys(record.metric for record in groups) if m != SUPPORT]
    if metrics is None:
        metrics = [metric for metric in DEFAULT_RATES if metric in found] or found
    if isinstance(metrics, str) or not metrics:
        raise ArgumentError.of(
            "metrics",
            found=repr(metrics) if metrics else "none",
            expected="a sequence of metric names",
            mend=f"pass for example {found[:1]!r}",
        )
    return [check_choice("metrics", metric, found) for metric in metrics]


def _members(groups: Sequence[Record]) -> Members:
    members: dict[str, dict[str, Record]] = {}
    for record in groups:
        if record.metric != SUPPORT:
            members.setdefault(str(record.group), {})[record.metric] = record
    return members


def _ranked(members: Members, first: str, reference: float | None) -> list[words.Ranked]:
    values = {name: of[first].value if first in of else None for name, of in members.items()}
    if reference is None:
        pairs = [(values[name], of[first].support) for name, of in members.items() if first in of]
        mass = sum(support for value, support in pairs if value is not None)
        total = sum(value * support for value, support in pairs if value is not None)
        reference = total / max(mass, 1)
    return [
        words.Ranked(
            name,
            of[first].support if first in of else 0,
            None if (value := values[name]) is None else abs(value - reference),
        )
        for name, of in members.items()
    ]


def _draw(
    sheet: RowSheet,
    place: tuple[float, float],
    heading: str,
    column: Sequence[Record | None],
    overall: float | None,
) -> None:
    values = extent([record for record in column if record is not None])
    if overall is not None:
        values.append(overall)
        sheet.note_panel(place, f"all rows {overall:.3f}")
    axes = sheet.panel(place, values, heading=heading)
    if overall is not None:
        axes.axvline(overall, **lay.MARK_LINE, zorder=1)
    draw_estimates(axes, column)


def _notes(
    shown: Sequence[Record],
    groups: Sequence[Record],
    attribute: str,
    overall: Mapping[str, float],
    first: str,
) -> list[str]:
    key = []
    if len({record.group for record in shown}) > 2:
        key.append(f"Farthest from all rows by {words.metric_name(first)} first.")
    if any(record.metric in overall for record in shown):
        key.append("Dashed line: all rows.")
    if any(r.value is not None and words.is_small(r.support) for r in shown):
        key.append(words.SMALL_NOTE)
    unknown = sum(r.support for r in groups if r.metric == SUPPORT)
    if unknown:
        key.append(f"{unknown:,} rows of unknown {attribute} are in no group.")
    return [" ".join(key)] if key else []
