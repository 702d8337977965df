"""Jobs of a plan on a launcher of Hydra: joblib, Slurm, Ray, as sweeps use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from hydra._internal.callbacks import Callbacks  # what HydraContext asks for
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, read_write

from fairlightning.exceptions import SetupError

T = TypeVar("T")

LAUNCHER = "launcher"
"""Value of `jobs` that hands jobs to the configured launcher."""


def launched(run: Callable[[T], str], jobs: Sequence[T], folder: Path) -> Iterator[str]:
    """Run jobs on the launcher that `hydra/launcher` names, all of them before the first result.

    Args:
        run: What to do with a job; has to pickle.
        jobs: The jobs; have to pickle.
        folder: Where the launcher keeps what it needs.

    Yields:
        The result of each.

    Raises:
        SetupError: If there is no launcher, since the command does not run under Hydra.
        Exception: What a job raised.
    """
    if not jobs:
        return
    if not HydraConfig.initialized():
        raise SetupError.of(
            "jobs",
            found="launcher, without Hydra to give one",
            expected="a number when a verification is resumed by its folder",
            mend="run the command of the first time again with the same run_dir",
        )
    config = OmegaConf.create({"hydra": deepcopy(HydraConfig.get())})
    with read_write(config.hydra.sweep):
        config.hydra.sweep.dir = str(folder)
    context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())

    def task(own: DictConfig) -> str:
        return run(jobs[own.part])

    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=task, config=config
    )
    place = [f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir='${hydra:job.num}'"]
    overrides = [[*place, f"part={number}"] for number in range(len(jobs))]
    for ended in launcher.launch(overrides, initial_job_idx=0):
        yield ended.return_value
