"""`fairlightning train`: one run from configuration to files, or a sweep of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from math import nan
from pathlib import Path
from zlib import crc32

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fairlightning.cli.build import build_data, build_module, build_trainer, conf_dir
from fairlightning.cli.console import quiet, wide_console
from fairlightning.cli.results import CONTINUE, RunFolder
from fairlightning.convex_module import ConvexModule
from fairlightning.exceptions import ArgumentError, FairlightningError
from fairlightning.metrics import Record
from fairlightning.report import metrics_table


def train(config: DictConfig) -> list[Record]:
    """Train, choose the checkpoint, evaluate it on validation and test, write the run's folder.

    Args:
        config: As composed from `conf/train.yaml`.

    Returns:
        The records that `metrics.json` holds; empty on ranks other than 0.
    """
    console = wide_console()
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, workers=True, verbose=False)
    data = build_data(config)
    module = build_module(config, data)
    trainer = build_trainer(config)
    folder = RunFolder(Path(config.run_dir))
    if trainer.is_global_zero:
        console.print(data.report())
        folder.write_config(config, data)
    checkpoint = folder.last_checkpoint() if config.resume == CONTINUE else config.resume
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
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
    folder.finish(records)
    console.print(metrics_table(records, "test"))
    console.print(folder.where_to_look())
    return records


def chosen_checkpoint(trainer: L.Trainer) -> Path | None:
    """Path of the best checkpoint, if a callback monitors one."""
    for callback in trainer.checkpoint_callbacks:
        if getattr(callback, "monitor", None) and getattr(callback, "best_model_path", ""):
            return Path(callback.best_model_path)  # type: ignore[attr-defined]
    return None


def folder_name(number: int, overrides: str) -> str:
    """Short name of a job's folder, for TensorBoard: `0_method.strength=0.1,method=parity`.

    A name that had to be cut ends in a checksum of all overrides, which keeps it unique.
    """
    short = [f"{key}={value.rsplit('/', 1)[-1]}" for key, _, value in _pairs(overrides)]
    name = f"{number}_{','.join(short)}"
    return name if len(name) <= 150 else f"{name[:140]}~{crc32(overrides.encode()):08x}"


def made_folder(path: str) -> str:
    """Make a folder for a file that is opened before the first run; its absolute path."""
    folder = Path(path).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _pairs(overrides: str) -> list[tuple[str, str, str]]:
    # A comma inside brackets belongs to the value: method=[adversarial,parity].
    return [part.partition("=") for part in re.split(r",(?=[^,\[\]]+=)", overrides) if part]


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning train`."""
    quiet()
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("made_folder", made_folder, replace=True)
    original = sys.argv

    def job(config: DictConfig) -> tuple[float, float]:
        sys.argv = original  # with it Lightning starts the other processes of a DDP run
        return _job(config)

    sys.argv = ["fairlightning train", *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)()


def _job(config: DictConfig) -> tuple[float, float]:
    try:
        _check_complete(config)
        records = RunFolder(Path(config.run_dir)).finished(config)
        if records:
            wide_console().print(f"{config.run_dir}: finished already", markup=False)
        else:
            records = train(config)
        return trade_off(records, config.criterion, config.attributes)
    except (FairlightningError, InstantiationException) as error:
        known = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(known, FairlightningError):
            raise
        print(f"fairlightning train: {known}", file=sys.stderr)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # the sweep goes on with its next job and reports at the end
        sys.exit(2)


def trade_off(
    records: Sequence[Record], criterion: str, attributes: Sequence[str] | None
) -> tuple[float, float]:
    """Accuracy and largest gap on validation: what a sweeper such as Optuna gets of a run.

    Args:
        records: Those of a run.
        criterion: `demographic_parity`, `equal_opportunity` or `equalized_odds`.
        attributes: Sensitive attributes whose gaps count; None for all, without crossings.

    Returns:
        Accuracy in [0, 1], to be maximised, and the gap in [0, 1], to be minimised. NaN for what
        could not be estimated, and on ranks that have no records.
    """
    accuracy, gap = nan, nan
    for stage, metric, attribute, group, value, *_ in records:
        if stage != "val" or group is not None or value is None:
            continue
        if metric == "accuracy" and attribute is None:
            accuracy = value
        elif metric == f"{criterion}_difference" and attribute is not None:
            counts = attribute in attributes if attributes else " & " not in attribute
            gap = max(value, gap) if counts else gap  # no NaN is greater than a value
    return accuracy, gap


def _check_complete(config: DictConfig) -> None:
    missing = OmegaConf.missing_keys(config)
    if missing:
        raise ArgumentError.of(
            ", ".join(sorted(missing)),
            found="no value",
            expected="a value",
            mend=f"add for example {min(missing)}=... to the command",
        )
