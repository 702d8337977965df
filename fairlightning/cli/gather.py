"""Finding finished runs and fronts in a folder, and making points of one front of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fairlightning.cli.front_results import shown_path
from fairlightning.cli.results import hyperparameters
from fairlightning.exceptions import DataError
from fairlightning.verification import FrontPoint, read_front, read_metrics

Settings = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A finished training.

    Attributes:
        folder: Its folder.
        config: Its configuration.
        points: Its models; one of `fairlightning train`, several of a front. Their settings are all
            that was chosen, equal among the runs or not.
        plain: Ids of those of its models that were trained without fairness.
    """

    folder: Path
    config: DictConfig
    points: tuple[FrontPoint, ...]
    plain: tuple[str, ...]

    @property
    def seed(self) -> int:
        """Seed of the splits, the initial weights and the order of batches."""
        return int(self.config.seed)


def find_runs(folder: Path, output: Path) -> tuple[list[Found], list[Path]]:
    """Read all finished runs below a folder.

    Args:
        folder: Where to look, at any depth.
        output: Folder of the collected front; the paths of models are relative to it.

    Returns:
        The runs, and the folders of those that have begun and not finished.

    Raises:
        DataError: If there is no such folder, or a file cannot be read.
    """
    if not folder.is_dir():
        raise DataError.of(
            str(folder),
            found="no such folder",
            expected="the folder of a sweep, or one with several runs",
            mend="check the path",
        )
    finished, unfinished = [], []
    for path in sorted(folder.rglob("config.yaml")):
        run = path.parent
        if (run / "front.json").is_file() or (run / "metrics.json").is_file():
            finished.append(_read(run, run.relative_to(folder), output))
        else:
            unfinished.append(run)
    return finished, unfinished


def differing(runs: Sequence[Found]) -> list[Found]:
    """Keep of the settings only those in which the points differ; one that a run lacks is null."""
    points = [point for run in runs for point in run.points]
    names = dict.fromkeys(name for point in points for name in point.settings)
    kept = [name for name in names if len({point.settings.get(name) for point in points}) > 1]
    return [
        replace(
            run,
            points=tuple(
                replace(p, settings={name: p.settings.get(name) for name in kept})
                for p in run.points
            ),
        )
        for run in runs
    ]


def check_same_rows(runs: Iterable[Found]) -> None:
    """Check that runs of one seed were evaluated on the same rows.

    Raises:
        DataError: If they were not: their figures cannot be compared.
    """
    first: dict[int, tuple[Path, pd.DataFrame]] = {}
    for run in runs:
        rows = _rows(run.folder)
        other, expected = first.setdefault(run.seed, (run.folder, rows))
        if not rows.equals(expected):
            raise DataError.of(
                str(run.folder),
                found=f"other rows of validation or test than in {other}, with the same seed",
                expected="the same rows in all runs of one seed",
                mend="collect runs of one data set and one split only",
            )


def _read(run: Path, name: Path, output: Path) -> Found:
    config = OmegaConf.load(run / "config.yaml")
    assert isinstance(config, DictConfig)
    chosen = hyperparameters(config)
    place = _relative(run, output)
    if (run / "front.json").is_file():
        front = read_front(run / "front.json")
        ids = {p.id: p.id if name == Path() else f"{name}/{p.id}" for p in front.points}
        points = [
            replace(
                point,
                id=ids[point.id],
                settings={**chosen, **point.settings},
                model=f"{place}/{point.model}",
            )
            for point in front.points
        ]
        plain = [] if front.baseline_id is None else [ids[front.baseline_id]]
    else:
        load = (
            f"from fairlightning.cli.build import load_run; "
            f"module, data = load_run({str(shown_path(run))!r})"
        )
        records = tuple(read_metrics(run / "metrics.json"))
        points = [FrontPoint(str(name), chosen, records, place, load)]
        plain = [str(name)] if chosen["strength"] == 0 or chosen["method"] == "erm" else []
    # Rows that are weighed or ordered by group make a model fairer too.
    uniform = chosen["sampling"] == "uniform"
    return Found(run, config, tuple(points), tuple(plain) if uniform else ())


def _relative(run: Path, output: Path) -> str:
    run, output = run.resolve(), output.resolve()
    above = [output, *output.parents]
    up = next(number for number, parent in enumerate(above) if run.is_relative_to(parent))
    return str(Path(*[".."] * up, run.relative_to(above[up])))


def _rows(run: Path) -> pd.DataFrame:
    path = run / "predictions.parquet"
    if not path.is_file():
        raise DataError.of(
            str(path),
            found="no such file",
            expected="the predictions of a finished run, by which its rows are known",
            mend="repeat the run, or leave it out of the folder",
        )
    frame = pd.read_parquet(path, columns=["row", "split", "target", "member"])
    frame = frame[frame["member"] == frame["member"].iloc[0]].drop(columns="member")
    rows: pd.DataFrame = frame.sort_values(["split", "row"], ignore_index=True)
    return rows
