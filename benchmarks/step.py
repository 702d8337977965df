"""What one training step costs: raw PyTorch loop, Trainer, Trainer with fairness.

MLP 64-64 on Adult, batch 1,024, AdamW, one CPU thread; the Trainer without logger, progress bar or
checkpoints. All variants run side by side, in turns, and each turn gives one ratio of every kind;
the figures are medians over the turns, with the lowest and the highest beside them.

    python benchmarks/step.py [--turns 250] [--epochs 2]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from statistics import median

import lightning as L
import torch
from torch.nn import functional as F

from fairlightning.cli.console import quiet
from fairlightning.data import TabularDataModule, adult
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import Adversary, Combination, Objective, ParityPenalty

VARIANTS = {
    "trainer": None,
    "parity": (ParityPenalty, {}),
    "adversarial": (Adversary, {"feed": "logits"}),
    "adversarial_representation": (Adversary, {"feed": "representation"}),
}


def network(data: TabularDataModule) -> MLP:
    torch.manual_seed(0)
    return MLP(data.num_numeric, data.cardinalities, hidden=(64, 64))


def raw_step(data: TabularDataModule, epochs: int, parity: bool = False) -> float:
    """Milliseconds a step of the loop that one would write by hand, with a penalty if asked for."""
    model = network(data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (numeric, categorical), target = data.batch("train").inputs, data.batch("train").target
    sex = data.batch("train").sensitive[:, 0].contiguous()
    steps, start = 0, time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(target))
        for first in range(0, len(target) - data.batch_size + 1, data.batch_size):
            rows = order[first : first + data.batch_size]
            logits, _ = model((numeric[rows], categorical[rows]))
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], target[rows].float())
            if parity:  # every group is in every batch; without unknown values, labels or ranks
                members = F.one_hot(sex[rows], 2).float()
                rates = (torch.sigmoid(logits[:, 0]) @ members) / members.sum(0)
                loss = loss + (rates[0] - rates[1]).abs()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    return 1e3 * (time.perf_counter() - start) / steps


class StepClock(L.Callback):
    """Times the steps alone: setting up the Trainer is paid once, however long the training."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.milliseconds = 1e3 * (time.perf_counter() - self.start) / trainer.global_step


def trainer_step(
    data: TabularDataModule, epochs: int, variant: str, combination: Combination | None = None
) -> float:
    """Milliseconds a step of `FairModule` under the Trainer, loader and epoch ends included."""
    model = network(data)
    objectives: dict[str, Objective] = {}
    if chosen := VARIANTS[variant]:
        kind, options = chosen
        objectives[variant] = kind.build(data.groups, model.sizes, attributes=["sex"], **options)
    clock = StepClock()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[clock],
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    module = FairModule(model, data.groups, objectives=objectives, combination=combination)
    trainer.fit(module, datamodule=data)
    return clock.milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=250)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = adult(batch_size=1024)
    data.setup()
    times: dict[str, list[float]] = {name: [] for name in ("raw", "raw_parity", *VARIANTS)}
    for turn in range(options.turns + 1):
        row = {"raw": raw_step(data, options.epochs)}
        row["raw_parity"] = raw_step(data, options.epochs, parity=True)
        row |= {name: trainer_step(data, options.epochs, name) for name in VARIANTS}
        if turn:  # the first warms up
            for name, value in row.items():
                times[name].append(value)
    print(f"MLP 64-64, Adult, batch 1,024, {options.turns} turns of {options.epochs} epochs")
    for name, values in times.items():
        print(f"  {name:28} {median(values):6.2f} ms  ({min(values):.2f} to {max(values):.2f})")
    ratios = {
        "loop_vs_raw": ("trainer", "raw"),
        "parity_overhead": ("parity", "trainer"),
        "adversarial_overhead": ("adversarial", "trainer"),
        "raw_parity_overhead": ("raw_parity", "raw"),
        "adversarial_representation_overhead": ("adversarial_representation", "trainer"),
    }
    figures = {}
    for name, (above, below) in ratios.items():
        values = [a / b for a, b in zip(times[above], times[below], strict=True)]
        figures[name] = round(median(values), 3)
        print(f"  {name:38} {median(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
