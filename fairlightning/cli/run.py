"""What commands that train share: Hydra's entry, the start of a run and its fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any
from zlib import crc32

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console

from fairlightning.advisor import family_of, poor_matches
from fairlightning.cli.build import build_data, conf_dir, solved_convexly
from fairlightning.cli.console import quiet
from fairlightning.cli.results import CONTINUE, RunFolder
from fairlightning.data import MemoryDataModule
from fairlightning.exceptions import ArgumentError, FairlightningError

_LARGEST_SEED = 2**32 - 1
"""What NumPy's generators take at most."""


def seeded_data(config: DictConfig) -> MemoryDataModule:
    """Set threads and seeds as the configuration says, and read the data."""
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, workers=True, verbose=False)
    return build_data(config)


def fit(
    config: DictConfig,
    trainer: L.Trainer,
    module: L.LightningModule,
    data: MemoryDataModule,
    console: Console,
) -> RunFolder:
    """Write down what was asked for, and train, from a checkpoint if `resume` asks for it.

    Returns:
        The folder of the run, which rank 0 alone has written to.
    """
    folder = RunFolder(Path(config.run_dir))
    if trainer.is_global_zero:
        console.print(data.report(), markup=False)
        warn_of_poor_match(console, config)
        folder.write_config(config, data)
    checkpoint = folder.last_checkpoint() if config.resume == CONTINUE else config.resume
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return folder


def warn_of_poor_match(console: Console, config: DictConfig) -> None:
    """Say, before training, which of its techniques does not suit the model, and what does."""
    family = family_of(config.model._target_)
    for technique, judged in poor_matches(family, config.method.objectives).items():
        console.print(
            f"[bold yellow]{technique} with {family} models: {judged.level}[/]", highlight=False
        )
        text = f"  {judged.reason}. Instead: {judged.alternative}"
        console.print(text, markup=False, highlight=False)


def launch(command: str, run: Callable[[DictConfig], object], arguments: Sequence[str]) -> None:
    """Run a command on the configuration of its name, as Hydra composes it.

    Args:
        command: Name of the command and of its file in `conf`.
        run: What it does; what it returns is for a sweeper.
        arguments: Those that follow `fairlightning COMMAND`.
    """
    quiet()
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("made_folder", made_folder, replace=True)
    original = sys.argv

    def job(config: DictConfig) -> object:
        sys.argv = original  # with it Lightning starts the other processes of a DDP run
        return _job(command, run, config)

    sys.argv = [f"fairlightning {command}", *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()


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


def _job(command: str, run: Callable[[DictConfig], object], config: DictConfig) -> object:
    try:
        _check_complete(config)
        _check_values(config)
        _check_used(config, HydraConfig.get().overrides.task)
        return run(config)
    except (FairlightningError, InstantiationException) as error:
        known = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(known, FairlightningError):
            raise
        print(f"fairlightning {command}: {known}", file=sys.stderr)
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


def _check_values(config: DictConfig) -> None:
    """Refuse values that whoever uses them would take badly, or late.

    A command has those of the keys that its own file in `conf` has.
    """
    # key: whether a value is right, which ones are, and one of them
    rules: dict[str, tuple[Callable[[Any], bool], str, str]] = {
        "seed": (
            lambda value: _is_whole(value) and 0 <= value <= _LARGEST_SEED,
            f"an integer from 0 to {_LARGEST_SEED}",
            "0",
        ),
        "threads": (
            lambda value: _is_whole(value) and value >= 1,
            "an integer of at least 1",
            "1",
        ),
        "trainer.max_epochs": (
            lambda value: value is None or (_is_whole(value) and (value >= 1 or value == -1)),
            "an integer of at least 1, or -1 or null for no limit of epochs",
            "30",
        ),
        "optimizer.learning_rate": (
            # One for each model of a front, which sees to them itself.
            lambda value: (
                (isinstance(value, ListConfig) and "strengths" in config)
                or (
                    isinstance(value, int | float)
                    and not isinstance(value, bool)
                    and 0 < value < inf
                )
            ),
            "a number above 0",
            "0.001",
        ),
        "resume": (
            lambda value: value in (None, CONTINUE) or Path(str(value)).is_file(),
            f"the path of a checkpoint that exists, or {CONTINUE}",
            CONTINUE,
        ),
        "probe": (lambda value: isinstance(value, bool), "true or false", "true"),
    }
    for key, (is_right, expected, example) in rules.items():
        section, _, name = key.rpartition(".")
        part = OmegaConf.select(config, section) if section else config
        if part and name in part and not is_right(part[name]):
            raise ArgumentError.of(
                key, found=repr(part[name]), expected=expected, mend=f"pass {key}={example}"
            )


def _check_used(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse keys of networks for a convex program, and the other way round: nobody reads them."""
    if "convex" not in config.get("method", {}):
        return
    objectives = [f"method.objectives.{name}" for name in config.method.convex.instead_of]
    used = {"epsilon": "epsilon_logit", **dict.fromkeys(objectives, "method.convex.module")}
    if not solved_convexly(config):
        used = {"epsilon_logit": "epsilon", "method.convex": objectives[0]}
    for key in (override.partition("=")[0].lstrip("+~") for override in overrides):
        for unused, instead in used.items():
            if f"{key}.".startswith(f"{unused}."):
                model = config.model._target_.rsplit(".", 1)[-1]
                raise ArgumentError.of(
                    key,
                    found=f"a value, which the method does not read for {model}",
                    expected=f"{instead}, which it reads",
                    mend=f"set {instead} in its place, or leave it out",
                )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
