"""`fairlightning collect`: runs of a sweep, and fronts, as one front."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fairlightning.cli.console import wide_console
from fairlightning.cli.front_results import print_front, shown_path, write_front_results
from fairlightning.cli.gather import Found, check_same_rows, differing, find_runs
from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.functional.front_choice import attainment
from fairlightning.functional.pareto import Array
from fairlightning.verification import Criterion, Front, FrontPoint
from fairlightning.verification.front_file import CHOSEN_ON, REPORTED_ON

EPILOG = """\
example:
  fairlightning train -m method=parity method.strength=0,0.1,0.3,1.0 seed=0,1
  fairlightning collect multirun/2026-01-31_12-00-00-000000

Runs that have not finished are named and left out. With several seeds the picture has a line of
what at least half of them attain.
"""


def main(arguments: Sequence[str]) -> None:
    """Write `front.json`, pictures and page of all runs in a folder, and print the table."""
    options = _parser().parse_args(arguments)
    collect(options.folder, options.criterion, options.attribute, options.output)


def collect(
    folder: Path,
    criterion: str | None = None,
    attributes: Sequence[str] | None = None,
    output: Path | None = None,
) -> Front:
    """Make one front of the runs in a folder.

    Args:
        folder: Where runs of `fairlightning train` and `fairlightning front` are, at any depth.
        criterion: Criterion of the gap; that of the runs if None.
        attributes: Attributes whose gaps count; those of the runs if None, or where they name none
            the first one that they have a gap of.
        output: Folder to write to; `folder` if None.

    Returns:
        What `front.json` holds.

    Raises:
        DataError: If there is no finished run, a figure is missing, or runs of one seed were
            evaluated on different rows.
        ArgumentError: If runs differ in criterion or attributes and none is given, or the output
            would take the place of a run's own front.
    """
    console = wide_console()
    output = output or folder
    runs, unfinished = find_runs(folder, output)
    _report_found(console, runs, unfinished)
    if not runs:
        raise DataError.of(
            str(folder),
            found="no finished run",
            expected="folders with config.yaml and metrics.json or front.json",
            mend="name the folder of a sweep; `fairlightning resume` finishes one",
        )
    if output.resolve() in {run.folder.resolve() for run in runs}:
        raise ArgumentError.of(
            "output",
            found=str(output),
            expected="another folder than that of a run, whose front it would replace",
            mend="pass --output FOLDER",
        )
    check_same_rows(runs)
    runs = differing(runs)
    criteria = _criteria(runs, criterion, attributes)
    points = tuple(point for run in runs for point in run.points)
    title = f"{len(points)} models of {len(runs)} runs in {folder.resolve().name}"
    front = Front(title, criteria, points, _baseline(console, runs, criteria))
    seeds = {point.id: f"seed {run.seed}" for run in runs for point in run.points}
    several = len(set(seeds.values())) > 1
    write_front_results(
        output,
        front,
        series=seeds if several else None,
        attained=median_front(front, seeds) if several and len(criteria) == 2 else None,
    )
    print_front(console, front)
    files = "front.html, front.png, front.svg, front.json"
    console.print(f"Results  {shown_path(output)}: {files}", markup=False, highlight=False)
    return front


def median_front(front: Front, series: dict[str, str]) -> Array:
    """Performance and gap on test that at least half of the seeds attain, `(P, 2)`.

    Of each seed those models count that no other of its own dominates on validation.
    """
    names = np.array([series[point.id] for point in front.points])
    reported = front.costs(REPORTED_ON)
    costs = []
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(names == name)
        own = Front("", front.criteria, tuple(front.points[row] for row in rows))
        costs.append(reported[rows][own.on_front(CHOSEN_ON)])
    line = attainment(costs)
    first = 1 - line[:, 0] if front.criteria[0].maximised else line[:, 0]
    corners: Array = np.column_stack([first, line[:, 1]])
    return corners[np.argsort(corners[:, 1])]


def _report_found(console: Console, runs: Sequence[Found], unfinished: Sequence[Path]) -> None:
    models = sum(len(run.points) for run in runs)
    seeds = sorted({run.seed for run in runs})
    text = f"{len(runs)} finished runs with {models} models, seeds {seeds}."
    console.print(text, markup=False, highlight=False)
    if unfinished:
        console.print(f"{len(unfinished)} unfinished, left out:", markup=False, highlight=False)
        for path in unfinished:
            console.print(f"  {shown_path(path)}", markup=False, highlight=False)


def _criteria(
    runs: Sequence[Found], criterion: str | None, attributes: Sequence[str] | None
) -> tuple[Criterion, ...]:
    metric = f"{criterion or _common(runs, 'criterion')}_difference"
    names = attributes or _common(runs, "attributes") or _first_attribute(runs[0].points[0], metric)
    return (Criterion("accuracy"), *(Criterion(metric, name) for name in names))


def _common(runs: Sequence[Found], name: str) -> Any:
    found = {run.folder: run.config[name] for run in runs}
    first = runs[0].config[name]
    other = next((folder for folder, value in found.items() if value != first), None)
    if other is not None:
        raise ArgumentError.of(
            name,
            found=f"{first} in {runs[0].folder}, {found[other]} in {other}",
            expected="one for all runs",
            mend=f"pass --{'attribute' if name == 'attributes' else name}",
        )
    return first


def _first_attribute(point: FrontPoint, metric: str) -> list[str]:
    found = [r.attribute for r in point.records if r.metric == metric and r.attribute]
    if not found:
        raise DataError.of(
            f"point {point.id!r}",
            found=f"no {metric}",
            expected="a gap of the criterion",
            mend="pass another --criterion",
        )
    return found[:1]


def _baseline(console: Console, runs: Sequence[Found], criteria: Sequence[Criterion]) -> str | None:
    """Id of the plain model with the best performance on validation, if there is one."""
    points = {point.id: point for run in runs for point in run.points}
    plain = [name for run in runs for name in run.plain]
    if not plain:
        return None
    costs = {name: criteria[0].cost(_value(points[name], criteria[0])) for name in plain}
    best = min(plain, key=lambda name: costs[name])
    if len(plain) > 1:
        text = f"Baseline: {best}, of {len(plain)} plain models the best one on validation."
        console.print(text, markup=False, highlight=False)
    return best


def _value(point: FrontPoint, criterion: Criterion) -> float:
    value = point.record(criterion, CHOSEN_ON).value
    return float("nan") if value is None else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning collect",
        description="All finished runs and fronts in a folder as one front: table, picture, page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="folder of a sweep, or one with several runs and fronts")
    add("--criterion", help="such as equal_opportunity (default: that of the runs)")
    add(
        "--attribute",
        nargs="+",
        metavar="NAME",
        help="attributes whose gaps count (default: those of the runs, else the first one)",
    )
    add("--output", type=Path, help="folder for the results (default: FOLDER)")
    return parser
