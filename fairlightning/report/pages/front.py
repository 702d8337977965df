"""`front.html`: one page on which stakeholders choose a model of a front, offline."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from plotly.offline import get_plotlyjs

from fairlightning.exceptions import DataError
from fairlightning.metrics import SMALL_SUPPORT, SUPPORT, higher_is_better, readable
from fairlightning.report.pages.rendering import as_is, render, template_text

SCRIPTS = ("choice", "figures", "state", "plot", "groups", "views", "decision", "main")
"""Scripts of the page, in the order in which they build on each other."""

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")
"""Rates of the groups that the page shows, where a model has records of them."""


def front_page(source: str) -> str:
    """Make the page of a front: one HTML file that needs no network and no server.

    It shows the models with their intervals on test, and chooses one by weights and bounds on the
    validation figures: the smallest weighted sum (`best_weighted`) of those within all bounds, each
    criterion scaled to its range over the front. A choice by hand is allowed and marked. The
    decision, with its reason, can be saved as JSON.

    Args:
        source: The text of a `front.json`. The page and the decisions made on it carry the SHA-256
            of these bytes, as `sha256sum front.json` prints it.

    Returns:
        The HTML, some 5 MB, most of it the plotting library.

    Raises:
        DataError: If the text is no front with criteria and models.
    """
    front = _parsed(source)
    criteria = [_criterion(front["criteria"], j) for j in range(len(front["criteria"]))]
    shown = {(c["metric"], c["attribute"], None) for c in front["criteria"]}
    points = [{**point, "records": _records(point, shown)} for point in front["points"]]
    groups = [r for p in points for r in p["records"] if r["group"] and r["metric"] != SUPPORT]
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    page = {
        "front": {**front, "points": points},
        "criteria": criteria,
        "attributes": list(dict.fromkeys(record["attribute"] for record in groups)),
        "rates": [rate for rate in RATES if any(r["metric"] == rate for r in groups)],
        "names": {rate: _sentence(readable(rate)) for rate in RATES},
        "small": SMALL_SUPPORT,
        "sha256": sha256,
        "version": version("fairlightning"),
    }
    script = "\n".join(template_text(f"front/{name}.js") for name in SCRIPTS)
    return _render(page, _bounds(front, criteria), script)


def _parsed(source: str) -> dict[str, Any]:
    try:
        front: dict[str, Any] = json.loads(source, parse_constant=_no_number)
        ids = [point["id"] for point in front["points"]]
        baseline = front["baseline"]
        complete = bool(ids and front["criteria"]) and (baseline is None or baseline in ids)
        found = f"{len(ids)} models, {len(front['criteria'])} criteria, baseline {baseline!r}"
    except (ValueError, TypeError, KeyError) as error:
        complete, found = False, f"text that cannot be read ({error!r})"
    if not complete:
        raise DataError.of(
            "front",
            found=found,
            expected="the text of a front.json with models, criteria, and a baseline among them",
            mend="pass the text that `fairlightning front` wrote, as it is",
        )
    return front


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON, and so the page, can hold")


def _criterion(criteria: list[Mapping[str, Any]], position: int) -> dict[str, Any]:
    """What the page must know of a criterion; the first is performance."""
    metric, attribute = criteria[position]["metric"], criteria[position]["attribute"]
    name = readable(metric)
    role = "fairness"
    if position == 0:
        role = readable(metric) if metric == "accuracy" else "performance"
    elif metric == "complexity":
        role = "interpretability"
    return {
        "metric": metric,
        "attribute": attribute,
        "name": name if attribute is None else f"{name}, {attribute}",
        "role": role,
        "higher": higher_is_better(metric) is True,
    }


def _bounds(front: Mapping[str, Any], criteria: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bounds that can be set: a loss against the baseline if there is one, and the others."""
    bounds = [] if front["baseline"] is None else [(0, f"Loss of {criteria[0]['name']}")]
    for j, criterion in enumerate(criteria[1:], 1):
        name = _sentence(criterion["name"])
        bounds.append((j, f"1 − {name}" if criterion["higher"] else name))
    return [{"index": j, "name": name} for j, name in bounds]


def _records(point: Mapping[str, Any], shown: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Records of a model that the page shows: criteria, and rates and rows of the groups."""
    return [
        record
        for record in point["records"]
        if (record["metric"], record["attribute"], record["group"]) in shown
        or (record["group"] is not None and record["metric"] in (*RATES, SUPPORT))
    ]


def _render(page: Mapping[str, Any], bounds: list[dict[str, Any]], script: str) -> str:
    plotly = get_plotlyjs()
    return render(
        "front.html.jinja",
        page=page,
        **page,
        bounds=bounds,
        style=as_is(template_text("front/front.css")),
        plotly=as_is(plotly),
        script=as_is(script),
        hashes=[_content_hash(text) for text in (plotly, script)],
    )


def _content_hash(text: str) -> str:
    """Name a script for the page's content security policy, which runs no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
