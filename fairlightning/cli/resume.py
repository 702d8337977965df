"""`fairlightning resume`: a killed run or sweep goes on where it stopped."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fairlightning.cli.console import quiet, wide_console
from fairlightning.cli.front import front
from fairlightning.cli.front import main as front_from_arguments
from fairlightning.cli.results import CONTINUE, RunFolder
from fairlightning.cli.train import main as train_from_arguments
from fairlightning.cli.train import train
from fairlightning.cli.verify import verify
from fairlightning.exceptions import ArgumentError, DataError

EPILOG = """\
example:
  fairlightning resume multirun/2026-01-31_12-00-00-000000

Runs that have finished are not repeated, one that was cut off goes on from its last epoch, those
that had not begun are run. Further arguments are added to those of the first time.
"""


def main(arguments: Sequence[str]) -> None:
    """Go on with what a folder holds."""
    options, more = _parser().parse_known_args(arguments)
    folder: Path = options.folder.resolve()
    sweep = folder / "multirun.yaml"
    if sweep.is_file():
        os.chdir(OmegaConf.load(sweep).hydra.runtime.cwd)  # paths may be relative to it
        command = OmegaConf.load(sweep).hydra.job.config_name
        run = {"train": train_from_arguments, "front": front_from_arguments}[command]
        run([*sweep_arguments(sweep), *more])
    elif (folder / "config.yaml").is_file():
        if more:
            raise ArgumentError.of(
                "arguments",
                found=" ".join(more),
                expected="only the folder, since the run has its configuration",
                mend="start a run of its own for another configuration",
            )
        _resume_run(folder)
    else:
        raise DataError.of(
            str(folder),
            found="neither multirun.yaml nor config.yaml",
            expected="the folder of a sweep or of a run",
            mend="name the folder that `fairlightning train` printed as Results, or its parent",
        )


def sweep_arguments(path: Path) -> list[str]:
    """Arguments of `fairlightning train` with which a sweep goes on.

    Args:
        path: The file `multirun.yaml`, which Hydra writes into a sweep's folder.

    Raises:
        DataError: If a sweeper chose the values, and not the command.
    """
    hydra = OmegaConf.load(path).hydra
    choice = hydra.runtime.choices["hydra/sweeper"]
    if choice != "basic":
        raise DataError.of(
            str(path),
            found=f"a sweep by {choice}, which draws its values anew",
            expected="a sweep over values that the command names",
            mend="run the command of the first time again with the same hydra.sweep.dir: with "
            "hydra/sweeper=pareto its study is kept there",
        )
    named = ("hydra.sweep.dir=", "hydra.mode=", "resume=")
    overrides = [*hydra.overrides.hydra, *hydra.overrides.task]
    kept = [override for override in overrides if not override.startswith(named)]
    folders = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    own = [part for folder in folders for part in ("--config-dir", folder)]
    return ["-m", *own, *kept, f"hydra.sweep.dir='{path.parent}'", f"resume={CONTINUE}"]


def _resume_run(folder: Path) -> None:
    quiet()
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    config.run_dir, config.resume = str(folder), CONTINUE
    if "success" in config:  # what verify.yaml alone has; it sees for itself what is finished
        verify(config)
        return
    is_front = "strengths" in config  # what front.yaml alone has
    if (folder / ("front.json" if is_front else "metrics.json")).is_file():
        wide_console().print(f"{folder}: finished already", markup=False)
        return
    if RunFolder(folder).last_checkpoint() is None:
        wide_console().print("No epoch was completed: begins anew", markup=False)
    (front if is_front else train)(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning resume",
        description="Go on with a run or a sweep that was killed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder of the sweep, or of one run")
    return parser
