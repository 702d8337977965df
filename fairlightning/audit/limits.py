"""What an audit takes for granted, and what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx

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
    if declaration.from_roles:
        told.append(
            "No edges are declared. Those drawn follow from roles alone: attributes and context "
            "cause mediators, all of them the label, and attributes their proxies."
        )
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


def unknowns(declaration: Declaration, columns: Sequence[str], rates: Entries) -> list[str]:
    """What nobody knows or has said: small groups, columns and influences without a word.

    Args:
        declaration: What people declared.
        columns: Columns of the table.
        rates: Base rates of the groups.
    """
    lists = {
        f"Fewer than {SMALL_SUPPORT} rows, where chance alone moves a rate widely": [
            entry["group"] for entry in rates if entry["support"] < SMALL_SUPPORT
        ],
        "Columns without a declared role": [n for n in columns if n not in declaration.roles],
        "Columns with a role that the diagram leaves out": [
            name
            for name in declaration.roles
            if declaration.edges and name not in declaration.graph
        ],
        "Influences that nobody judged": _unjudged(declaration),
    }
    return [
        *(f"{words}: {', '.join(names)}." for words, names in lists.items() if names),
        "Proxy strengths are of this table's rows; a feature that tells nothing alone may do so "
        "with others, which the figure of all together shows.",
    ]


def spreads(found: Entries | None, left_out: int, rows: int, bootstraps: int) -> list[str]:
    """What effects rest on.

    Args:
        found: Answers to the queries; None if there are none.
        left_out: Training rows that the causal model leaves out.
        rows: Most rows that it is fitted to.
        bootstraps: Its refits.
    """
    if found is None:
        return []
    told = [
        f"Effects rest on at most {rows:,} training rows and {bootstraps} refits (intervals are "
        "± 1.96 standard deviations); errors of the diagram are not in them.",
        f"Paths of more than {LONGEST} edges are part of the interaction.",
    ]
    if left_out:
        told.append(
            f"{left_out:,} training rows with a missing value are left out of the causal model."
        )
    return told + [
        f"Not answered for want of rows: {entry['question']}."
        for entry in found
        if entry["effect"]["value"] is None
    ]


def _unjudged(declaration: Declaration) -> list[str]:
    """Nodes between an attribute that is asked about and the outcome that have no judgement."""
    graph = declaration.graph
    outcome = next((name for name, role in declaration.roles.items() if role == "outcome"), None)
    return [
        f"{attribute} through {node}"
        for attribute in dict.fromkeys(query.attribute for query in declaration.queries)
        for node in graph
        if node not in (attribute, outcome)
        and node not in declaration.judgements.get(attribute, {})
        and {attribute, outcome} <= set(graph)
        and nx.has_path(graph, attribute, node)
        and nx.has_path(graph, node, outcome)
    ]
