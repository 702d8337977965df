"""A document as plain values: what `report.json` holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairlightning.exceptions import DataError
from fairlightning.report.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Missing,
    Number,
    Picture,
    Source,
    Status,
    Table,
    Text,
)

SCHEMA_PATH = Path(__file__).parent / "report.schema.json"
"""The JSON Schema of `report.json`."""

VERSION = 1
"""Version of `report.json`; raised when it changes its form."""

_NUMBER = ("value", "low", "high", "deviation", "support")

PICTURES = "report_pictures"
"""Folder, beside the report, of its pictures as files."""


def plain(document: Document) -> dict[str, Any]:
    """The document in plain values, figures with all their digits.

    Raises:
        DataError: If it does not keep to the schema, such as for a number that is not finite.
    """
    content = {
        "schema": VERSION,
        "version": document.version,
        "title": document.title,
        "subtitle": document.subtitle,
        "verdict": {**document.verdict._asdict(), "headline": document.headline},
        "sections": [
            {
                "id": section.id,
                "title": section.title,
                "appendix": section.appendix,
                "blocks": [_block(block) for block in section.blocks],
            }
            for section in document.sections
        ],
        "missing": [{"what": block.what, "mend": block.mend} for block in document.missing],
        "files": [file._asdict() for file in document.files],
    }
    check_report(content)
    return content


def check_report(content: object) -> None:
    """Check what `report.json` holds against its schema.

    Args:
        content: What was read from the file.

    Raises:
        DataError: If it does not keep to the schema; the message names the entry.
    """
    from jsonschema import Draft202012Validator

    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    error = next(iter(sorted(Draft202012Validator(schema).iter_errors(content), key=str)), None)
    if error is not None:
        raise DataError.of(
            f"report.json at {error.json_path}",
            found=f"{error.instance!r:.80} ({error.message:.200})",
            expected=f"what {SCHEMA_PATH.name} says",
            mend="write the report anew with `fairlightning report`",
        )
    try:
        json.dumps(content, allow_nan=False)
    except ValueError as reason:
        raise DataError.of(
            "report.json",
            found="a number that is not finite",
            expected="finite numbers, or null where there is none",
            mend="look for it in the files that the report is made from",
        ) from reason


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {
            "type": "text",
            "kind": block.kind,
            "text": block.text,
            "sources": _sources(block.sources),
        }
    if isinstance(block, Bullets):
        return {"type": "list", "items": list(block.items), "sources": _sources(block.sources)}
    if isinstance(block, Code):
        return {"type": "code", "text": block.text}
    if isinstance(block, Missing):
        return {"type": "missing", "what": block.what, "mend": block.mend}
    if isinstance(block, Picture):
        return {
            "type": "picture",
            "id": block.id,
            "caption": block.caption,
            "alternative": block.alternative,
            "file": f"{PICTURES}/{block.id}.svg",
            "sources": _sources(block.sources),
        }
    return _table(block)


def _table(table: Table) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    return {
        "type": "table",
        "id": table.id,
        "caption": table.caption,
        "columns": [column._asdict() for column in table.columns],
        "rows": [dict(zip(keys, map(_cell, row), strict=True)) for row in table.rows],
        "note": table.note,
        "sources": _sources(table.sources),
    }


def _cell(cell: Cell) -> str | dict[str, Any]:
    if isinstance(cell, Number):
        return {name: getattr(cell, name) for name in _NUMBER}
    return cell._asdict() if isinstance(cell, Status) else cell


def _sources(sources: tuple[Source, ...]) -> list[dict[str, str]]:
    return [source._asdict() for source in sources]
