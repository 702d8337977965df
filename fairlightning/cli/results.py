"""A run's folder: what was asked for, where it ran, what came out."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from torch import Tensor, nn

from fairlightning.callbacks import FeasibleCheckpoint
from fairlightning.cli.build import solved_convexly
from fairlightning.convex.linear import LinearResult
from fairlightning.data import MemoryDataModule
from fairlightning.exceptions import DataError
from fairlightning.functional.tasks import predicted_scores
from fairlightning.metrics import Record, Recovery, tag
from fairlightning.module import FairModule
from fairlightning.report import is_shown, place
from fairlightning.verification import (
    evaluate,
    probe,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)

PACKAGES = ("fairlightning", "torch", "lightning", "torchmetrics", "hydra-core", "numpy", "pandas")
"""Packages whose versions a run records."""

CONTINUE = "continue"
"""Value of `resume` with which a run goes on from whatever is in its folder."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder; made where it does not exist.
    """

    path: Path

    def finished(self, config: DictConfig) -> list[Record]:
        """Records of an earlier run of the same configuration, where `resume` asks to go on.

        Returns:
            What `metrics.json` holds; nothing without it, or if `resume` does not ask.

        Raises:
            DataError: If the folder holds a run of another configuration.
        """
        if config.resume != CONTINUE or not (self.path / "config.yaml").is_file():
            return []
        before = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))
        now = OmegaConf.to_container(config, resolve=True)
        assert isinstance(before, dict)
        assert isinstance(now, dict)
        keys = (before | now).keys() - {"resume"}
        differing = sorted(key for key in map(str, keys) if before.get(key) != now.get(key))
        if differing:
            raise DataError.of(
                str(self.path),
                found=f"a run with another {', '.join(differing)}",
                expected="one of the same configuration, to go on from",
                mend="repeat the arguments of the first time, or name another folder",
            )
        path = self.path / "metrics.json"
        return read_metrics(path) if path.is_file() else []

    def last_checkpoint(self) -> Path | None:
        """Path of the checkpoint of the last epoch, if one is complete."""
        path = self.path / "checkpoints" / "last.ckpt"
        return path if path.is_file() else None

    def write_config(self, config: DictConfig, data: MemoryDataModule) -> None:
        """Write what was asked for and where it runs, before training starts."""
        self.path.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, self.path / "config.yaml", resolve=True)
        environment = {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in PACKAGES},
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "data": data.describe(),
        }
        text = json.dumps(environment, indent=2, default=str)
        (self.path / "environment.json").write_text(text + "\n")

    def write_predictions(
        self, module: FairModule, data: MemoryDataModule, threshold: float
    ) -> list[Record]:
        """Predict validation and test, and evaluate from the predictions that are on disk.

        The records are returned, not written: `finish` does that when all else is there.
        """
        path = self.path / "predictions.parquet"
        parts = [predictions(module.network, data, split) for split in ("validation", "test")]
        write_predictions(path, pd.concat(parts, ignore_index=True))
        frame = read_predictions(path)
        weight = "weight" if "weight" in frame else None
        return evaluate(frame, data.groups, weight=weight, threshold=threshold, task=data.task.name)

    def write_probe(
        self, network: nn.Module, data: MemoryDataModule, config: DictConfig
    ) -> list[Recovery]:
        """Probe the network on the test rows, and write what was recovered to `probe.json`."""
        logits, representation = outputs(network, data, "test")
        sources = {"logits": logits}
        if representation is not None:
            sources = {"representation": representation, **sources}
        batch = data.batch("test")
        found = probe(
            sources,
            batch.target,
            batch.sensitive,
            data.groups,
            attributes=config.attributes,
            seed=config.seed,
        )
        rows = [{"stage": "test", **row._asdict()} for row in found]
        (self.path / "probe.json").write_text(json.dumps(rows, indent=2) + "\n")
        return found

    def finish(self, records: list[Record]) -> None:
        """Write `metrics.json`, the last file: where it is, the run is finished."""
        write_metrics(self.path / "metrics.json", records)

    def write_feasibility(self, trainer: L.Trainer) -> None:
        """Write whether the kept epoch met the constraints on validation, if there are any."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, FeasibleCheckpoint) and callback.verdict:
                kept = {"checkpoint": Path(callback.best_model_path).name, **callback.verdict}
                text = json.dumps(kept, indent=2)
                (self.path / "feasibility.json").write_text(text + "\n")

    def write_certificate(self, result: LinearResult) -> None:
        """Write what a convex program proved of its solution; infinities become null."""
        facts = {name: getattr(result, name) for name in ("status", "passes", "objective", "bound")}
        facts |= {"duality_gap": result.duality_gap, "left_out": result.left_out}
        facts["constraints"] = [value._asdict() for value in result.constraints]
        text = json.dumps(json.loads(json.dumps(facts), parse_constant=lambda _: None), indent=2)
        (self.path / "certificate.json").write_text(text + "\n")

    def log_hyperparameters(
        self, trainer: L.Trainer, config: DictConfig, records: list[Record]
    ) -> None:
        """Fill the HParams tab: what was chosen, and the figures on test.

        Once, at the end and with the same metrics in every run, since TensorBoard ignores later
        summaries and cannot line up runs whose metrics differ.
        """
        final = {
            f"final/{tag(r)}": r.value
            for r in sorted(records, key=place)  # TensorBoard shows the first five
            if r.stage == "test" and r.group is None and r.value is not None and is_shown(r.key)
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(hyperparameters(config), final)
            else:
                logger.log_hyperparams(hyperparameters(config))
                logger.log_metrics(final)
            logger.finalize("success")

    def where_to_look(self) -> str:
        """Say, in the markup of rich, where the results lie and how to open them."""
        here = Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        name = escape(str(path))  # attributes=[sex] in it is no markup
        return (
            f"[bold]Results[/]  {name}: metrics.json, predictions.parquet, config.yaml, "
            f"checkpoints\n[bold]Watch[/]    tensorboard --logdir {name}"
        )


def predictions(
    network: nn.Module, data: MemoryDataModule, split: str, member: int | str = 0
) -> pd.DataFrame:
    """Score every row of a split.

    Args:
        network: The trained network.
        data: Where the rows are.
        split: `validation` or `test`.
        member: Which of several models it is.

    Returns:
        The columns of `predictions.parquet`; `score` is the probability of the positive class.
        Several classes have `score_<class>` each, a regression `prediction`.
    """
    batch = data.batch(split)
    logits, _ = outputs(network, data, split)
    task = data.task
    scores = predicted_scores(logits, task.kind).numpy()
    target = batch.target.numpy()
    scored = {"prediction" if task.kind == "regression" else "score": scores}
    if task.kind == "multiclass":
        scored = {f"score_{name}": scores[:, k] for k, name in enumerate(task.classes)}
        target = np.array(task.classes)[target]
    columns = {
        "row": batch.index.numpy(),
        "split": {"validation": "val"}.get(split, split),
        "member": member,
        **scored,
        "target": target,
    }
    frame = pd.DataFrame(columns)
    for axis, (name, values) in enumerate(data.groups.to_dict().items()):
        codes = batch.sensitive[:, axis].tolist()
        frame[name] = pd.array([values[c] if c >= 0 else None for c in codes], dtype="string")
    if batch.weight is not None:
        frame["weight"] = batch.weight.double().numpy()
    return frame


def outputs(network: nn.Module, data: MemoryDataModule, split: str) -> tuple[Tensor, Tensor | None]:
    """Run a network, in evaluation mode, on every row of a split.

    Returns:
        `(N, 1)` logits and `(N, H)` representation, on the CPU; None from one that has none.
    """
    network.eval()
    # Trees have no parameters, and are on the CPU.
    device = next(network.parameters(), torch.empty(0)).device
    batch, size = data.batch(split), data.eval_batch_size
    # Not a loader of the data module, which after a DDP training would give this rank's share.
    parts = [batch.take(slice(i, i + size)) for i in range(0, len(batch.index), size)]
    with torch.inference_mode():
        found = [
            network(data.transfer_batch_to_device(part, device, 0).inputs)[:2] for part in parts
        ]
    logits, representation = zip(*found, strict=True)
    known = representation[0] is not None
    return torch.cat(logits).cpu(), torch.cat(representation).cpu() if known else None


def hyperparameters(config: DictConfig) -> dict[str, str | float | bool]:
    """What distinguishes one run from another, flat and plain."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    objectives = container["method"]["objectives"]
    if solved_convexly(config):
        objectives = {"convex": container["method"]["convex"]["module"]}
    chosen = {
        "method": "+".join(objectives) or "erm",
        "strength": container["method"]["strength"],
        "sampling": _sampling(container),
        "batch_size": container["dataset"]["batch_size"],
        "max_epochs": container["trainer"]["max_epochs"],
        **{
            key: container[key]
            for key in ("seed", "criterion", "epsilon", "attributes", "threshold")
        },
        **{key: container[key] for key in ("model", "optimizer", "schedule")},
        **objectives,
    }
    flat = _flatten(chosen)
    return {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in flat.items()}


def _sampling(config: dict[Any, Any]) -> str:
    """Name of the rule that orders or weighs training rows, or `uniform`."""
    rules = (config.get("sampling") or {}).values()  # which runs of earlier versions lack
    named = (rule["_target_"].rsplit(".", 1)[-1] for rule in rules if rule)
    return next(named, "uniform")


def _flatten(tree: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}/")
        elif key == "_target_":
            flat[f"{prefix}class"] = str(value).removesuffix(".build").rsplit(".", 1)[-1]
        elif key != "_partial_":
            flat[f"{prefix}{key}"] = value
    return flat
