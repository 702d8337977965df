"""Sections on the data: variables, causes, counterfactuals and pathways, from `audit.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairlightning.report.document import (
    Block,
    Cell,
    Missing,
    Number,
    Picture,
    Section,
    Source,
    Status,
    Table,
    Text,
)
from fairlightning.verification.reporting.inputs import AUDIT, ReportInputs, understood

MEND = "run `fairlightning audit` for this data set, copy its files to audit/ in this folder, and "
MEND += "run `fairlightning report`."
"""How to get an audit into a report."""

JUDGEMENTS = {
    "fair": Status("fair", "good"),
    "unfair": Status("unfair", "bad"),
    "undeclared": Status("undeclared", "open"),
}
_PROXIES = 4
"""Most proxies that the main text lists; an appendix has all."""

Entry = Mapping[str, Any]


def causes(inputs: ReportInputs) -> Section:
    """Variables, causal diagram, counterfactual answers and pathways in the main text."""
    audit = inputs.audit
    if audit is None:
        missing = Missing(
            "No audit of the data was made. So there is no variable map, and it is not known which "
            "columns stand in for a sensitive attribute; there is no causal diagram, no "
            "counterfactual example and no classification of pathways into fair and unfair.",
            MEND,
        )
        return Section("causes", "Data and causes", (missing,))
    with understood(AUDIT):
        blocks = (
            Text(_roles(audit), sources=(inputs.audit_source("variables"),)),
            proxies(inputs, audit, "proxies", _PROXIES),
            _diagram(inputs, audit),
            *_questions(inputs, audit),
            _pathways(inputs, audit),
            *_recommendation(audit),
        )
    return Section("causes", "Data and causes", blocks)


def _roles(audit: Entry) -> str:
    """The variable map in a sentence."""
    roles: dict[str, list[str]] = {}
    for variable in audit["variables"]:
        roles.setdefault(variable["role"], []).append(variable["name"])
    parts = [f"{role}: {', '.join(names)}" for role, names in roles.items()]
    return "Variable map, by declared role. " + "; ".join(parts) + ". Details are in an appendix."


def proxies(inputs: ReportInputs, audit: Entry, name: str, most: int | None) -> Table:
    """How well columns give sensitive attributes away, the strongest `most` of them."""
    proxies = sorted(audit["proxies"], key=lambda proxy: -(proxy["auroc"] or 0.0))
    return Table.of(
        name,
        "How well each column gives away a sensitive attribute"
        + ("" if most is None or len(proxies) <= most else f": the {most} strongest"),
        {
            "feature": "Column",
            "attribute": "Attribute",
            "auroc": "AUROC (0.5: not at all)",
            "strength": "Strength as a proxy",
            "rows": "Rows",
        },
        tuple(
            (
                proxy["feature"],
                proxy["attribute"],
                Number(proxy["auroc"], proxy["low"], proxy["high"], support=proxy["support"]),
                proxy["strength"],
                Number(proxy["support"], digits=0),
            )
            for proxy in proxies[:most]
        ),
        (inputs.audit_source("proxies"),),
    )


def _diagram(inputs: ReportInputs, audit: Entry) -> Block:
    diagram = audit["diagram"]
    if diagram is None:
        return Missing(
            "No causal diagram: the data set's configuration declares no causes.",
            "declare `causal.edges` in it and run `fairlightning audit` again.",
        )
    name = f"{inputs.audit_folder}{diagram['file']}"
    if not (inputs.folder / name).is_file():
        return Missing(f"The causal diagram: there is no {name}.", MEND)
    arrows = "; ".join(f"{cause} → {effect}" for cause, effect in diagram["edges"])
    return Picture(
        "causal-diagram",
        f"Preliminary causal diagram. Basis: {diagram['basis'].rstrip('.')}.",
        f"Causal diagram with the arrows {arrows}.",
        (inputs.folder / name).read_text(encoding="utf-8"),
        (Source(name), inputs.audit_source("diagram")),
    )


def _questions(inputs: ReportInputs, audit: Entry) -> Iterator[Block]:
    if audit["counterfactuals"] is None:
        yield Missing(f"No counterfactual examples: {audit['counterfactuals_note']}", MEND)
        return
    rows: list[tuple[Cell, ...]] = []
    for query in audit["counterfactuals"]:
        effects = (query["by_judgement"].get(name) for name in JUDGEMENTS)
        rows.append(
            (
                query["question"],
                Number(query["rows"], digits=0),
                Number(query["base_rate"]),
                effect_number(query["effect"]),
                *(effect_number(each) for each in effects),
            )
        )
    yield Table.of(
        "counterfactuals",
        "Counterfactual questions: by how much the share of positive outcomes would differ",
        {
            "question": "Question",
            "rows": "Rows",
            "base_rate": "Observed share",
            "effect": "Change in all",
            **{name: f"Along {name} paths" for name in JUDGEMENTS},
        },
        rows,
        (inputs.audit_source("counterfactuals"),),
        "Answers of a causal model that rests on the declared diagram; of the data, not of either "
        "trained model.",
    )


def effect_number(effect: Entry | None) -> Number:
    """An effect with its interval."""
    if effect is None:
        return Number(None)
    return Number(effect["value"], effect["low"], effect["high"], sign=True)


def _pathways(inputs: ReportInputs, audit: Entry) -> Block:
    if not audit["pathways"]:
        return Missing(
            "No classification of pathways into fair and unfair: none is declared.",
            "declare `causal.paths` in the data set's configuration and run the audit again.",
        )
    judged: dict[tuple[str, str], list[str]] = {}
    for path in audit["pathways"]:
        judged.setdefault((path["attribute"], path["judgement"]), []).append(path["node"])
    return Table.of(
        "pathways",
        "Pathways from a sensitive attribute to the outcome, as declared",
        {"attribute": "From", "judgement": "Judgement", "through": "Through"},
        [
            (attribute, judgement_status(judgement), ", ".join(nodes))
            for (attribute, judgement), nodes in judged.items()
        ],
        (inputs.audit_source("pathways"),),
        "The reasons are in an appendix.",
    )


def judgement_status(judgement: str) -> Status:
    """A judgement on a path, with its mark."""
    return JUDGEMENTS.get(judgement, Status(judgement, "open"))


def _recommendation(audit: Entry) -> Iterator[Block]:
    first = audit["recommendation"].get("first")
    if first:
        yield Text(f"The audit recommends to begin with {first}.")
