"""What FairnessMonitor costs: a validation epoch with it and without it.

MLP 64-64 with a parity penalty on Adult, 256 validation batches of 1,024 rows, one CPU thread, sex
and race and their crossing. The two variants take turns, an epoch each, so that a machine whose
speed changes slows both; each turn gives one ratio; the figures are medians over the turns, with
the quartiles beside them. Counting (all batches) and what follows once at the end of the epoch
(rates, criteria, logging; figures on request) are timed apart: the second does not grow with the
number of rows.

    python benchmarks/monitor.py [--turns 100]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from statistics import median, quantiles

import lightning as L
import torch

from fairlightning.callbacks import FairnessMonitor
from fairlightning.cli.console import quiet
from fairlightning.data import Batch, BatchLoader, TabularDataModule, adult
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty

BATCHES = 256  # full chunks of `metrics.stage`, so that all rows are counted before the end


class EpochClock(L.Callback):
    """Times the batches and the end of every epoch; stands before the monitor in the list."""

    def __init__(self) -> None:
        self.batch: list[float] = []  # milliseconds
        self.end: list[float] = []

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
        self.counted = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.batch.append(1e3 * (self.counted - self.start) / BATCHES)
        self.end.append(1e3 * (time.perf_counter() - self.counted))


def many_rows(data: TabularDataModule) -> BatchLoader:
    """Adult's training rows, repeated in a fixed random order."""
    train = data.batch("train")
    (numeric, categorical), target, sensitive = train.inputs, train.target, train.sensitive
    rows = torch.randint(len(target), (BATCHES * 1024,), generator=torch.Generator().manual_seed(0))
    inputs = (numeric[rows], categorical[rows])
    return BatchLoader(
        Batch(inputs, target[rows], sensitive[rows], None, rows, train.checked), 1024
    )


class Variant:
    """A network that is validated again and again, with or without a monitor."""

    def __init__(self, data: TabularDataModule, *callbacks: L.Callback) -> None:
        torch.manual_seed(0)
        model = MLP(data.num_numeric, data.cardinalities, hidden=(64, 64))
        objectives = {"parity": ParityPenalty(data.groups)}
        self.module = FairModule(model, data.groups, objectives=objectives)
        self.callbacks = callbacks
        self.loader = many_rows(data)

    def validate(self) -> float:
        """Milliseconds of a batch."""
        # A new Trainer each time: from its second validation on, one goes through all figures that
        # the first has logged after every batch. In training the monitor logs past that.
        trainer, clock = self._trainer()
        trainer.validate(self.module, self.loader, verbose=False)
        return clock.batch[0]

    def train(self, epochs: int = 6) -> float:
        """Milliseconds of the end of a validation epoch in training."""
        trainer, clock = self._trainer(max_epochs=epochs, limit_train_batches=1)
        trainer.fit(self.module, self.loader, self.loader)
        return median(clock.end[1:])

    def _trainer(self, **options: int) -> tuple[L.Trainer, EpochClock]:
        clock = EpochClock()
        trainer = L.Trainer(
            accelerator="cpu",
            num_sanity_val_steps=0,
            callbacks=[clock, *self.callbacks],
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            **options,  # type: ignore[arg-type]
        )
        return trainer, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = adult(batch_size=1024)
    data.setup()
    plain, watched = Variant(data), Variant(data, FairnessMonitor(["val"], table=False))
    # The first two turns warm up.
    turns = [(plain.validate(), watched.validate()) for _ in range(options.turns + 2)][2:]
    without, monitored = zip(*turns, strict=True)
    ratios = [b / a for a, b in turns]
    end = watched.train() - plain.train()
    print(f"Validation epochs of {BATCHES} batches of 1,024 rows, {options.turns} turns")
    rows = {
        "a batch, without": (without, " ms"),
        "a batch, monitored": (monitored, " ms"),
        "counting_overhead": (ratios, ""),
    }
    for name, (values, unit) in rows.items():
        low, middle, high = quantiles(values)
        print(f"  {name:20} {middle:7.3f}{unit:3}  ({low:.3f} to {high:.3f})")
    print(f"  end of an epoch in training {end:.1f} ms")
    figures = {"counting_overhead": median(ratios), "epoch_end_ms": end}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
