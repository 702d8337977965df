"""From the files of a verification to `report.html`, `report.md`, `report.json` and the card."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from fairlightning.report.document import Document, File, Section
from fairlightning.report.markdown import markdown
from fairlightning.report.pages import report_page
from fairlightning.report.plain import PICTURES, plain
from fairlightning.verification.reporting import (
    audit_tables,
    causes,
    closing,
    group_pictures,
    model,
    results,
    sensitivity,
    summary,
    words,
)
from fairlightning.verification.reporting.card import model_card
from fairlightning.verification.reporting.inputs import VERIFICATION, ReportInputs, read_inputs

REPORT_FILES = ("report.html", "report.md", "report.json", "model_card.md")
"""Files that `write_report` writes, beside the folder of pictures."""

_SECTIONS = (
    summary.summary,
    summary.criteria,
    results.comparison,
    sensitivity.trade_off,
    sensitivity.robustness,
    causes.causes,
    model.model,
    closing.checklist,
    closing.limits,
    results.all_figures,
    summary.all_findings,
    results.groups,
    group_pictures.calibration,
    sensitivity.all_curves,
    audit_tables.audit_tables,
    model.architecture,
    closing.reproducibility,
)


def write_report(folder: str | Path) -> list[Path]:
    """Write the report of a verification from the files in its folder.

    The files say the same each time that they are made from the same files. What is missing, such
    as an audit, is named in the report with the command that adds it.

    Args:
        folder: The folder that `fairlightning verify` wrote, with `verification.json`.

    Returns:
        Paths of `REPORT_FILES`.

    Raises:
        DataError: If there is no `verification.json`, or a file that is there cannot be used.
    """
    inputs = read_inputs(folder)
    document = build_document(inputs)
    content = plain(document)
    texts = (
        report_page(document),
        markdown(document),
        json.dumps(content, ensure_ascii=False, indent=1) + "\n",
        model_card(inputs),
    )
    pictures = inputs.folder / PICTURES
    pictures.mkdir(exist_ok=True)
    for picture in document.pictures:
        (pictures / f"{picture.id}.svg").write_text(picture.svg, encoding="utf-8")
    paths = [inputs.folder / name for name in REPORT_FILES]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def build_document(inputs: ReportInputs) -> Document:
    """Say all that a report says.

    Raises:
        DataError: If a file that the verification names is not there.
    """
    found = inputs.found
    sections = [section(inputs) for section in _SECTIONS]
    files = _files(inputs, sections)
    seeds = ", ".join(map(str, found.seeds))
    return Document(
        title=found.title,
        subtitle=f"Baseline and intervention on the same rows with the same seeds ({seeds}); "
        f"criterion {found.criterion.replace('_', ' ')} for {', '.join(found.attributes)}.",
        verdict=words.overall_status(found),
        headline=words.headline(found),
        sections=(*sections, closing.files(files)),
        files=files,
        version=version("fairlightning"),
    )


def _files(inputs: ReportInputs, sections: list[Section]) -> tuple[File, ...]:
    """Every file that a source names, `verification.json` first."""
    blocks = (block for section in sections for block in section.blocks)
    sources = [source for block in blocks for source in getattr(block, "sources", ())]
    paths = dict.fromkeys([VERIFICATION, *sorted(source.path for source in sources)])
    return tuple(inputs.file(path) for path in paths)
