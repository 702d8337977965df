"""`fairlightning train`: one run from configuration to files, or a sweep of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fairlightning.cli.build import build_data, build_module, build_trainer, conf_dir
from fairlightning.cli.console import quiet, wide_console
from fairlightning.cli.results import RunFolder
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
    trainer.fit(module, datamodule=data, ckpt_path=config.resume)
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
    records = folder.write_results(module, data, config.threshold)
    folder.write_feasibility(trainer)
    folder.log_hyperparameters(trainer, config, records)
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
    """Short name of a job's folder, for TensorBoard: `0_method.strength=0.1,method=parity`."""
    short = [f"{key}={value.rsplit('/', 1)[-1]}" for key, _, value in _pairs(overrides)]
    return f"{number}_{','.join(short)}"[:150]


def _pairs(overrides: str) -> list[tuple[str, str, str]]:
    # A comma inside brackets belongs to the value: method=[adversarial,parity].
    return [part.partition("=") for part in re.split(r",(?=[^,\[\]]+=)", overrides) if part]


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning train`."""
    quiet()
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    original = sys.argv

    def job(config: DictConfig) -> None:
        sys.argv = original  # with it Lightning starts the other processes of a DDP run
        _job(config)

    sys.argv = ["fairlightning train", *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)()


def _job(config: DictConfig) -> None:
    try:
        _check_complete(config)
        train(config)
    except (FairlightningError, InstantiationException) as error:
        known = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(known, FairlightningError):
            raise
        print(f"fairlightning train: {known}", file=sys.stderr)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # the sweep goes on with its next job and reports at the end
        sys.exit(2)


def _check_complete(config: DictConfig) -> None:
    missing = OmegaConf.missing_keys(config)
    if missing:
        raise ArgumentError.of(
            ", ".join(sorted(missing)),
            found="no value",
            expected="a value",
            mend=f"add for example {min(missing)}=... to the command",
        )
