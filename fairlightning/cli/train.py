"""`fairlightning train`: one run from configuration to files, or a sweep of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from fairlightning.boosting import BoostedTrees, check_objectives
from fairlightning.cli.build import build_module, build_trainer
from fairlightning.cli.console import wide_console
from fairlightning.cli.results import RunFolder
from fairlightning.cli.run import fit, launch, seeded_data, warn_of_poor_match
from fairlightning.convex_module import ConvexModule
from fairlightning.data import MemoryDataModule
from fairlightning.functional.tasks import Task
from fairlightning.metrics import Record
from fairlightning.module import FairModule
from fairlightning.report import metrics_table, probe_table


def train(config: DictConfig) -> list[Record]:
    """Train, choose the checkpoint, evaluate it on validation and test, write the run's folder.

    Args:
        config: As composed from `conf/train.yaml`.

    Returns:
        The records that `metrics.json` holds; empty on ranks other than 0.
    """
    console = wide_console()
    data = seeded_data(config)
    module = build_module(config, data)
    if isinstance(module.network, BoostedTrees):
        return _boost(config, module, module.network, data)
    trainer = build_trainer(config)
    folder = fit(config, trainer, module, data, console)
    if not trainer.is_global_zero:
        return []
    chosen = chosen_checkpoint(trainer)
    if chosen is not None:
        state = torch.load(chosen, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    if isinstance(module, ConvexModule):
        result = module.result()
        folder.write_certificate(result)
        console.print(str(result), markup=False, highlight=False)
    records = folder.write_predictions(module, data, config.threshold)
    folder.write_feasibility(trainer)
    folder.log_hyperparameters(trainer, config, records)
    return _conclude(config, folder, module, data, records)


def _boost(
    config: DictConfig, module: FairModule, trees: BoostedTrees, data: MemoryDataModule
) -> list[Record]:
    """Grow trees without a Trainer, and write the same folder of a run."""
    console = wide_console()
    folder = RunFolder(Path(config.run_dir))
    console.print(data.report(), markup=False)
    warn_of_poor_match(console, config)
    check_objectives(module.fairness)
    folder.write_config(config, data)
    schedule = instantiate(config.schedule)
    trees.fit(module.fairness, data.batch("train"), data.batch("validation"), schedule)
    checkpoints = folder.path / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    torch.save({"state_dict": module.state_dict()}, checkpoints / "best.ckpt")
    records = folder.write_predictions(module, data, config.threshold)
    return _conclude(config, folder, module, data, records)


def _conclude(
    config: DictConfig,
    folder: RunFolder,
    module: FairModule,
    data: MemoryDataModule,
    records: list[Record],
) -> list[Record]:
    """Probe the network if asked to, write the last file and show the figures."""
    console = wide_console()
    found = folder.write_probe(module.network, data, config) if config.probe else []
    records = records + [row.record("test") for row in found]
    folder.finish(records)
    console.print(metrics_table(records, "test"))
    if found:
        console.print(probe_table(found, "test"))
    console.print(folder.where_to_look(), soft_wrap=True)
    return records


def chosen_checkpoint(trainer: L.Trainer) -> Path | None:
    """Path of the best checkpoint, if a callback monitors one."""
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "monitor", None) and getattr(callback, "best_model_path", ""):
            return Path(callback.best_model_path)  # type: ignore[attr-defined]
    return None


def trade_off(
    records: Sequence[Record], criterion: str, attributes: Sequence[str] | None
) -> tuple[float, float]:
    """Accuracy and largest gap on validation: what a sweeper such as Optuna gets of a run.

    Args:
        records: Those of a run.
        criterion: One that the task has, such as `demographic_parity`.
        attributes: Sensitive attributes whose gaps count; None for all, without crossings.

    Returns:
        Accuracy in [0, 1], to be maximised, and the gap in [0, 1], to be minimised; of a regression
        minus the root mean squared error, and the gap, in units of the target. NaN for what could
        not be estimated, and on ranks that have no records.
    """
    accuracy, gap = nan, nan
    amounts = any(record.metric == "root_mean_squared_error" for record in records)
    difference = Task("regression" if amounts else "binary").difference(criterion)
    for stage, metric, attribute, group, value, *_ in records:
        if stage != "val" or group is not None or value is None:
            continue
        if metric == "accuracy" and attribute is None:
            accuracy = value
        elif metric == "root_mean_squared_error" and attribute is None:
            accuracy = -value
        elif metric == difference and attribute is not None:
            counts = attribute in attributes if attributes else " & " not in attribute
            gap = max(value, gap) if counts else gap  # no NaN is greater than a value
    return accuracy, gap


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning train`."""
    launch("train", _train_unless_finished, arguments)


def _train_unless_finished(config: DictConfig) -> tuple[float, float]:
    records = RunFolder(Path(config.run_dir)).finished(config)
    if records:
        wide_console().print(f"{config.run_dir}: finished already", markup=False)
    else:
        records = train(config)
    return trade_off(records, config.criterion, config.attributes)
