"""The document of an audit as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fairlightning.metrics import SMALL_SUPPORT


def markdown(document: dict[str, Any]) -> str:
    """Write the document for people; every figure is in `audit.json` as well.

    Args:
        document: What `audit_table` gives.
    """
    data = document["data"]
    parts = [
        f"# Audit of {data['rows']:,} rows, label {data['target']}",
        f"{data['base_rate']:.1%} of the rows have {data['target']}={data['positive']}. "
        f"`{document['command']}`",
        "## Where to intervene",
        *_recommendation(document["recommendation"]),
        "## Variables",
        _variables(document["variables"]),
        "## What tells the protected attributes",
        "Area under the ROC curve, cross-validated on training rows; 0.5 is chance.",
        table(
            ("attribute", "feature", "area", "95 % interval", "proxy"),
            (
                (e["attribute"], e["feature"], f"{e['auroc']:.3f}", ends(e), e["strength"])
                for e in document["proxies"]
            ),
        ),
        "## Base rates",
        table(
            ("group", "rate", "95 % interval", "rows"),
            ((e["group"], share(e), ends(e), f"{e['support']:,}") for e in document["base_rates"]),
        ),
        f"† fewer than {SMALL_SUPPORT} rows, where chance alone moves a rate widely.",
        "## Missing values",
        _missing(document["missingness"]),
        *_causes(document),
        "## Assumptions",
        *_list(document["assumptions"]),
        "## Uncertainties",
        *_list(document["uncertainties"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a"], [["x"]]))
    | a |
    |---|
    | x |
    """
    lines = [header, *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    written = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([written[0], "|" + "---|" * len(header), *written[1:]])


def share(entry: dict[str, Any]) -> str:
    """A rate, marked where few rows are behind it."""
    if entry["rate"] is None:
        return "–"
    return f"{entry['rate']:.3f}" + (" †" if entry["support"] < SMALL_SUPPORT else "")


def ends(entry: dict[str, Any], scale: float = 1.0, digits: int = 3) -> str:
    """The interval of an entry.

    >>> ends({"low": 0.1234, "high": None})
    '–'
    """
    if entry["low"] is None or entry["high"] is None:
        return "–"
    return f"{scale * entry['low']:.{digits}f} to {scale * entry['high']:.{digits}f}"


def points(entry: dict[str, Any]) -> str:
    """A difference of probabilities in percentage points."""
    return "–" if entry["value"] is None else f"{100 * entry['value']:+.1f}"


def _variables(entries: list[dict[str, Any]]) -> str:
    rows = (
        (e["name"], e["role"], e["kind"], "yes" if e["feature"] else "", f"{e['missing']:,}")
        for e in entries
    )
    return table(("column", "role", "kind", "feature", "missing"), rows)


def _recommendation(found: dict[str, Any]) -> list[str]:
    parts = [f"First: **{found['first']}**."]
    for stage in found["stages"]:
        lines = [f"### {stage['stage']}: {stage['suitability']}", ""]
        lines += [f"- {reason}" for reason in stage["reasons"]]
        parts.append("\n".join([*lines, "", f"    {stage['command']}"]))
    return parts


def _missing(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return "No feature and no protected attribute has a missing value."
    rows = (
        (e["column"], e["group"] or "all rows", share(e), ends(e), f"{e['support']:,}")
        for e in entries
    )
    return table(("column", "group", "missing", "95 % interval", "rows"), rows)


def _causes(document: dict[str, Any]) -> list[str]:
    parts = ["## Causes"]
    if document["diagram"] is None:
        return [*parts, "No causes are declared."]
    parts += [
        document["diagram"]["basis"],
        f"![Declared causal diagram]({document['diagram']['file']})",
    ]
    judged = (
        (e["attribute"], e["node"], e["judgement"], e["reason"]) for e in document["pathways"]
    )
    parts += [table(("attribute", "through", "declared", "reason"), judged)]
    if document["counterfactuals"] is None:
        return [*parts, "## Counterfactual queries", f"None: {document['counterfactuals_note']}"]
    for entry in document["counterfactuals"]:
        parts += _query(entry, document["data"])
    return parts


def _query(entry: dict[str, Any], data: dict[str, Any]) -> list[str]:
    label = f"{data['target']}={data['positive']}"
    parts = [f"## {entry['question'][0].upper()}{entry['question'][1:]}"]
    if entry["effect"]["value"] is None:
        return [*parts, f"Not answered: {entry['rows']} rows are too few."]
    sums = [
        (f"along paths declared {kind}", value)
        for kind, value in entry["by_judgement"].items()
        if any(path["judgement"] == kind for path in entry["paths"])
    ]
    rows = [
        ("in all", entry["effect"]),
        *sums,
        ("paths together, beyond their sum", entry["interaction"]),
    ]
    parts += [
        f"{entry['rows']:,} rows, of which {entry['base_rate']:.1%} have {label} (the model says "
        f"{entry['modelled']['value']:.1%}). Change of the probability of {label}, in points:",
        table(
            ("effect", "points", "95 % interval"),
            ((name, points(value), ends(value, 100, 1)) for name, value in rows),
        ),
        table(
            ("path", "declared", "points", "95 % interval"),
            (
                (" → ".join(e["path"]), e["judgement"], points(e), ends(e, 100, 1))
                for e in entry["paths"]
                if abs(e["value"]) >= 0.0005
            ),
        ),
    ]
    left_out = sum(abs(e["value"]) < 0.0005 for e in entry["paths"])
    if left_out:
        parts.append(f"{left_out} paths of less than 0.05 points are in `audit.json`.")
    return parts + [_example(example) for example in entry["examples"]]


def _example(example: dict[str, Any]) -> str:
    observed = ", ".join(f"{name} {_value(value)}" for name, value in example["observed"].items())
    changed = ", ".join(
        f"{name} {_value(new['value'])}"
        + ("" if new["share"] is None else f" ({new['share']:.0%} of draws)")
        for name, new in example["counterfactual"].items()
    )
    before, after = example["probability"], example["counterfactual_probability"]
    return (
        f"Row {example['row']} ({example['place']}): {observed}. "
        f"Instead: {changed or 'no change'}. Probability {before:.2f} → {after:.2f}."
    )


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _list(lines: list[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)]
