"""Rates of every group of an attribute, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.metrics import SUPPORT, Record
from fairlightning.report.figures import layout as lay
from fairlightning.report.figures import words
from fairlightning.report.figures.rows import BASELINE_NOTE, Line, RowSheet, draw_estimates, extent

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
    baseline: Iterable[Record] | None = None,
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
        baseline: Records of a baseline over the same rows, drawn above those of `records` in
            another colour.

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
    overall = _overall(records, stage)
    before = None if baseline is None else _Baseline.of(baseline, stage, attribute)
    rows, left_out = words.rank(
        _ranked(members, chosen[0], overall.get(chosen[0])), MAX_GROUPS, near="nearer to all rows"
    )
    shown = [members[row.group][m] for row in rows for m in chosen if m in members[row.group]]
    absent = {row.group for row in rows if not any(r.support for r in members[row.group].values())}
    subject = words.metric_words(chosen[0]) if len(chosen) == 1 else "Rates"
    sheet = RowSheet(
        words.title(f"{subject} by {attribute}", stage, words.shown_level(shown, level)),
        [Line(words.short_name(row.group, attribute), row.support) for row in rows],
        [
            *left_out,
            *([] if before is None else [BASELINE_NOTE]),
            *_notes(shown, groups, attribute, overall, chosen[0]),
        ],
        headings=0 if len(chosen) == 1 else 2,
        row=None if before is None else 0.32,
    )
    names = [None if row.group in absent else row.group for row in rows]
    for place, metric in zip(sheet.panels(len(chosen)), chosen, strict=True):
        heading = "" if len(chosen) == 1 else words.metric_words(metric)
        column = [None if name is None else members[name].get(metric) for name in names]
        _draw(
            sheet,
            place,
            heading,
            column,
            overall.get(metric),
            before and before.column(names, metric),
        )
    return sheet.done()


class _Baseline(NamedTuple):
    """What a baseline has in the place of each figure."""

    members: Members
    overall: Mapping[str, float]

    @classmethod
    def of(cls, records: Iterable[Record], stage: str, attribute: str) -> _Baseline:
        records = list(records)
        return cls(
            _members(words.of_attribute(records, stage, attribute)), _overall(records, stage)
        )

    def column(
        self, names: Sequence[str | None], metric: str
    ) -> tuple[list[Record | None], float | None]:
        known = [self.members.get(name, {}) if name else {} for name in names]
        return [of.get(metric) for of in known], self.overall.get(metric)


def _overall(records: Iterable[Record], stage: str) -> dict[str, float]:
    return {
        r.metric: r.value
        for r in records
        if r.stage == stage and r.attribute is None and r.group is None and r.value is not None
    }


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
    before: tuple[Sequence[Record | None], float | None] | None,
) -> None:
    others, reference = before or ([], None)
    values = extent([record for record in (*column, *others) if record is not None])
    lines = [
        (value, colour)
        for value, colour in ((reference, lay.VERMILLION), (overall, lay.BLUE))
        if value is not None
    ]
    if lines:
        values += [value for value, _ in lines]
        sheet.note_panel(place, "all rows " + " → ".join(f"{value:.3f}" for value, _ in lines))
    axes = sheet.panel(place, values, heading=heading)
    for value, colour in lines:
        colour = lay.INK if before is None else colour
        axes.axvline(value, **{**lay.MARK_LINE, "color": colour}, zorder=1)
    draw_estimates(axes, column, baseline=None if before is None else others)


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
