"""From a composed configuration to the objects of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fairlightning.data import TabularDataModule
from fairlightning.exceptions import SetupError
from fairlightning.module import FairModule


def conf_dir() -> Path:
    """Folder of the configuration files: in the package, or beside it in a checkout.

    Raises:
        SetupError: If there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise SetupError.of(
        "conf",
        found=f"no configuration in {package} or beside it",
        expected="the folder conf of the repository or of the wheel",
        mend="reinstall fairlightning",
    )


def plain(config: DictConfig, key: str) -> Any:
    """A part of the configuration as plain Python values, which checkpoints can hold."""
    node = config[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def build_data(config: DictConfig) -> TabularDataModule:
    """Read and check the data set."""
    data: TabularDataModule = instantiate(config.dataset, seed=config.seed, _convert_="all")
    data.setup()
    return data


def build_module(config: DictConfig, data: TabularDataModule) -> FairModule:
    """Make network, objectives and module for the columns of the data.

    Raises:
        ArgumentError: If the configuration names attributes that the data does not have.
    """
    network = instantiate(
        config.model,
        numeric=data.num_numeric,
        cardinalities=data.cardinalities,
        _convert_="all",
    )
    objectives = {
        name: instantiate(node, _partial_=True, _convert_="all")(data.groups, network.sizes)
        for name, node in config.method.objectives.items()
    }
    options = instantiate(config.optimizer, _convert_="all")
    return FairModule(
        network,
        data.groups,
        objectives=objectives,
        strength=config.method.strength,
        combination=instantiate(config.combination),
        **options,
    )


def build_trainer(config: DictConfig) -> L.Trainer:
    """Make the Trainer with its callbacks and logger."""
    callbacks = [instantiate(node, _convert_="all") for node in config.callbacks.values() if node]
    logger = instantiate(config.logger) if config.logger else False
    trainer: L.Trainer = instantiate(
        config.trainer, callbacks=callbacks, logger=logger, _convert_="all"
    )
    return trainer
