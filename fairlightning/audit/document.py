"""The audit of a table: everything that is measured or declared, as one plain document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch

from fairlightning.audit.causal import dowhy_gcm
from fairlightning.audit.counts import SPLITS, base_rates, missingness
from fairlightning.audit.declaration import ROLES, Declaration, read_declaration
from fairlightning.audit.effects import answers, causal_rows, with_queries
from fairlightning.audit.limits import assumptions, spreads, unknowns
from fairlightning.audit.proxies import proxy_strengths
from fairlightning.audit.recommendation import recommend_stage
from fairlightning.data import TabularDataModule
from fairlightning.exceptions import DataError, SetupError
from fairlightning.groups import UNKNOWN, GroupSpec

FORMAT = 1
DIAGRAM = "causal_diagram.svg"
PACKAGES = ("fairlightning", "numpy", "pandas", "scikit-learn", "networkx")


@dataclass(frozen=True)
class Options:
    """How an audit is made.

    Attributes:
        rows: Most training rows that the causal model is fitted to.
        bootstraps: Fits to resampled rows, for the intervals of effects.
        examples: Whether single rows are shown, with their values.
        counterfactuals: Whether queries are answered; None: if dowhy is installed.
        seed: Seed of samples, folds and draws.
    """

    rows: int = 4000
    bootstraps: int = 20
    examples: bool = True
    counterfactuals: bool | None = None
    seed: int = 0


def audit_table(
    data: TabularDataModule,
    causal: Mapping[str, Any] | None = None,
    options: Options | None = None,
    *,
    command: str = "",
    dataset: str = "",
    advance: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Any], Declaration]:
    """Audit a table.

    What is counted is counted over all rows. What is learned, proxies and the causal model, sees
    training rows alone, so that the audit takes nothing from the test.

    Args:
        data: The table, after `setup()`.
        causal: Declared roles and causes; see `read_declaration`.
        options: How to go about it.
        command: What the person typed, for the record.
        dataset: Arguments that name the data set, for recommended commands.
        advance: Called after each of `options.bootstraps` + 1 fits.

    Returns:
        The document that `audit.json` holds, and the declaration that it rests on.

    Raises:
        DataError: If the declaration does not fit the table.
        SetupError: If `options.counterfactuals` is true and dowhy is not installed.
    """
    options = options or Options()
    if options.counterfactuals:
        dowhy_gcm()  # what is asked for and cannot be had should say so at once
    frame = pd.concat([data.frame(split) for split in SPLITS]).sort_index()
    facts, target = data.describe(), data.roles.target
    declaration = read_declaration(causal, list(frame.columns), data.groups.to_dict(), target)
    declaration = with_queries(declaration, _known_groups(data.frame("train"), data.groups))
    counted = _counted(frame, data, facts)
    proxies = _proxies(data, facts, options.seed)
    found, left_out, note = _counterfactuals(declaration, data, facts, options, advance)
    rates = counted["base_rates"]
    document = {
        "format": FORMAT,
        "command": command,
        "versions": {name: version(name) for name in PACKAGES},
        "data": _about(frame, facts, data.groups, target),
        "variables": variable_map(frame, declaration, facts),
        "proxies": proxies,
        **counted,
        "diagram": _diagram(declaration),
        "pathways": _pathways(declaration),
        "counterfactuals": found,
        "counterfactuals_note": note,
        "recommendation": recommend_stage(rates, proxies, counted["missingness"], found, dataset),
        "assumptions": assumptions(declaration, found),
        "uncertainties": [
            *unknowns(declaration, list(map(str, frame.columns)), rates),
            *spreads(found, left_out, options.rows, options.bootstraps),
        ],
    }
    return document, declaration


def _counted(
    frame: pd.DataFrame, data: TabularDataModule, facts: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Base rates and missing values, over all rows."""
    groups, batches = data.groups, [data.batch(split) for split in SPLITS]
    labels = torch.cat([batch.target for batch in batches])
    if not ((labels == 0) | (labels == 1)).all():
        raise DataError.of(
            "target",
            found=f"labels from {labels.min().item():g} to {labels.max().item():g}",
            expected="a label of two values, whose rates can be compared",
            mend="make a column of two values, such as above or below a limit",
        )
    weights = [batch.weight for batch in batches if batch.weight is not None]
    columns = dict.fromkeys([*facts["numeric"], *facts["categorical"], *groups.names])
    return {
        "base_rates": base_rates(
            groups,
            torch.cat([batch.sensitive for batch in batches]),
            labels,
            torch.cat(weights) if weights else None,
        ),
        "missingness": missingness(frame, columns, groups, groups.encode(frame)),
    }


def _proxies(data: TabularDataModule, facts: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """How well features tell the attributes; these are no proxies of each other."""
    numeric, categorical = (
        [name for name in facts[kind] if name not in data.groups.names]
        for kind in ("numeric", "categorical")
    )
    codes = data.batch("train").sensitive
    return proxy_strengths(data.frame("train"), numeric, categorical, data.groups, codes, seed)


def variable_map(
    frame: pd.DataFrame, declaration: Declaration, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Role, kind and missing values of every column, protected ones first."""
    order = {role: place for place, role in enumerate((*ROLES[:-1], "undeclared", ROLES[-1]))}
    entries = [
        {
            "name": name,
            "role": declaration.roles.get(name, "undeclared"),
            "declared": name in declaration.roles,
            "kind": "numeric"
            if name in facts["numeric"]
            else "categorical"
            if name in facts["categorical"] or name in declaration.roles
            else "other",
            "feature": name in facts["numeric"] or name in facts["categorical"],
            "missing": int(frame[name].isna().sum()),
        }
        for name in map(str, frame.columns)
    ]
    return sorted(entries, key=lambda entry: order[entry["role"]])


def _counterfactuals(
    declaration: Declaration,
    data: TabularDataModule,
    facts: Mapping[str, Any],
    options: Options,
    advance: Callable[[], object],
) -> tuple[list[dict[str, Any]] | None, int, str | None]:
    """Answers, rows left out, and why there are no answers."""
    if options.counterfactuals is False:
        return None, 0, "not asked for"
    if not declaration.edges:
        return None, 0, "no causes are declared: causal.edges of the data set's configuration"
    try:
        dowhy_gcm()
    except SetupError as error:
        if options.counterfactuals:
            raise
        return None, 0, str(error)
    known = _known_groups(data.frame("train"), data.groups)
    numeric = [name for name in facts["numeric"] if name not in data.groups.names]
    rows, left_out = causal_rows(known, declaration, numeric, options.rows, options.seed)
    found = answers(
        rows,
        declaration,
        numeric=numeric,
        outcome=data.roles.target,
        positive=facts["positive"],
        bootstraps=options.bootstraps,
        examples=options.examples,
        seed=options.seed,
        advance=advance,
    )
    return found, left_out, None


def _known_groups(frame: pd.DataFrame, groups: GroupSpec) -> pd.DataFrame:
    """The rows with values that are no category as missing, as groups count them."""
    codes = groups.encode(frame)
    columns = {
        name: pd.Series(
            [values[code] if code != UNKNOWN else None for code in codes[:, axis].tolist()],
            index=frame.index,
            dtype="string",
        )
        for axis, (name, values) in enumerate(groups.to_dict().items())
    }
    return frame.assign(**columns)


def _about(
    frame: pd.DataFrame, facts: Mapping[str, Any], groups: GroupSpec, target: str
) -> dict[str, Any]:
    hashes = pd.util.hash_pandas_object(frame).to_numpy().tobytes()
    names = "\n".join(map(str, frame.columns)).encode()
    return {
        "target": target,
        "positive": facts["positive"],
        "rows": facts["rows"],
        "base_rate": facts["base_rate"],
        "splits": {split: part["rows"] for split, part in facts["splits"].items()},
        "attributes": groups.to_dict(),
        "fingerprint": hashlib.sha256(names + hashes).hexdigest(),
    }


def _diagram(declaration: Declaration) -> dict[str, Any] | None:
    if not declaration.edges:
        return None
    return {
        "file": DIAGRAM,
        "basis": declaration.basis,
        "nodes": [
            {"name": name, "role": declaration.roles.get(name, "undeclared")}
            for name in declaration.graph
        ],
        "edges": [list(edge) for edge in declaration.edges],
    }


def _pathways(declaration: Declaration) -> list[dict[str, Any]]:
    return [
        {
            "attribute": attribute,
            "node": node,
            "judgement": told.judgement,
            "reason": told.reason,
        }
        for attribute, of in declaration.judgements.items()
        for node, told in of.items()
    ]
