"""A document as Markdown: `report.md`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

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
    interval_text,
    number_text,
)
from fairlightning.report.plain import PICTURES

MARKS = {"good": "✔", "note": "✔", "bad": "✘", "open": "?"}
"""Signs beside the words of a verdict, which colour alone would not tell apart."""

_MOST = 3
"""Most sources that are spelled out, or one more."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def markdown(document: Document) -> str:
    """Write a document as GitHub's Markdown.

    Returns:
        The text; pictures are links to the files of `PICTURES`, sources to the files of the run.
    """
    parts = [
        f"# {escaped(document.title)}",
        escaped(document.subtitle),
        f"> **{MARKS[document.verdict.state]} {escaped(document.verdict.word)}.** "
        f"{escaped(document.headline)}",
    ]
    appended = False
    for section in document.sections:
        if section.appendix and not appended:
            parts.append("---\n\n# Appendices")
            appended = True
        parts.append(f"## {escaped(section.title)}")
        parts += [_block(block) for block in section.blocks]
    parts.append(f"---\n\nMade by fairlightning {document.version}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    r"""Escape what Markdown would read as its own signs.

    >>> print(escaped("sex & race_2 | <b>"))
    sex \& race\_2 \| \<b\>
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Escape a text but for what stands between backticks."""
    parts = text.split("`")
    return "`".join(p if i % 2 else _SPECIAL.sub(r"\\\1", p) for i, p in enumerate(parts))


def table_text(table: Table) -> str:
    """Write the rows of a table, without its caption and sources."""
    head = "| " + " | ".join(escaped(column.title) or " " for column in table.columns) + " |"
    numeric = [
        bool(table.rows) and all(isinstance(row[i], Number) for row in table.rows)
        for i in range(len(table.columns))
    ]
    rule = "|" + "|".join("---:" if number else "---" for number in numeric) + "|"
    rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
    return "\n".join([head, rule, *rows])


def _block(block: Block) -> str:
    if isinstance(block, Text):
        text = escaped(block.text)
        return f"### {text}" if block.kind == "heading" else _beside(text, block.sources)
    if isinstance(block, Bullets):
        items = "\n".join(f"- {escaped(item)}" for item in block.items)
        return "\n\n".join(filter(None, (items, _sources(block.sources))))
    if isinstance(block, Code):
        return f"```text\n{block.text}\n```"
    if isinstance(block, Missing):
        return f"> **Missing.** {_code(block.what)} To add it: {_code(block.mend)}"
    if isinstance(block, Picture):
        picture = f"![{escaped(block.alternative)}]({PICTURES}/{block.id}.svg)"
        return f"{picture}\n\n" + _beside(f"*{escaped(block.caption)}*", block.sources)
    note = f"{escaped(block.note)} " if block.note else ""
    caption = f"**{escaped(block.caption)}**"
    return f"{caption}\n\n{table_text(block)}\n\n{note}{_sources(block.sources)}".rstrip()


def _beside(text: str, sources: tuple[Source, ...]) -> str:
    return f"{text} {_sources(sources)}".rstrip()


def _cell(cell: Cell) -> str:
    if isinstance(cell, Number):
        interval = interval_text(cell)
        return number_text(cell) + (f" ({interval})" if interval else "")
    if isinstance(cell, Status):
        return f"{MARKS[cell.state]} {escaped(cell.word)}"
    return escaped(cell) or " "


def _sources(sources: tuple[Source, ...]) -> str:
    if not sources:
        return ""
    links = [
        f"[{escaped(source.path)}]({quote(source.path)})"
        + (f" ({escaped(source.what)})" if source.what else "")
        for source in shown_sources(sources)
    ]
    return f"Source: {', '.join(links)}{more_sources(sources)}"


def shown_sources(sources: Sequence[Source]) -> Sequence[Source]:
    """Sources that are spelled out; `report.json` has all of them beside each figure."""
    return sources[:_MOST] if len(sources) > _MOST + 1 else sources


def more_sources(sources: Sequence[Source]) -> str:
    """The end of a list of sources, which counts those that are not spelled out."""
    rest = len(sources) - len(shown_sources(sources))
    return f" and {rest} more like the last, listed in report.json." if rest else "."
