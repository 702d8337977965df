"""The eleven items that have to hold before a fair model is handed on, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fairlightning.exceptions import DataError
from fairlightning.verification.files import existing
from fairlightning.verification.results import Checklist, ChecklistItem

ITEMS = (
    "The baseline is measured with the same data, splits and seeds",
    "Sensitive attributes and all their intersections are declared and measured",
    "The fairness definition is chosen, and the reason is written down",
    "The technique is chosen by the compatibility matrix for the model",
    "The fairness objective is in the loss, and its gradient reaches the model",
    "Its strength (λ or bound) is chosen on validation",
    "The loss of accuracy keeps to its bound",
    "The gap improves by the share that is asked for",
    "Robustness is examined, and no group or intersection is harmed",
    "Results are reproducible",
    "Documentation, monitoring after deployment and responsibilities are settled",
)
"""What is asked for, in order."""

REQUIRED = 0.8
"""Share of the items that has to be ticked."""


class Evidence(NamedTuple):
    """What the run shows about an item.

    Attributes:
        holds: Whether it shows that the item holds.
        text: What was found.
        sources: Files that show it.
    """

    holds: bool
    text: str
    sources: tuple[str, ...]


class Statement(NamedTuple):
    """What a person signs for.

    Attributes:
        item: Number of the item, from 1.
        name: Who states it.
        date: When.
        statement: What is stated.
    """

    item: int
    name: str
    date: date
    statement: str


def checklist(
    evidence: Mapping[int, Evidence],
    statements: Mapping[int, Statement],
    *,
    source: str | None = None,
    required: float = REQUIRED,
) -> Checklist:
    """Tick what evidence or a person's statement speaks for.

    A statement never hides what the run shows against an item: that is kept beside it.

    Args:
        evidence: By number of the item.
        statements: By number of the item.
        source: File of the statements.
        required: Share of the items that has to be ticked.
    """
    items = tuple(
        _item(number, title, evidence.get(number), statements.get(number), source)
        for number, title in enumerate(ITEMS, 1)
    )
    share = sum(item.ticked for item in items) / len(items)
    return Checklist(items, share, required, share >= required)


def _item(
    number: int,
    title: str,
    found: Evidence | None,
    stated: Statement | None,
    source: str | None,
) -> ChecklistItem:
    text = found.text if found else "no evidence in the run; a person has to state it"
    sources = found.sources if found else ()
    if found and found.holds:
        return ChecklistItem(number, title, True, "evidence", text, sources)
    if stated is None:
        return ChecklistItem(number, title, False, None, text, sources)
    text = f"{stated.statement} (the run: {found.text})" if found else stated.statement
    sources = (*sources, source) if source else sources
    when = stated.date.isoformat()
    return ChecklistItem(number, title, True, "statement", text, sources, stated.name, when)


def read_statements(path: str | Path) -> dict[int, Statement]:
    """Read signed statements.

    Args:
        path: YAML file with a list of entries `item` (1 to 11), `name`, `date` (YYYY-MM-DD) and
            `statement`.

    Raises:
        DataError: If there is no such file, an entry lacks something, or an item is stated twice.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "statements.yaml"
    >>> _ = path.write_text("- {item: 3, name: A. B., date: 2026-01-31, statement: By law.}")
    >>> read_statements(path)[3].name
    'A. B.'
    """
    path = existing(path)
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise _refused(path, f"what is no YAML ({error})") from error
    if not isinstance(entries, list):
        raise _refused(path, "no list")
    statements: dict[int, Statement] = {}
    for number, entry in enumerate(entries, 1):
        found = _statement(path, number, entry)
        if found.item in statements:
            raise _refused(path, f"item {found.item} twice")
        statements[found.item] = found
    return statements


def _statement(path: Path, number: int, entry: Any) -> Statement:
    if not isinstance(entry, dict) or entry.keys() != set(Statement._fields):
        raise _refused(path, f"{entry!r:.60} as entry {number}")
    found = Statement(**entry)
    item_fine = isinstance(found.item, int) and 1 <= found.item <= len(ITEMS)
    texts = (found.name, found.statement)
    if not item_fine or not all(isinstance(text, str) and text.strip() for text in texts):
        raise _refused(path, f"{entry!r:.60} as entry {number}")
    if type(found.date) is not date:
        raise _refused(path, f"the date {found.date!r} in entry {number}")
    return found


def _refused(path: Path, found: str) -> DataError:
    return DataError.of(
        str(path),
        found=found,
        expected=f"a list of item (1 to {len(ITEMS)}), name, date (YYYY-MM-DD) and statement",
        mend="see docs/verification.md for an example",
    )
