"""The audit of the data in full: variable map, base rates, paths and examples."""

from __future__ import annotations

from collections.abc import Iterator

from fairlightning.metrics import SMALL_SUPPORT
from fairlightning.report.document import (
    Block,
    Bullets,
    Cell,
    Missing,
    Number,
    Section,
    Table,
    Text,
)
from fairlightning.verification.reporting.causes import (
    MEND,
    Entry,
    effect_number,
    judgement_status,
    proxies,
)
from fairlightning.verification.reporting.inputs import AUDIT, ReportInputs, understood


def audit_tables(inputs: ReportInputs) -> Section:
    """The variable map, all proxies, base rates and examples, for an appendix."""
    title, audit = "Variable map and counterfactual examples", inputs.audit
    if audit is None:
        blocks: tuple[Block, ...] = (Missing("No audit of the data.", MEND),)
        return Section("audit-all", title, blocks, appendix=True)
    with understood(AUDIT):
        blocks = (
            _variables(inputs, audit),
            proxies(inputs, audit, "proxies-all", None),
            _base_rates(inputs, audit),
            _missingness(inputs, audit),
            _reasons(inputs, audit),
            *_caveats(audit),
            *_paths(inputs, audit),
            *_examples(inputs, audit),
        )
    return Section("audit-all", title, blocks, appendix=True)


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


def _reasons(inputs: ReportInputs, audit: Entry) -> Table:
    return Table.of(
        "pathways-all",
        "Judgements on pathways, with their reasons",
        {"attribute": "From", "node": "Through", "judgement": "Judgement", "reason": "Reason"},
        [
            (
                path["attribute"],
                path["node"],
                judgement_status(path["judgement"]),
                path["reason"] or "",
            )
            for path in audit["pathways"]
        ],
        (inputs.audit_source("pathways"),),
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
            judgement_status(path["judgement"]),
            effect_number(path),
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
