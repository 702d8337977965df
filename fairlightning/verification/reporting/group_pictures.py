"""Pictures of gaps, groups, intersections and calibration of baseline and intervention."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator

import torch
from matplotlib.figure import Figure

from fairlightning.functional.criteria import CRITERIA
from fairlightning.functional.score_figures import reliability
from fairlightning.functional.score_histogram import confusion_and_scores
from fairlightning.groups import GroupSpec, as_labels
from fairlightning.metrics import Record, readable
from fairlightning.report.document import (
    Block,
    Missing,
    Picture,
    Section,
    Source,
    Text,
)
from fairlightning.report.figures import (
    calibration_figure,
    gaps_figure,
    intersections_figure,
    rates_figure,
    svg,
)
from fairlightning.verification.files import read_predictions
from fairlightning.verification.reporting.inputs import ReportInputs, RunFiles

STAGE = "test"
MAIN_GAPS = ("demographic_parity_difference", "equal_opportunity_difference")
"""Gaps of the main text, beside that of the criterion itself; an appendix has all."""


def picture(
    name: str, figure: Figure, caption: str, alternative: str, sources: Iterable[Source]
) -> Picture:
    """A figure as a block."""
    return Picture(name, caption, alternative, svg(figure), tuple(sources))


def _roles(inputs: ReportInputs) -> tuple[tuple[str, RunFiles], ...]:
    return ("baseline", inputs.baseline), ("intervention", inputs.intervention)


def _shown_seed(inputs: ReportInputs) -> str:
    return f"Seed {inputs.seed}, {STAGE} rows."


def _pair_sources(inputs: ReportInputs) -> tuple[Source, Source]:
    return (
        inputs.baseline.source("metrics.json"),
        inputs.intervention.source("metrics.json"),
    )


def _no_records(inputs: ReportInputs, what: str) -> Missing | None:
    lacking = [run.folder for run in (inputs.baseline, inputs.intervention) if run.records is None]
    if not lacking:
        return None
    return Missing(
        f"{what}: there is no metrics.json in {' and '.join(lacking)}.",
        "put the runs of the verification back in their place and write the report again.",
    )


def gap_pictures(inputs: ReportInputs) -> Iterator[Block]:
    """The gaps of the main text, baseline beside intervention."""
    missing = _no_records(inputs, "The picture of gaps")
    if missing:
        yield missing
        return
    found = inputs.found
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    wanted = {*found.attributes, " & ".join(found.attributes)}

    def kept(records: Iterable[Record] | None) -> list[Record]:
        of = [r for r in records or () if r.attribute in wanted and r.metric in gaps]
        return [r for r in of if r.group is None]

    figure = gaps_figure(
        kept(inputs.intervention.records), STAGE, baseline=kept(inputs.baseline.records)
    )
    yield picture(
        "gaps",
        figure,
        f"Differences between groups before and after. {_shown_seed(inputs)}",
        "Differences between groups with intervals, baseline above intervention; the numbers are "
        "in the table of all measures.",
        _pair_sources(inputs),
    )


def rates_picture(inputs: ReportInputs, attribute: str) -> Block:
    """Rates of the groups of an attribute or crossing, baseline beside intervention."""
    missing = _no_records(inputs, f"The picture of groups of {attribute}")
    if missing:
        return missing
    criterion = CRITERIA.get(inputs.found.criterion)
    rates = tuple(dict.fromkeys([*(criterion.rates if criterion else ()), "accuracy"]))
    known = {r.metric for r in inputs.intervention.records or () if r.attribute == attribute}
    figure = rates_figure(
        inputs.intervention.records or [],
        STAGE,
        attribute,
        [rate for rate in rates if rate in known] or None,
        baseline=inputs.baseline.records,
    )
    return picture(
        f"rates-{_identifier(attribute)}",
        figure,
        f"Groups of {attribute} before and after. {_shown_seed(inputs)}",
        f"Rates of each group of {attribute} with intervals, baseline above intervention; the "
        "numbers are in the table of groups.",
        _pair_sources(inputs),
    )


def heat_maps(inputs: ReportInputs) -> Iterator[Block]:
    """Maps of all intersections of two or three attributes."""
    missing = _no_records(inputs, "The maps of intersections")
    if missing:
        yield missing
        return
    crossings = dict.fromkeys(
        row.attribute for row in inputs.found.groups if row.attribute.count(" & ") in (1, 2)
    )
    rates = dict.fromkeys(row.rate for row in inputs.found.groups)
    for role, run in _roles(inputs):
        yield Text(role.capitalize(), "heading")
        for crossing in crossings:
            for rate in rates:
                yield picture(
                    f"map-{role}-{_identifier(rate)}-{_identifier(crossing)}",
                    intersections_figure(run.records or [], STAGE, rate, crossing.split(" & ")),
                    f"{role.capitalize()}: {readable(rate)} of intersections of {crossing}. "
                    f"{_shown_seed(inputs)}",
                    f"{readable(rate).capitalize()} of every intersection of {crossing} under the "
                    f"{role}; the numbers are in the table of groups.",
                    (run.source("metrics.json"),),
                )
    if not crossings:
        yield Text("There is one sensitive attribute, and so no intersection.")


def _calibration(inputs: ReportInputs, run: RunFiles, role: str, attribute: str) -> Block:
    if run.predictions is None:
        return Missing(
            f"Calibration of the {role} by {attribute}: there is no predictions.parquet in "
            f"{run.folder}.",
            "put the predictions back in their place and write the report again.",
        )
    frame = read_predictions(run.predictions)
    frame = frame[frame["split"] == STAGE]
    names = sorted(as_labels(frame[attribute]).dropna().unique())
    spec = GroupSpec({attribute: names})
    scores = torch.logit(torch.tensor(frame["score"].to_numpy(dtype=float)))
    positive = torch.tensor(frame["target"].to_numpy()) == 1
    mass = torch.tensor(frame["weight"].to_numpy(dtype=float)) if "weight" in frame else None
    columns = (scores, scores >= 0, positive, spec.encode(frame), spec)
    _, table = confusion_and_scores(*columns, weight=mass)
    curve = reliability(table.partition(spec, [attribute]).moments)
    groups = spec.group_names([attribute])
    return picture(
        f"calibration-{role}-{_identifier(attribute)}",
        calibration_figure(*curve, groups, stage=STAGE, attribute=attribute),
        f"{role.capitalize()}: calibration by {attribute}. {_shown_seed(inputs)}",
        f"Share of positives against score for each group of {attribute} under the {role}.",
        (run.source("predictions.parquet"),),
    )


def _identifier(text: str) -> str:
    """A name in ASCII for links and files, different for different texts."""
    if re.fullmatch("[a-z0-9][a-z0-9_]*", text):
        return text
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    words = re.findall("[a-z0-9]+", plain)
    return "-".join([*words, f"{zlib.crc32(text.encode()):08x}"])


def calibration(inputs: ReportInputs) -> Section:
    """Calibration of both models by group, for an appendix."""
    blocks: list[Block] = []
    for role, run in _roles(inputs):
        blocks.append(Text(role.capitalize(), "heading"))
        blocks += [_calibration(inputs, run, role, name) for name in inputs.found.attributes]
    return Section("calibration-all", "Calibration by group", tuple(blocks), appendix=True)
