"""Sections on the model: its layers, what sees sensitive columns, the method and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fairlightning.report.document import (
    Block,
    Bullets,
    Cell,
    Missing,
    Number,
    Section,
    Source,
    Table,
    Text,
)
from fairlightning.verification.reporting.inputs import (
    ADVICE,
    ReportInputs,
    RunFiles,
    understood,
)

NETWORK, FAIRNESS = "network.", "fairness."


def model(inputs: ReportInputs) -> Section:
    """Architecture and method in the main text."""
    run = inputs.intervention
    blocks: list[Block] = [_size(run), _what_sees(inputs), *_method(inputs)]
    return Section("model", "Model and method", tuple(blocks))


def architecture(inputs: ReportInputs) -> Section:
    """Every layer and setting, and the techniques that were advised, for an appendix."""
    run = inputs.intervention
    blocks: list[Block] = [_layers(run)]
    if run.config is not None:
        blocks.append(_settings(run))
    if inputs.advice is not None:
        blocks.append(_advice(inputs.advice))
    return Section("architecture", "Model and choice of method", tuple(blocks), appendix=True)


def _size(run: RunFiles) -> Block:
    if run.checkpoint is None:
        return _no_checkpoint(run)
    counts = {"network": 0, "fairness": 0}
    for name, numbers, _ in _state(run.checkpoint):
        counts["network" if name.startswith(NETWORK) else "fairness"] += numbers
    kind = _class((run.config or {}).get("model")) or "unknown class"
    text = f"The model is of class {kind} and holds {counts['network']:,} numbers."
    if counts["fairness"]:
        text += (
            f" {counts['fairness']:,} further numbers belong to the fairness objectives (heads, "
            "multipliers, λ); they are used in training alone and are no part of an exported model."
        )
    text += " The appendix on the architecture lists every layer."
    return Text(text, sources=(run.source(f"checkpoints/{run.checkpoint.name}"),))


def _what_sees(inputs: ReportInputs) -> Block:
    """Which parts see sensitive columns: inputs, objectives, decisions."""
    run = inputs.intervention
    data = (run.environment or {}).get("data")
    if not isinstance(data, Mapping) or "groups" not in data:
        return Missing(
            f"What sees sensitive columns: there is no environment.json in {run.folder}.",
            "put the run back in its place and write the report again.",
        )
    sensitive = [name for name in data["groups"] if " & " not in name]
    features = [*data.get("numeric", ()), *data.get("categorical", ())]
    read = [name for name in sensitive if name in features]
    items = [f"Sensitive attributes: {', '.join(sensitive)}."]
    if read:
        items.append(f"The network reads {', '.join(read)} as an input, in prediction too.")
    else:
        items.append(
            f"The network reads {len(features)} columns, none of them a sensitive attribute; "
            "prediction needs none. Other columns may give attributes away: see the proxies."
        )
    objectives = ", ".join(_objectives(run)) or "none"
    items.append(f"In training alone they are seen by the fairness objectives: {objectives}.")
    items.append("The threshold is the same for all groups.")
    sources = (run.source("environment.json", "data"), run.source("config.yaml", "method"))
    return Bullets(tuple(items), sources)


def _method(inputs: ReportInputs) -> Iterator[Block]:
    found, run = inputs.found, inputs.intervention
    strength = (run.config or {}).get("method", {}).get("strength")
    at = "" if strength is None else f", strength {strength}"
    before = ", ".join(_objectives(inputs.baseline)) or "none, a plain model"
    yield Text(
        f"Method: {found.method}{at}; criterion: {found.criterion.replace('_', ' ')}; decision "
        f"threshold {found.threshold:g}. Method of the baseline: {before}; it is trained on the "
        "same rows with the same seeds.",
        sources=(inputs.baseline.source("config.yaml"), run.source("config.yaml")),
    )
    advice = inputs.advice
    if advice is None:
        yield Missing(
            "Why this method: no advice is recorded.",
            f"run `fairlightning advise ... --json {ADVICE}` in this folder, and then "
            "`fairlightning report`.",
        )
        return
    with understood(ADVICE):
        first = advice["recommendation"]
        yield Text(
            f"Why this method: for this model and these data {first['name']} is advised first: "
            f"{'; '.join(first['reasons'])}. The appendix on the model has the alternatives.",
            sources=(Source(ADVICE),),
        )


def _advice(advice: Mapping[str, Any]) -> Table:
    with understood(ADVICE):
        return Table.of(
            "advice",
            "Techniques for this model and these data, the advised one first",
            {"technique": "Technique", "place": "Place", "why": "Why", "costs": "What it costs"},
            _advised(advice),
            (Source(ADVICE),),
            " ".join(f"{caution.rstrip('.')}." for caution in advice["cautions"]),
        )


def _advised(advice: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    places = ["recommended", *("alternative" for _ in advice["alternatives"])]
    for place, way in zip(places, [advice["recommendation"], *advice["alternatives"]], strict=True):
        costs = "; ".join(f"{name}: {cost}" for name, cost in way["trade_offs"].items())
        yield way["name"], place, "; ".join(way["reasons"]), costs
    for name, reasons in advice["ruled_out"].items():
        yield name, "ruled out", "; ".join(reasons), ""


def _no_checkpoint(run: RunFiles) -> Missing:
    return Missing(
        f"The analysis of the architecture: there is no checkpoint in {run.folder}/checkpoints.",
        "put the checkpoints of the verification back and write the report again.",
    )


def _layers(run: RunFiles) -> Block:
    if run.checkpoint is None:
        return _no_checkpoint(run)
    layers: dict[str, list[tuple[int, str]]] = {}
    for name, numbers, shape in _state(run.checkpoint):
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, []).append((numbers, f"{leaf} {shape}"))
    rows: list[tuple[Cell, ...]] = []
    for layer, tensors in layers.items():
        fairness = layer.startswith(FAIRNESS.rstrip("."))
        rows.append(
            (
                layer,
                ", ".join(text for _, text in tensors),
                Number(sum(count for count, _ in tensors), digits=0),
                "yes, in training alone" if fairness else "no",
            )
        )
    return Table.of(
        "layers",
        "Layers, in the order of the checkpoint",
        {
            "layer": "Layer",
            "shape": "Tensors or trees",
            "numbers": "Numbers",
            "sensitive": "Sees sensitive columns",
        },
        rows,
        (run.source(f"checkpoints/{run.checkpoint.name}", "state_dict"),),
        "Numbers: weights, running statistics, λ; of trees, their leaves. A network that is given "
        "a sensitive attribute as an input sees it too; the section on the model says whether it "
        "is.",
    )


def _state(checkpoint: Path) -> Iterator[tuple[str, int, str]]:
    """Name, size and shape of everything that the model holds: tensors, or trees."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            yield name, value.numel(), " × ".join(map(str, value.shape)) or "scalar"
        elif isinstance(value, Mapping) and isinstance(value.get("trees"), str):
            leaves = [
                int(n) for n in re.findall(r"^num_leaves=(\d+)", value["trees"], re.MULTILINE)
            ]
            what = f"{len(leaves)} with {sum(leaves)} leaves"
            yield name.replace("_extra_state", "trees.trees"), sum(leaves), what


def _objectives(run: RunFiles) -> list[str]:
    method = (run.config or {}).get("method") or {}
    return [
        f"{name} ({_class(content) or 'unknown class'})"
        for name, content in (method.get("objectives") or {}).items()
    ]


def _settings(run: RunFiles) -> Table:
    config = run.config or {}
    rows: list[tuple[Cell, ...]] = []
    for part in ("model", "method", "combination", "schedule", "optimizer", "dataset"):
        rows += [(part, name, str(value)) for name, value in _leaves(config.get(part))]
    return Table.of(
        "settings",
        "Settings of the intervention",
        {
            "part": "Part",
            "name": "Setting",
            "value": "Value",
        },
        rows,
        (Source(f"{run.folder}/config.yaml"),),
    )


def _leaves(content: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif prefix and not prefix.endswith("_partial_"):
        yield prefix.replace("_target_", "class"), content


def _class(content: Any) -> str | None:
    """Name of the class that a part of the configuration makes."""
    target = content.get("_target_") if isinstance(content, Mapping) else None
    return None if target is None else str(target).removesuffix(".build").rsplit(".", 1)[-1]
