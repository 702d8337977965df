"""Answers to counterfactual queries, with the effect along each path and what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairlightning.audit.causal import CausalModel, paths
from fairlightning.audit.declaration import JUDGEMENTS, Declaration, Query
from fairlightning.exceptions import DataError
from fairlightning.groups import as_labels

Array = npt.NDArray[Any]

FEWEST = 30
"""Rows of a group below which a query is not answered."""

PLACES = {"small effect": 0.05, "median effect": 0.5, "large effect": 0.95}
"""Examples: rows at these quantiles of the change, so that nobody picks them."""

DRAWS = 200
"""Draws of the noise of an example, which is known up to intervals."""

RANKING_DRAWS = 8
"""Draws of the noise of every row, over which the change that ranks it is averaged."""

LONGEST = 6
"""Most edges of a path whose effect is computed."""


def with_queries(declaration: Declaration, frame: pd.DataFrame) -> Declaration:
    """Ask about every protected attribute of the diagram, where no query is declared.

    Args:
        declaration: What people declared.
        frame: Rows; the second most frequent group of an attribute is given the most frequent one.
    """
    if declaration.queries:
        return declaration
    queries = []
    for name in declaration.graph:
        counts = as_labels(frame[name]).value_counts()
        if declaration.roles.get(name) == "protected" and len(counts) > 1:
            queries.append(Query(name, str(counts.index[1]), str(counts.index[0])))
    return replace(declaration, queries=tuple(queries))


def causal_rows(
    frame: pd.DataFrame, declaration: Declaration, numeric: Sequence[str], rows: int, seed: int
) -> tuple[pd.DataFrame, int]:
    """Rows to fit on: complete, of known groups, numbers as floats and all else as text.

    Args:
        frame: Source rows, in which an unknown group is missing.
        declaration: Whose graph names the columns.
        numeric: Columns that are numbers.
        rows: Most rows; a random sample if there are more.
        seed: Seed of the sample.

    Returns:
        The rows, and how many were left out because something is missing.

    Raises:
        DataError: If a column has one value only.
    """
    nodes = list(declaration.graph)
    complete = frame[nodes].dropna()
    left_out = len(frame) - len(complete)
    if len(complete) > rows:
        complete = complete.sample(rows, random_state=seed)
    columns: dict[str, Any] = {
        name: complete[name].astype(float) if name in numeric else as_labels(complete[name])
        for name in nodes
    }
    for name, column in columns.items():
        if column.nunique() < 2:
            raise DataError.of(
                f"causal.edges, column {name!r}",
                found=f"one value in {len(complete)} complete rows",
                expected="a column that varies",
                mend="take it out of the edges, or use more rows",
            )
    table = pd.DataFrame(columns, index=complete.index)
    return table.astype({n: object for n in nodes if n not in numeric}), left_out


def answers(
    frame: pd.DataFrame,
    declaration: Declaration,
    *,
    numeric: Sequence[str],
    outcome: str,
    positive: str,
    bootstraps: int = 20,
    examples: bool = True,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Answer every query of a declaration.

    The model is fitted once to the rows for the figures, and once to each of `bootstraps` samples
    of them for the spread: intervals are the figure ± 1.96 standard deviations.

    Args:
        frame: What `causal_rows` gives.
        declaration: Causes, judgements and queries.
        numeric: Columns that are numbers.
        outcome: The label.
        positive: Value of the label that counts as 1.
        bootstraps: Samples; with fewer than 5 there are no intervals.
        examples: Whether to show single rows.
        seed: Seed of all draws.
        advance: Called after each fit.

    Returns:
        For each query what `audit.json` holds under `counterfactuals`.
    """
    graph, random = declaration.graph, np.random.default_rng(seed)
    known: dict[str, Any] = {"numeric": numeric, "outcome": outcome, "positive": positive}
    routes = {q: paths(graph, q.attribute, outcome, LONGEST) for q in declaration.queries}
    model = CausalModel.fit(frame, graph, **known)
    figures = [_figures(model, frame, query, routes[query], random) for query in routes]
    advance()
    drawn: list[list[Array]] = [[] for _ in routes]
    for _ in range(bootstraps):
        sample = frame.iloc[random.integers(len(frame), size=len(frame))].reset_index(drop=True)
        if sample.nunique().min() > 1:
            again = CausalModel.fit(sample, graph, **known)
            for kept, query in zip(drawn, routes, strict=True):
                kept.append(_figures(again, sample, query, routes[query], random))
        advance()
    found = []
    for query, values, others in zip(routes, figures, drawn, strict=True):
        entry = _entry(query, frame, declaration, routes[query], values, np.array(others), known)
        shown = examples and np.isfinite(values).all()
        entry["examples"] = _examples(model, frame, query, random) if shown else []
        found.append(entry)
    return found


def _figures(
    model: CausalModel,
    frame: pd.DataFrame,
    query: Query,
    routes: Sequence[Sequence[str]],
    random: np.random.Generator,
) -> Array:
    """`(2 + P,)`: modelled base rate, total effect, and the effect along each of the paths."""
    rows = frame[frame[query.attribute] == query.group]
    if len(rows) < FEWEST or not (frame[query.attribute] == query.instead).any():
        return np.full(2 + len(routes), np.nan)
    noise = model.abduct(rows, random)
    observed = model.probability(rows)
    instead = model.probability(model.counterfactual(noise, query.attribute, query.instead))
    along = model.along(routes, rows, noise, query.instead) if routes else np.empty((0, len(rows)))
    return np.array([observed.mean(), (instead - observed).mean(), *along.mean(axis=1)])


def _entry(
    query: Query,
    frame: pd.DataFrame,
    declaration: Declaration,
    routes: Sequence[Sequence[str]],
    values: Array,
    others: Array,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    rows = frame[frame[query.attribute] == query.group]
    judged = [declaration.judge(path) for path in routes]

    def estimate(weights: Array) -> dict[str, float | None]:
        return _estimate(float(weights @ values), others @ weights if len(others) else np.empty(0))

    size = len(values)
    one = np.eye(size)
    sums = {
        kind: estimate(np.array([0.0, 0.0, *(judgement == kind for judgement in judged)]))
        for kind in (*JUDGEMENTS, "undeclared")
    }
    order = sorted(range(len(routes)), key=lambda place: -abs(values[2 + place]))
    return {
        "question": str(query),
        "attribute": query.attribute,
        "group": query.group,
        "instead": query.instead,
        "rows": len(rows),
        "base_rate": float((rows[known["outcome"]] == known["positive"]).mean())
        if len(rows)
        else None,
        "modelled": estimate(one[0]),
        "effect": estimate(one[1]),
        "by_judgement": sums,
        "interaction": estimate(np.array([0.0, 1.0, *(-1.0 for _ in routes)])),
        "paths": [
            {"path": list(routes[i]), "judgement": judged[i], **estimate(one[2 + i])} for i in order
        ],
    }


def _estimate(value: float, others: Array) -> dict[str, float | None]:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    others = others[np.isfinite(others)]
    if len(others) < 5:
        return {"value": float(value), "low": None, "high": None}
    half = 1.96 * float(others.std(ddof=1))
    return {"value": float(value), "low": float(value) - half, "high": float(value) + half}


def _examples(
    model: CausalModel, frame: pd.DataFrame, query: Query, random: np.random.Generator
) -> list[dict[str, Any]]:
    rows = frame[frame[query.attribute] == query.group]
    instead = sum(
        model.probability(
            model.counterfactual(model.abduct(rows, random), query.attribute, query.instead)
        )
        for _ in range(RANKING_DRAWS)
    )
    order = (instead / RANKING_DRAWS - model.probability(rows)).argsort(kind="stable")
    picked = {place: order[int(share * (len(order) - 1))] for place, share in PLACES.items()}
    return [
        _example(model, rows.iloc[[position]], query, place, random)
        for place, position in picked.items()
    ]


def _example(
    model: CausalModel, row: pd.DataFrame, query: Query, place: str, random: np.random.Generator
) -> dict[str, Any]:
    """One row, averaged over the noise under which it is what was observed."""
    copies = row.loc[row.index.repeat(DRAWS)].reset_index(drop=True)
    drawn = model.counterfactual(model.abduct(copies, random), query.attribute, query.instead)
    changed: dict[str, dict[str, Any]] = {}
    for node in model.graph:
        if node in (query.attribute, model.outcome):
            continue
        values = drawn[node]
        if node in model.numeric:
            mean = float(values.astype(float).mean())
            if abs(mean - float(row[node].iloc[0])) > 1e-6:
                changed[node] = {"value": mean, "share": None}
        else:
            counts = values.value_counts(normalize=True)
            if counts.get(row[node].iloc[0], 0.0) < 1:
                changed[node] = {"value": str(counts.index[0]), "share": float(counts.iloc[0])}
    return {
        "row": int(row.index[0]),
        "place": place,
        "observed": row.iloc[0].to_dict(),
        "counterfactual": changed,
        "probability": float(model.probability(row)[0]),
        "counterfactual_probability": float(model.probability(drawn).mean()),
    }
