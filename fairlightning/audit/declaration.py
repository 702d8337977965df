"""What people declare about a table: roles of columns, causes, and which paths are fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from fairlightning.exceptions import DataError, check_choice

ROLES = ("protected", "proxy", "mediator", "context", "outcome")
"""Parts that a column can play; `context` is what has causes of its own, such as age."""

JUDGEMENTS = ("fair", "unfair")
DIRECT = "direct"
"""Name of the path without a node between attribute and outcome."""


@dataclass(frozen=True)
class Judgement:
    """Whether an influence through a node is acceptable, as somebody declared.

    Attributes:
        judgement: `fair` or `unfair`.
        reason: Why.
    """

    judgement: str
    reason: str = ""


@dataclass(frozen=True)
class Query:
    """What would have become of the rows of a group, had they been of another.

    Attributes:
        attribute: Protected attribute.
        group: Category of the rows that are asked about.
        instead: Category that they are given.
    """

    attribute: str
    group: str
    instead: str

    def __str__(self) -> str:
        return f"had {self.attribute} been {self.instead} for {self.attribute}={self.group}"


@dataclass(frozen=True)
class Declaration:
    """Roles, causes and judgements of the columns of a table.

    Attributes:
        roles: Role of each column, by its name.
        edges: Causes: `(cause, effect)`.
        judgements: For each protected attribute the judgement on the influence through each node,
            and on the `direct` one.
        queries: Counterfactual questions.
        basis: What the declaration rests on, in words.
        from_roles: Whether the causes were not declared, but follow from the roles.
    """

    roles: Mapping[str, str]
    edges: tuple[tuple[str, str], ...] = ()
    judgements: Mapping[str, Mapping[str, Judgement]] = field(default_factory=dict)
    queries: tuple[Query, ...] = ()
    basis: str = ""
    from_roles: bool = False

    @property
    def graph(self) -> nx.DiGraph:
        """The causes as a graph over the columns that occur in an edge."""
        return nx.DiGraph(self.edges)

    def judge(self, path: Sequence[str]) -> str:
        """Classify a path from a protected attribute to the outcome.

        Args:
            path: Columns from attribute to outcome.

        Returns:
            `unfair` if a node on it is declared unfair, `fair` if all its nodes are declared fair,
            else `undeclared`. A path without nodes between the ends is judged as `direct`.

        >>> told = {"sex": {"direct": Judgement("unfair"), "job": Judgement("fair")}}
        >>> declared = Declaration({}, judgements=told)
        >>> declared.judge(["sex", "y"]), declared.judge(["sex", "job", "y"])
        ('unfair', 'fair')
        """
        declared = self.judgements.get(path[0], {})
        nodes = list(path[1:-1]) or [DIRECT]
        found = [declared[node].judgement if node in declared else None for node in nodes]
        if "unfair" in found:
            return "unfair"
        return "fair" if all(judgement == "fair" for judgement in found) else "undeclared"


def read_declaration(
    causal: Mapping[str, Any] | None,
    columns: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    target: str,
) -> Declaration:
    """Check the part `causal` of a data set's configuration.

    Sensitive attributes are protected and the label is the outcome without being declared. Where
    roles are declared but no causes, the usual ones are drawn: attributes and context cause
    mediators, all of them cause the outcome, and attributes cause proxies.

    Args:
        causal: `roles` (column: role), `edges` (cause: list of effects), `paths` (attribute:
            node or `direct`: judgement, or `{judgement, reason}`), `queries` (list of `{attribute,
            group, instead}`) and `basis`; None if nothing is declared.
        columns: Columns of the table.
        groups: Sensitive attributes and their categories.
        target: Label.

    Raises:
        DataError: If a key, column, role or judgement is not known, an attribute or the label has
            another role, or causes form a circle.
    """
    causal = dict(causal or {})
    for key in causal:
        _choice("causal", key, ("basis", "roles", "edges", "paths", "queries"))
    roles = {str(name): str(role) for name, role in dict(causal.get("roles") or {}).items()}
    fixed = {**dict.fromkeys(groups, "protected"), target: "outcome"}
    for name, role in roles.items():
        _choice("causal.roles", name, columns)
        _choice(f"causal.roles.{name}", role, ROLES)
        if role in ("protected", "outcome") or name in fixed:
            _same_role(name, role, fixed.get(name))
    pairs = dict(causal.get("edges") or {}).items()
    edges = tuple((str(cause), str(effect)) for cause, effects in pairs for effect in effects or ())
    for edge in edges:
        for name in edge:
            _choice("causal.edges", name, columns)
    from_roles = not edges and bool(roles.keys() - fixed.keys())
    if from_roles:
        edges = _edges_of({**roles, **fixed})
    _check_graph(edges, target)
    nodes = {DIRECT, *(name for edge in edges for name in edge)}
    judgements = {
        _choice("causal.paths", str(attribute), groups): {
            _choice(f"causal.paths.{attribute}", str(node), nodes): _judgement(
                attribute, node, told
            )
            for node, told in dict(of).items()
        }
        for attribute, of in dict(causal.get("paths") or {}).items()
    }
    queries = tuple(_query(entry, groups) for entry in causal.get("queries") or ())
    for query in queries:
        if edges:
            _choice("causal.queries", query.attribute, nodes)
    basis = str(causal.get("basis") or "")
    return Declaration({**roles, **fixed}, edges, judgements, queries, basis, from_roles)


_EFFECTS = {
    "protected": ("mediator", "proxy", "outcome"),
    "context": ("mediator", "outcome"),
    "mediator": ("outcome",),
}
"""Roles that a role causes, where nothing else is declared."""


def _edges_of(roles: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (cause, effect)
        for cause, role in roles.items()
        for effect, other in roles.items()
        if other in _EFFECTS.get(role, ())
    )


def _choice(argument: str, value: str, choices: Any) -> str:
    try:
        return check_choice(argument, value, choices)
    except ValueError as error:
        raise DataError(str(error)) from error


def _same_role(name: str, role: str, fixed: str | None) -> None:
    if role != fixed:
        raise DataError.of(
            f"causal.roles.{name}",
            found=repr(role),
            expected=f"{fixed!r}, as the data set has it"
            if fixed
            else "proxy, mediator or context, as it is neither sensitive attribute nor label",
            mend="change the role here, or sensitive and target of the data set",
        )


def _check_graph(edges: Sequence[tuple[str, str]], target: str) -> None:
    graph = nx.DiGraph(edges)
    if not nx.is_directed_acyclic_graph(graph):
        circle = " → ".join(str(cause) for cause, _ in nx.find_cycle(graph))
        raise DataError.of(
            "causal.edges",
            found=f"a circle, {circle}",
            expected="causes that precede their effects",
            mend="take out one of these edges",
        )
    if edges and target not in graph:
        raise DataError.of(
            "causal.edges",
            found=f"no cause of the label {target!r}",
            expected="at least one edge to it",
            mend=f"name {target!r} among the effects of its causes",
        )


def _judgement(attribute: object, node: object, told: object) -> Judgement:
    entry = dict(told) if isinstance(told, Mapping) else {"judgement": told}
    name = f"causal.paths.{attribute}.{node}"
    for key in entry:
        _choice(name, str(key), ("judgement", "reason"))
    judgement = _choice(name, str(entry.get("judgement")), JUDGEMENTS)
    return Judgement(judgement, str(entry.get("reason", "")))


def _query(entry: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Query:
    for key in entry:
        _choice("causal.queries", str(key), ("attribute", "group", "instead"))
    attribute = _choice("causal.queries.attribute", str(entry.get("attribute")), groups)
    ends = (str(entry.get(key)) for key in ("group", "instead"))
    return Query(
        attribute,
        *(_choice(f"causal.queries of {attribute}", end, groups[attribute]) for end in ends),
    )
