"""Sections on the data: variables, causes, counterfactuals and pathways, from `audit.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairlightning.metrics import SMALL_SUPPORT
from fairlightning.report.document import (
    Block,
    Bullets,
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

_MEND = "run `fairlightning audit` for this data set, copy its files to audit/ in this folder, and "
_MEND += "run `fairlightning report`."
_JUDGEMENTS = {
    "fair": Status("fair", "good"),
    "unfair": Status("unfair", "bad"),
    "undeclared": Status("undeclared", "open"),
}
_PROXIES = 5
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
            _MEND,
        )
        return Section("causes", "Data and causes", (missing,))
    with understood(AUDIT):
        blocks = (
            Text(_roles(audit), sources=(inputs.audit_source("variables"),)),
            _proxies(inputs, audit, "proxies", _PROXIES),
            _diagram(inputs, audit),
            *_questions(inputs, audit),
            _pathways(inputs, audit),
            *_recommendation(audit),
        )
    return Section("causes", "Data and causes", blocks)


def audit_tables(inputs: ReportInputs) -> Section:
    """The variable map, all proxies, base rates and examples, for an appendix."""
    title, audit = "Variable map and counterfactual examples", inputs.audit
    if audit is None:
        blocks: tuple[Block, ...] = (Missing("No audit of the data.", _MEND),)
        return Section("audit-all", title, blocks, appendix=True)
    with understood(AUDIT):
        blocks = (
            _variables(inputs, audit),
            _proxies(inputs, audit, "proxies-all", None),
            _base_rates(inputs, audit),
            _missingness(inputs, audit),
            *_caveats(audit),
            *_paths(inputs, audit),
            *_examples(inputs, audit),
        )
    return Section("audit-all", title, blocks, appendix=True)


def _roles(audit: Entry) -> str:
    """The variable map in a sentence."""
    roles: dict[str, list[str]] = {}
    for variable in audit["variables"]:
        roles.setdefault(variable["role"], []).append(variable["name"])
    parts = [f"{role}: {', '.join(names)}" for role, names in roles.items()]
    return "Variable map, by declared role. " + "; ".join(parts) + ". Details are in an appendix."


def _variables(inputs: ReportInputs, audit: Entry) -> Table:
    return Table.of(
        "variables",
        "Variable map",
        {
            "name": "Column",
            "role": "Role",
            "declared": "Declared",
            "kind": "Kind",
            "feature": "Model learns from it",
            "missing": "Rows without a value",
        },
        tuple(
            (
                variable["name"],
                variable["role"],
                "yes" if variable["declared"] else "no",
                variable["kind"],
                "yes" if variable["feature"] else "no",
                Number(variable["missing"], digits=0),
            )
            for variable in audit["variables"]
        ),
        (inputs.audit_source("variables"),),
    )


def _proxies(inputs: ReportInputs, audit: Entry, name: str, most: int | None) -> Table:
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
        return Missing(f"The causal diagram: there is no {name}.", _MEND)
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
        yield Missing(f"No counterfactual examples: {audit['counterfactuals_note']}", _MEND)
        return
    rows: list[tuple[Cell, ...]] = []
    for query in audit["counterfactuals"]:
        effects = (query["by_judgement"].get(name) for name in _JUDGEMENTS)
        rows.append(
            (
                query["question"],
                Number(query["rows"], digits=0),
                Number(query["base_rate"]),
                _effect(query["effect"]),
                *(_effect(effect) for effect in effects),
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
            **{name: f"Along {name} paths" for name in _JUDGEMENTS},
        },
        rows,
        (inputs.audit_source("counterfactuals"),),
        "Answers of a causal model that rests on the declared diagram; of the data, not of either "
        "trained model.",
    )


def _effect(effect: Entry | None) -> Number:
    if effect is None:
        return Number(None)
    return Number(effect["value"], effect["low"], effect["high"], sign=True)


def _pathways(inputs: ReportInputs, audit: Entry) -> Block:
    if not audit["pathways"]:
        return Missing(
            "No classification of pathways into fair and unfair: none is declared.",
            "declare `causal.pathways` in the data set's configuration and run the audit again.",
        )
    return Table.of(
        "pathways",
        "Pathways from a sensitive attribute to the outcome, as declared",
        {
            "attribute": "From",
            "node": "Through",
            "judgement": "Judgement",
            "reason": "Reason",
        },
        tuple(
            (
                path["attribute"],
                path["node"],
                _JUDGEMENTS.get(path["judgement"], Status(path["judgement"], "open")),
                path["reason"] or "",
            )
            for path in audit["pathways"]
        ),
        (inputs.audit_source("pathways"),),
    )


def _recommendation(audit: Entry) -> Iterator[Block]:
    first = audit["recommendation"].get("first")
    if first:
        yield Text(f"The audit recommends to begin with {first}.")


def _base_rates(inputs: ReportInputs, audit: Entry) -> Table:
    return Table.of(
        "base-rates",
        "Share of positive outcomes in the data, by group and intersection",
        {
            "attribute": "Attribute",
            "group": "Group",
            "rate": "Share",
            "rows": "Rows",
            "note": "Note",
        },
        tuple(
            (
                entry["attribute"],
                entry["group"],
                Number(entry["rate"], entry["low"], entry["high"], support=entry["support"]),
                Number(entry["support"], digits=0),
                f"fewer than {SMALL_SUPPORT} rows" if entry["support"] < SMALL_SUPPORT else "",
            )
            for entry in audit["base_rates"]
        ),
        (inputs.audit_source("base_rates"),),
    )


def _missingness(inputs: ReportInputs, audit: Entry) -> Block:
    if not audit["missingness"]:
        return Text("No value is missing in any column.")
    return Table.of(
        "missingness",
        "Missing values, by column and group",
        {
            "column": "Column",
            "group": "Group",
            "rate": "Share missing",
            "rows": "Rows",
        },
        tuple(
            (
                entry["column"],
                entry["group"] or "all rows",
                Number(entry["rate"], entry["low"], entry["high"], support=entry["support"]),
                Number(entry["support"], digits=0),
            )
            for entry in audit["missingness"]
        ),
        (inputs.audit_source("missingness"),),
    )


def _caveats(audit: Entry) -> Iterator[Block]:
    for title in ("assumptions", "uncertainties"):
        if audit[title]:
            yield Text(f"{title.capitalize()} of the audit", "heading")
            yield Bullets(tuple(audit[title]))


def _paths(inputs: ReportInputs, audit: Entry) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = [
        (
            query["question"],
            " → ".join(path["path"]),
            _JUDGEMENTS.get(path["judgement"], Status(path["judgement"], "open")),
            _effect(path),
        )
        for query in audit["counterfactuals"] or ()
        for path in query["paths"]
    ]
    if rows:
        yield Table.of(
            "paths",
            "Effect along each path",
            {
                "question": "Question",
                "path": "Path",
                "judgement": "Judgement",
                "effect": "Change of the share",
            },
            rows,
            (inputs.audit_source("counterfactuals"),),
        )


def _examples(inputs: ReportInputs, audit: Entry) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = []
    for query in audit["counterfactuals"] or ():
        for example in query["examples"]:
            changed = "; ".join(
                f"{name}: {example['observed'].get(name, '–')} → {change['value']}"
                for name, change in example["counterfactual"].items()
            )
            rows.append(
                (
                    query["question"],
                    f"row {example['row']} ({example['place']})",
                    changed or "nothing",
                    Number(example["probability"]),
                    Number(example["counterfactual_probability"]),
                )
            )
    if not rows:
        return
    yield Table.of(
        "examples",
        "Counterfactual examples",
        {
            "question": "Question",
            "example": "Example",
            "changed": "What would differ, most often",
            "probability": "Chance of a positive outcome",
            "counterfactual": "Counterfactual chance",
        },
        rows,
        (inputs.audit_source("counterfactuals"),),
    )
    yield Bullets(("The examples are rows of the data set: mind whom the report may be shown to.",))
