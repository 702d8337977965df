"""A report as data: sections of text, tables and pictures, each beside the files that it is from.

One document is written as a page (`report.pages.report_page`), as Markdown (`report.markdown`) and
as JSON (`report.plain`), so that the three cannot say different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

State = Literal["good", "note", "bad", "open"]
"""What a word of a verdict means: met, met with a note, not met, not enough evidence."""


class Source(NamedTuple):
    """A file that something was read or computed from.

    Attributes:
        path: Path relative to the report, with `/` between its parts.
        what: What of the file, such as `"stage test"`; empty for all of it.
    """

    path: str
    what: str = ""


class Number(NamedTuple):
    """A figure, of which tables show a few digits and `report.json` all.

    Attributes:
        value: The figure; None where it is not estimable.
        low: Lower end of its interval; None without an interval.
        high: Upper end of its interval; None without an interval.
        deviation: Its standard deviation from seed to seed; None where that is not known.
        support: Rows that it is over; None where that says nothing.
        digits: Digits after the point that are shown.
        sign: Whether a sign is shown, as of a change.
        unit: What is written behind it, such as `" %"`.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    support: int | None = None
    digits: int = 3
    sign: bool = False
    unit: str = ""


class Status(NamedTuple):
    """A word of a verdict.

    Attributes:
        word: The word itself, such as `"not enough evidence"`.
        state: What it means, which gives it its mark and colour.
    """

    word: str
    state: State


Cell = str | Number | Status


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        key: Its name in `report.json`, unique within the table.
        title: Its name for people.
    """

    key: str
    title: str


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Plain text.
        kind: `"plain"`, or `"heading"`, above what belongs together.
        sources: Files that its figures are from.
    """

    text: str
    kind: Literal["plain", "heading"] = "plain"
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Bullets:
    """A list of sentences.

    Attributes:
        items: The sentences.
        sources: Files that their figures are from.
    """

    items: tuple[str, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Code:
    """Lines to copy as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        id: Its name in links, unique within the document.
        caption: What is seen.
        columns: At least one column.
        rows: Rows, with a cell for each column.
        sources: Files that its figures are from.
        note: What has to be known to read it.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sources: tuple[Source, ...]
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        caption: str,
        columns: Mapping[str, str],
        rows: Iterable[Sequence[Cell]],
        sources: Iterable[Source],
        note: str = "",
    ) -> Table:
        """A table of which `columns` gives the title for each key, from the left."""
        heads = tuple(Column(key, title) for key, title in columns.items())
        return cls(name, caption, heads, tuple(map(tuple, rows)), tuple(sources), note)

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.id
        assert len({column.key for column in self.columns}) == len(self.columns), self.id


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        id: Its name in links and of its file, unique within the document.
        caption: What is seen.
        alternative: The same in words, for those who do not see it.
        svg: The picture, a whole SVG file.
        sources: Files that its figures are from.
    """

    id: str
    caption: str
    alternative: str
    svg: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Missing:
    """Something that belongs in a report and is not there.

    Attributes:
        what: What is missing, and what therefore is not known.
        mend: How to get it.
    """

    what: str
    mend: str


Block = Text | Bullets | Code | Table | Picture | Missing


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        id: Its name in links, unique within the document.
        title: What it is about.
        blocks: What stands in it, in order.
        appendix: Whether it comes after the main text.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]
    appendix: bool = False


class File(NamedTuple):
    """A file that the document is made from.

    Attributes:
        path: Path relative to the report.
        size: Bytes; None where the file is not there.
        sha256: Fingerprint, as `sha256sum` prints it; None where the file is not there.
    """

    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: What was verified.
        subtitle: When and how.
        verdict: The overall verdict.
        headline: The verdict in a sentence.
        sections: Main text first, appendices last.
        files: Every file that a source names.
        version: Version of this package.
    """

    title: str
    subtitle: str
    verdict: Status
    headline: str
    sections: tuple[Section, ...]
    files: tuple[File, ...]
    version: str

    def __post_init__(self) -> None:
        of_blocks = (getattr(block, "id", None) for block in self.blocks())
        ids = [*(section.id for section in self.sections), *filter(None, of_blocks)]
        assert len(ids) == len(set(ids)), f"twice: {sorted({i for i in ids if ids.count(i) > 1})}"

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order."""
        return (block for section in self.sections for block in section.blocks)

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [block for block in self.blocks() if isinstance(block, Picture)]

    @property
    def missing(self) -> list[Missing]:
        """All that is missing."""
        return [block for block in self.blocks() if isinstance(block, Missing)]


ABSENT = "–"


def number_text(number: Number) -> str:
    """Write a figure and its deviation, without its interval.

    >>> number_text(Number(0.8512)), number_text(Number(0.8512, deviation=0.0041))
    ('0.851', '0.851 ± 0.004')
    >>> number_text(Number(-1.234, digits=1, sign=True, unit=" %"))
    '−1.2 %'
    >>> number_text(Number(None)), number_text(Number(45222, digits=0))
    ('–', '45,222')
    """
    if number.value is None:
        return ABSENT
    text = f"{abs(number.value):,.{number.digits}f}"
    zero = not text.strip("0.,")
    sign = "" if zero else "−" if number.value < 0 else "+" if number.sign else ""
    spread = "" if number.deviation is None else f" ± {number.deviation:.{number.digits}f}"
    return sign + text + spread + number.unit


def interval_text(number: Number) -> str:
    """Write the interval of a figure; empty without one.

    >>> interval_text(Number(0.05, 0.0312, 0.0749)), interval_text(Number(0.5, low=0.4))
    ('0.031 to 0.075', '0.400 to –')
    """
    if number.value is None or (number.low is None and number.high is None):
        return ""
    alone = number._replace(unit="", deviation=None)
    ends = (number_text(alone._replace(value=end)) for end in (number.low, number.high))
    return " to ".join(ends) + number.unit
