"""The last sections: checklist, limits, how to get the same numbers again, and the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlightning.report.document import (
    Bullets,
    Code,
    File,
    Missing,
    Number,
    Section,
    Source,
    Status,
    Table,
    Text,
)
from fairlightning.verification.reporting.inputs import VERIFICATION, ReportInputs
from fairlightning.verification.results import ChecklistItem

ROUGH = 5
"""Fewer seeds give a rough standard deviation."""


def checklist(inputs: ReportInputs) -> Section:
    """The eleven items, ticked by evidence or by a person's statement."""
    found = inputs.found.checklist
    ticked = sum(item.ticked for item in found.items)
    word = "passed" if found.passed else "not passed"
    files = dict.fromkeys(path for item in found.items for path in item.sources)
    return Section(
        "checklist",
        "Checklist",
        (
            Table.of(
                "checklist-items",
                f"{ticked} of {len(found.items)} items are ticked, {found.required:.0%} are "
                f"needed: {word}",
                {
                    "item": "Item",
                    "ticked": "",
                    "evidence": "Evidence or statement",
                },
                tuple(
                    (f"{item.number}. {item.title}", _tick(item), _evidence(item))
                    for item in found.items
                ),
                (Source(VERIFICATION, "checklist"), *(Source(path) for path in files)),
            ),
        ),
    )


def _tick(item: ChecklistItem) -> Status:
    if not item.ticked:
        return Status("open", "open")
    return Status("by evidence", "good") if item.by == "evidence" else Status("stated", "note")


def _evidence(item: ChecklistItem) -> str:
    if item.person is None:
        return item.evidence
    return f"{item.evidence} ({', '.join(filter(None, (item.person, item.date)))})"


def limits(inputs: ReportInputs) -> Section:
    """Assumptions, and what the figures do not say."""
    return Section("limits", "Assumptions and limits", (Bullets(tuple(limit_sentences(inputs))),))


def limit_sentences(inputs: ReportInputs) -> Iterator[str]:
    """What has to be known before the figures are used."""
    found = inputs.found
    level = min((criterion.level for criterion in found.criteria), default=None)
    if level is not None:
        yield (
            f"“Met” and “not met” are each said with at least {level:.0%} confidence, criterion by "
            "criterion; several criteria together are less certain than one."
        )
    yield (
        f"Verdicts are about {found.criterion.replace('_', ' ')} for {', '.join(found.attributes)} "
        "at one threshold. Fairness criteria conflict; the tables show the others."
    )
    yield (f"A group with {inputs.few} takes no part in a verdict, and is listed.")
    yield (
        "Labels and attributes are taken as they are recorded. Where they are biased or wrong, so "
        "are the figures."
    )
    yield "Robustness curves change the rows, not the models: no model was trained again."
    if len(found.seeds) < ROUGH:
        yield f"Deviations over fewer than {ROUGH} seeds, such as these, are rough."
    if inputs.audit is not None:
        yield "What the audit of the data assumes, and is not sure of, is in an appendix."


def reproducibility(inputs: ReportInputs) -> Section:
    """All that it takes to get the same numbers again, for an appendix."""
    made = inputs.found.reproducibility
    if made.identical:
        same = "Training the same seed twice gave the same predictions, bit by bit."
    else:
        same = (
            f"Training the same seed twice gave {made.differing_rows:,} predictions that differ, "
            f"by at most {made.largest_difference:.3g}."
        )
    rows = [
        ("Commit", made.commit or "not known: not run from a repository"),
        ("Seeds", ", ".join(map(str, inputs.found.seeds))),
        ("Configuration", made.config),
        *((f"Version of {name}", version) for name, version in made.packages.items()),
        *((f"Hardware: {name}", value) for name, value in made.hardware.items()),
        *((f"Data: {name}", value) for name, value in made.data.items()),
    ]
    table = Table.of(
        "environment",
        "What was run where, on what",
        {
            "what": "What",
            "value": "Value",
        },
        rows,
        (
            Source(VERIFICATION, "reproducibility"),
            *(Source(path) for path in dict.fromkeys((*made.compared, made.config))),
        ),
    )
    return Section(
        "reproducibility",
        "Reproducibility",
        (Text(same), Code(made.command), table),
        appendix=True,
    )


def files(found: Sequence[File]) -> Section:
    """The files that the report is made from, with their fingerprints."""
    gone = [file.path for file in found if file.sha256 is None]
    missing = Missing(
        f"{len(gone)} files that figures come from: {', '.join(gone)}.",
        "put the folder of the verification back together and run `fairlightning report`.",
    )
    return Section(
        "files",
        "Files",
        (
            *([missing] if gone else []),
            Table.of(
                "file-list",
                "Files that the report is made from",
                {
                    "path": "File",
                    "size": "Bytes",
                    "sha256": "SHA-256",
                },
                tuple((f.path, Number(f.size, digits=0), f.sha256 or "not there") for f in found),
                (),
            ),
        ),
        appendix=True,
    )
