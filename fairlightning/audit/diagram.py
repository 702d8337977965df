"""The declared causal diagram as a picture."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fairlightning.audit.declaration import DIRECT, Declaration

FILLS = {
    "protected": "#f4c7c3",
    "proxy": "#fce8b2",
    "mediator": "#cfe2f3",
    "context": "#e8eaed",
    "outcome": "#d9ead3",
}
LINES = {"unfair": "#b3261e", "fair": "#1b7a3d", None: "#8a8f98"}


def causal_figure(declaration: Declaration) -> Figure:
    """Draw causes from left to right.

    Colours of nodes are roles. An edge out of a protected attribute has the colour of the judgement
    on the node that it leads to, or on the direct influence.

    Args:
        declaration: Whose edges are drawn; there must be some.
    """
    graph = declaration.graph
    place = _places(graph)
    width = 1.5 + 1.75 * (1 + max(x for x, _ in place.values()))
    tallest = max(y for _, y in place.values()) - min(y for _, y in place.values())
    figure = Figure(figsize=(width, 2.2 + 1.1 * tallest), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axis_off()
    for cause, effect in graph.edges:
        span = place[effect][0] - place[cause][0]
        bend = 0.0 if span <= 1 else (-0.18 if place[cause][1] >= 0 else 0.18)
        axes.annotate(
            "",
            place[effect],
            place[cause],
            arrowprops={
                "arrowstyle": "-|>",
                "color": LINES[_judged(declaration, cause, effect)],
                "linewidth": 1.1,
                "shrinkA": 24,
                "shrinkB": 24,
                "connectionstyle": f"arc3,rad={bend}",
            },
        )
    for node, (x, y) in place.items():
        fill = FILLS.get(declaration.roles.get(node, ""), "white")
        box = {"boxstyle": "round,pad=0.45", "facecolor": fill, "edgecolor": "#3c4043"}
        text = axes.text(x, y, node, ha="center", va="center", fontsize=9, bbox=box, zorder=3)
        text.set_parse_math(False)  # a name may have two dollars
    # Arrows and texts do not widen the axes by themselves.
    axes.set_xlim(-0.7, max(x for x, _ in place.values()) + 0.7)
    axes.set_ylim(min(y for _, y in place.values()) - 0.8, max(y for _, y in place.values()) + 0.8)
    _legend(figure, declaration)
    return figure


def write_diagram(declaration: Declaration, path: Path) -> None:
    """Write the picture as SVG; the same declaration gives the same file."""
    figure = causal_figure(declaration)
    figure.savefig(path, format="svg", metadata={"Date": None, "Title": "Declared causal diagram"})


def _places(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Causes left of their effects, those of one generation above each other."""
    place = {}
    for column, names in enumerate(nx.topological_generations(graph)):
        # Half a step up or down, so that edges past a lone node do not run through it.
        shift = 0.0 if len(names) > 1 else 0.45 * (-1) ** column
        for row, name in enumerate(sorted(names)):
            place[name] = (float(column), (len(names) - 1) / 2 - row + shift)
    return place


def _judged(declaration: Declaration, cause: str, effect: str) -> str | None:
    judgements = declaration.judgements.get(cause, {})
    is_outcome = declaration.roles.get(effect) == "outcome"
    judgement = judgements.get(DIRECT if is_outcome else effect)
    return judgement.judgement if judgement else None


def _legend(figure: Figure, declaration: Declaration) -> None:
    used = {declaration.roles.get(node) for node in declaration.graph}
    parts: list[Patch | Line2D] = [
        Patch(facecolor=fill, edgecolor="#3c4043", label=role)
        for role, fill in FILLS.items()
        if role in used
    ]
    parts += [
        Line2D([], [], color=LINES[kind], label=f"influence declared {kind}")
        for kind in ("fair", "unfair")
    ]
    figure.legend(handles=parts, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
