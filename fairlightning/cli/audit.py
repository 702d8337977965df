"""`fairlightning audit`: what a data set holds, before anything is trained on it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from fairlightning.audit import DIAGRAM, Options, audit_table, markdown, write_diagram
from fairlightning.audit.page import ends, points, share
from fairlightning.cli.build import as_table, check_binary
from fairlightning.cli.console import wide_console
from fairlightning.cli.front_results import shown_path
from fairlightning.cli.run import launch, seeded_data


def audit(config: DictConfig) -> dict[str, Any]:
    """Audit the data set, and write `audit.json`, `audit.md` and the causal diagram.

    Args:
        config: As composed from `conf/audit.yaml`.

    Returns:
        What `audit.json` holds.
    """
    console = wide_console()
    data = as_table(seeded_data(config))
    check_binary(data, "an audit")
    dataset = cast("dict[str, Any]", OmegaConf.to_container(config.dataset, resolve=True))
    options = Options(
        rows=config.rows,
        bootstraps=config.bootstraps,
        examples=config.examples,
        counterfactuals=config.counterfactuals,
        seed=config.seed,
    )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("causal model", total=options.bootstraps + 1)
        document, declaration = audit_table(
            data,
            dataset.get("causal"),
            options,
            command=shlex.join(sys.argv),
            dataset=_dataset(),
            advance=lambda: progress.advance(task),
        )
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if declaration.edges:
        write_diagram(declaration, folder / DIAGRAM)
    (folder / "audit.md").write_text(markdown(document), encoding="utf-8")
    text = json.dumps(document, indent=2, allow_nan=False)
    (folder / "audit.json").write_text(text + "\n", encoding="utf-8")
    print_audit(console, document)
    files = f"audit.json, audit.md{f', {DIAGRAM}' if declaration.edges else ''}"
    console.print(f"Results  {shown_path(folder)}: {files}", markup=False, highlight=False)
    return document


def print_audit(console: Console, document: dict[str, Any]) -> None:
    """Print the recommendation, proxies, base rates and effects."""
    found = document["recommendation"]
    console.print(Group(_proxies(document), _rates(document)))
    if document["counterfactuals"]:
        console.print(_effects(document["counterfactuals"]))
    elif document["counterfactuals_note"]:
        note = f"No counterfactual queries: {document['counterfactuals_note']}"
        console.print(note, markup=False, highlight=False)
    console.print(f"[bold]First: {found['first']}[/]")
    for stage in found["stages"]:
        console.print(f"{stage['stage']}: {stage['suitability']}", style="bold")
        for reason in stage["reasons"]:
            console.print(f"  - {reason}", markup=False, highlight=False)
        console.print(f"    {stage['command']}", markup=False, highlight=False, soft_wrap=True)


def _proxies(document: dict[str, Any]) -> Table:
    table = _table("What tells the protected attributes (area under the ROC curve, 0.5 is chance)")
    for header in ("Attribute", "Feature", "Area", "95 % interval", "Proxy"):
        table.add_column(header, justify="right" if header == "Area" else "left")
    for entry in document["proxies"]:
        if entry["strength"] in ("moderate", "strong"):
            cells = (entry["attribute"], entry["feature"], f"{entry['auroc']:.3f}", ends(entry))
            table.add_row(*map(Text, cells), entry["strength"])
    return table


def _rates(document: dict[str, Any]) -> Table:
    data = document["data"]
    table = _table(f"Share with {data['target']}={data['positive']}")
    for header in ("Group", "Rate", "95 % interval", "Rows"):
        table.add_column(header, justify="right" if header in ("Rate", "Rows") else "left")
    for entry in document["base_rates"]:
        table.add_row(Text(entry["group"]), share(entry), ends(entry), f"{entry['support']:,}")
    return table


def _effects(entries: list[dict[str, Any]]) -> Table:
    table = _table("Counterfactuals: change of the positive label, in points")
    for header in ("Had …", "Along", "Points", "95 % interval"):
        table.add_column(header, justify="right" if header == "Points" else "left")
    for entry in entries:
        table.add_row(
            Text(entry["question"]),
            "all paths",
            points(entry["effect"]),
            ends(entry["effect"], 100, 1),
        )
        for path in entry["paths"][:4]:
            name = f"{' → '.join(path['path'])} ({path['judgement']})"
            table.add_row("", Text(name), points(path), ends(path, 100, 1))
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title, style="bold"), title_justify="left", box=None, padding=(0, 1))


def _dataset() -> str:
    """Arguments of this command that name the data set."""
    if not HydraConfig.initialized():
        return ""
    named = [arg for arg in HydraConfig.get().overrides.task if arg.startswith("dataset")]
    chosen = HydraConfig.get().runtime.choices["dataset"]
    return shlex.join(named) or f"dataset={chosen}"


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning audit`."""
    launch("audit", audit, arguments)
