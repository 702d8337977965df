"""What FairnessMonitor costs: a validation epoch with it and without it.

MLP 64-64 with a parity penalty on Adult, 192 validation batches of 1,024 rows, one CPU thread, sex
and race and their crossing. The two variants run in turns; each turn gives one ratio; the figures
are medians over the turns, with the lowest and the highest beside them. Counting (all batches) and
what follows once at the end of the epoch (rates, criteria, logging; figures on request) are timed
apart: the second does not grow with the number of rows.

    python benchmarks/monitor.py [--turns 15]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from statistics import median

import lightning as L
import torch

from fairlightning.callbacks import FairnessMonitor
from fairlightning.cli.console import quiet
from fairlightning.data import Batch, BatchLoader, TabularDataModule, adult
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty

BATCHES = 192


class EpochClock(L.Callback):
    """Times the batches and the end of the epoch; stands before the monitor in the list."""

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
        *_: int,
    ) -> None:
        if batch_idx == 0:
            self.start = time.perf_counter()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.batches = time.perf_counter() - self.start

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epoch = time.perf_counter() - self.start


def many_rows(data: TabularDataModule) -> BatchLoader:
    """Adult's training rows, repeated in a fixed random order."""
    train = data.batch("train")
    (numeric, categorical), target, sensitive = train.inputs, train.target, train.sensitive
    rows = torch.randint(len(target), (BATCHES * 1024,), generator=torch.Generator().manual_seed(0))
    inputs = (numeric[rows], categorical[rows])
    return BatchLoader(
        Batch(inputs, target[rows], sensitive[rows], None, rows, train.checked), 1024
    )


def prepared(
    data: TabularDataModule, loader: BatchLoader, *callbacks: L.Callback
) -> Callable[[], EpochClock]:
    """A validation epoch that can be repeated, as those of a training are."""
    torch.manual_seed(0)
    model = MLP(data.num_numeric, data.cardinalities, hidden=(64, 64))
    clock = EpochClock()
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[clock, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    objectives = {"parity": ParityPenalty(data.groups)}
    module = FairModule(model, data.groups, objectives=objectives)

    def validate() -> EpochClock:
        trainer.validate(module, loader, verbose=False)
        return clock

    return validate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = adult(batch_size=1024)
    data.setup()
    loader = many_rows(data)
    ratios, plain, watched, ends = [], [], [], []
    plainly = prepared(data, loader)
    watching = prepared(data, loader, FairnessMonitor(["val"], table=False))
    for turn in range(options.turns + 1):
        without, monitored = plainly(), watching()
        if turn:  # the first warms up
            ratios.append(monitored.batches / without.batches)
            plain.append(1e3 * without.batches / BATCHES)
            watched.append(1e3 * monitored.batches / BATCHES)
            ends.append(
                1e3 * (monitored.epoch - monitored.batches - without.epoch + without.batches)
            )
    print(f"Validation epochs of {BATCHES} batches of 1,024 rows, {options.turns} turns")
    rows = {
        "a batch, without": (plain, " ms"),
        "a batch, monitored": (watched, " ms"),
        "end of the epoch": (ends, " ms"),
        "counting_overhead": (ratios, ""),
    }
    for name, (values, unit) in rows.items():
        spread = f"({min(values):.3f} to {max(values):.3f})"
        print(f"  {name:20} {median(values):7.3f}{unit:3}  {spread}")
    figures = {"counting_overhead": median(ratios), "epoch_end_ms": median(ends)}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
