"""What an audit takes for granted, and what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlightning.audit.declaration import Declaration
from fairlightning.audit.effects import LONGEST
from fairlightning.metrics import SMALL_SUPPORT

Entries = Sequence[dict[str, Any]]


def assumptions(declaration: Declaration, found: Entries | None) -> list[str]:
    """What everything about causes takes for granted.

    Args:
        declaration: What people declared.
        found: Answers to the queries; None if there are none.
    """
    told = ["Protected attributes and the label are those of the data set's configuration."]
    if not declaration.edges:
        return [*told, "No causes are declared, so nothing here is a statement about causes."]
    told += [
        "The causal diagram is declared, not found in the data: "
        + (declaration.basis or "no basis is given."),
        "Whether an influence is fair is a judgement of those who declared it; a path with one "
        "unfair node counts as unfair, one with a node that nobody judged as undeclared.",
    ]
    if found is None:
        return told
    return [
        *told,
        "No unobserved common cause of two nodes of the diagram; where there is one, effects "
        "along paths through these nodes are not identified.",
        "Numbers are a function of their causes plus independent noise; categories share one "
        "uniform draw in alphabetical order. Which category a person would have had is thereby "
        "assumed, and the data cannot tell it.",
        "What passes along one path is computed with all other inputs as they were observed; what "
        "paths do together is shown as their interaction.",
    ]


def uncertainties(
    declaration: Declaration,
    columns: Sequence[str],
    rates: Entries,
    found: Entries | None,
    *,
    left_out: int,
    rows: int,
    bootstraps: int,
) -> list[str]:
    """What is not known: small groups, columns and influences without a word, spread of effects.

    Args:
        declaration: What people declared.
        columns: Columns of the table.
        rates: Base rates of the groups.
        found: Answers to the queries; None if there are none.
        left_out: Training rows that the causal model leaves out.
        rows: Most rows that it is fitted to.
        bootstraps: Its refits.
    """
    small = [e["group"] for e in rates if e["support"] < SMALL_SUPPORT]
    unjudged = [
        f"{attribute} through {node}"
        for attribute in dict.fromkeys(query.attribute for query in declaration.queries)
        for node in declaration.graph
        if declaration.roles.get(node) in ("mediator", "proxy", None)
        and node not in declaration.judgements.get(attribute, {})
    ]
    undeclared = [name for name in columns if name not in declaration.roles]
    outside = [n for n in declaration.roles if declaration.edges and n not in declaration.graph]
    told: list[str] = []
    if small:
        told.append(
            f"Fewer than {SMALL_SUPPORT} rows, where chance alone moves a rate widely: "
            f"{', '.join(small)}."
        )
    if undeclared:
        told.append(f"Columns without a declared role: {', '.join(undeclared)}.")
    if outside:
        told.append(f"Columns with a role that the diagram leaves out: {', '.join(outside)}.")
    if unjudged:
        told.append(f"Influences that nobody judged: {', '.join(unjudged)}.")
    told.append(
        "Proxy strengths are of this table's rows; a feature that tells nothing alone may do so "
        "with others, which the figure of all together shows."
    )
    if found is not None:
        told.append(
            f"Effects rest on at most {rows:,} training rows and {bootstraps} refits "
            "(intervals are ± 1.96 standard deviations); errors of the diagram are not in them."
        )
        told.append(f"Paths of more than {LONGEST} edges are part of the interaction.")
        if left_out:
            told.append(
                f"{left_out:,} training rows with a missing value are left out of the causal model."
            )
        told += [
            f"Not answered for want of rows: {entry['question']}."
            for entry in found
            if entry["effect"]["value"] is None
        ]
    return told
