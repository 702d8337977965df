"""Matrix, tree and trade-offs as the tables of `docs/advisor.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairlightning.advisor.matrix import FAMILIES, RATINGS, TECHNIQUES
from fairlightning.advisor.options import Option
from fairlightning.advisor.tree import DEFINITIONS, MODELS, TREE, commands
from fairlightning.advisor.ways import OPTIONS


def matrix_table() -> str:
    """The compatibility matrix."""
    rows = [
        [family, *(RATINGS[family, technique].level for technique in TECHNIQUES)]
        for family in FAMILIES
    ]
    return _table(["", *(name.replace("_", "-") for name in TECHNIQUES)], rows)


def reasons_table() -> str:
    """The reason of every cell, and the alternative of the poor ones."""
    rows = [
        [f"{family}, {technique}", told.level, told.reason, told.alternative or ""]
        for (family, technique), told in RATINGS.items()
    ]
    return _table(["cell", "level", "reason", "instead"], rows)


def tree_table() -> str:
    """Every leaf of the decision tree with the command that runs it."""
    rows = []
    for family, leaves in TREE.items():
        for definition in DEFINITIONS:
            if definition in leaves:
                option = OPTIONS[leaves[definition][0]]
                run = commands(option, definition, f"model={MODELS[family]}")
                typed = "<br>".join(f"`{line}`" for line in run)
                rows.append([family, definition, option.name, typed])
    return _table(["model", "definition", "technique", "command"], rows)


def trade_offs_table() -> str:
    """What each technique costs; of two options of one name the first is shown."""
    first: dict[str, Option] = {}
    for option in OPTIONS.values():
        first.setdefault(option.name, option)
    rows = [
        [
            option.name,
            option.training_time,
            option.explainability,
            option.deployment,
            option.stability,
        ]
        for option in first.values()
    ]
    return _table(["technique", "training time", "explainability", "deployment", "stability"], rows)


TABLES = {
    "matrix": matrix_table,
    "reasons": reasons_table,
    "tree": tree_table,
    "trade-offs": trade_offs_table,
}
"""Tables of the page, each between the comments `<!-- NAME -->` and `<!-- end -->`."""


def filled(page: str) -> str:
    """Write the tables into a page.

    Args:
        page: Text with the comments that `TABLES` names.

    Returns:
        The text with whatever was between them replaced.
    """
    for name, make in TABLES.items():
        head, mark, rest = page.partition(f"<!-- {name} -->")
        if mark:
            tail = rest.partition("<!-- end -->")[2]
            page = f"{head}{mark}\n\n{make()}\n\n<!-- end -->{tail}"
    return page


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def main(arguments: Sequence[str]) -> None:
    """Write the tables into the pages that the arguments name."""
    for name in arguments:
        path = Path(name)
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
