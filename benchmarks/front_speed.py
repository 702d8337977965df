"""What a front of 16 models costs: together, as one network conditioned on λ, one by one, and one.

MLP 64-64 on Adult, parity penalty for sex at 16 strengths, AdamW, one CPU thread. Every training
is a `Trainer.fit` with λ ramp, a validation after each epoch with the monitor of its kind, and ends
with plain networks; data are read before. The same number of steps everywhere. All run side by
side, in turns; the figures are medians of one ratio a turn, with the lowest and highest.

Each turn has another seed of split and batches. On it the 16 models of each kind, and a plain one,
are compared by the area of the window that they dominate: accuracy at most 5 points below the plain
model's, demographic-parity difference at most its; chosen on validation, reported on test.

    python benchmarks/front_speed.py [--turns 3] [--epochs 2]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

import lightning as L
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.cli.console import quiet
from fairlightning.cli.results import predictions
from fairlightning.data import TabularDataModule, adult
from fairlightning.front import ConditionedModule, FrontModule, FrontMonitor
from fairlightning.front.module import fused_adamw
from fairlightning.metrics import Record
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty
from fairlightning.verification import Criterion, Front, FrontPoint, evaluate

Made = TypeVar("Made")

SEED = 10  # of the first turn: seeds 0 to 2 had a part in choosing the conditioned scale of λ
KINDS = ("together", "conditioned", "sequential", "one")
STRENGTHS = tuple(0.05 * 1.35**k for k in range(16))
AIMS = {
    "front_vs_sequential": "at most 0.167",
    "front_vs_one_training": "about 2.7",
    "front_vs_sequential_1024": "at most 0.4",
    "conditioned_vs_one_training": "at most 1.5",
    "conditioned_vs_one_training_1024": "at most 1.5",
}


def network(data: TabularDataModule) -> MLP:
    torch.manual_seed(0)
    return MLP(data.num_numeric, data.cardinalities, hidden=(64, 64))


def penalty(data: TabularDataModule) -> dict[str, ParityPenalty]:
    return {"parity": ParityPenalty(data.groups, attributes=["sex"])}


def fit(module: L.LightningModule, data: TabularDataModule, epochs: int, monitor: object) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[LambdaRamp(), monitor],
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)


def together(data: TabularDataModule, epochs: int) -> list[nn.Module]:
    front = FrontModule(network(data), data.groups, strength=STRENGTHS, objectives=penalty(data))
    fit(front, data, epochs, FrontMonitor(stages=["val"]))
    return [front.export(k) for k in range(len(STRENGTHS))]


def alone(data: TabularDataModule, epochs: int, strength: float) -> nn.Module:
    module = FairModule(network(data), data.groups, strength=strength, objectives=penalty(data))
    monitor = FairnessMonitor(["val"], table=False, figures_every_n_epochs=None)
    fit(module, data, epochs, monitor)
    return module.network


def conditioned(data: TabularDataModule, epochs: int) -> list[nn.Module]:
    highest = STRENGTHS[-1]
    module = ConditionedModule(
        network(data), data.groups, highest=highest, objectives=penalty(data)
    )
    fit(module, data, epochs, FrontMonitor(stages=["val"]))
    return [module.export_at(strength) for strength in STRENGTHS]


def timed(run: Callable[[], Made]) -> tuple[float, Made]:
    start = time.perf_counter()
    made = run()
    return time.perf_counter() - start, made


def seconds(run: Callable[[], object]) -> float:
    return timed(run)[0]


def share(networks: Sequence[nn.Module], plain: nn.Module, data: TabularDataModule) -> float:
    """Test hypervolume as a share of the window, of the models chosen on validation."""
    points = [
        FrontPoint(str(k), {}, tuple(records(model, data)), "", "")
        for k, model in enumerate([plain, *networks])
    ]
    gap = Criterion("demographic_parity_difference", "sex")
    front = Front("", (Criterion("accuracy"), gap), tuple(points), "0")
    return front.window_share("test", chosen_on="val") or float("nan")


def records(network: nn.Module, data: TabularDataModule) -> list[Record]:
    scored = [predictions(network, data, split) for split in ("validation", "test")]
    return evaluate(pd.concat(scored, ignore_index=True), data.groups, intervals=None)


def compare(
    batch_size: int, epochs: int, turns: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and share of the window of each kind in every turn."""
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    shares: dict[str, list[float]] = {name: [] for name in KINDS[:3]}
    for turn in range(turns):
        data = adult(batch_size=batch_size, seed=SEED + turn)
        data.setup()
        if turn == 0:
            for warm_up in (together, conditioned, partial(alone, strength=1.0)):
                warm_up(data, 1)
        runs = [timed(partial(alone, data, epochs, strength)) for strength in STRENGTHS]
        made = {
            "together": timed(partial(together, data, epochs)),
            "conditioned": timed(partial(conditioned, data, epochs)),
            "sequential": (sum(run[0] for run in runs), [run[1] for run in runs]),
        }
        plain = alone(data, epochs, 0.0)
        for name, (needed, networks) in made.items():
            times[name].append(needed)
            shares[name].append(share(networks, plain, data))
        times["one"].append(median(run[0] for run in runs))
    return times, shares


def describe(
    times: dict[str, list[float]], shares: dict[str, list[float]], steps: int
) -> list[str]:
    lines = []
    for name, values in times.items():
        line = f"  {name:11} {median(values):6.2f} s  ({min(values):.2f} to {max(values):.2f}), "
        line += f"{1e3 * median(values) / steps:.2f} ms a step"
        if found := shares.get(name):
            line += f"; {median(found):.3f} of the window ({min(found):.3f} to {max(found):.3f})"
        lines.append(line)
    return lines


def milliseconds(run: Callable[[], object], repeats: int = 40) -> float:
    found = [seconds(run) for _ in range(repeats)]
    return 1e3 * median(found)


def parts(data: TabularDataModule) -> dict[str, float]:
    """Where the time of a step of the front goes: its parts by themselves, in milliseconds."""
    front = FrontModule(network(data), data.groups, strength=STRENGTHS, objectives=penalty(data))
    batch = next(iter(data.train_dataloader()))
    optimizer = fused_adamw(front.parameter_groups(1e-3))
    stacked = list(front.network.parameters())

    def whole_loss() -> None:
        front.zero_grad()
        front.training_step(batch, 0).backward()

    def task_alone() -> None:
        front.zero_grad()
        logits = front(batch.inputs).squeeze(-1)
        labels = batch.target.float().expand_as(logits)
        F.binary_cross_entropy_with_logits(logits, labels).backward()

    hidden = front.network(batch.inputs)[1].detach()
    encoded = front.network.module.encoder(batch.inputs)
    first, second = stacked[0].detach(), stacked[2].detach()

    def products() -> None:
        """Those of both hidden layers, forward and backward, and nothing else."""
        out = encoded @ first.flatten(0, 1).T
        torch.mm(out.T, encoded)
        torch.bmm(hidden, second.mT)
        torch.bmm(hidden.mT, hidden)
        torch.bmm(hidden, second)

    whole_loss()
    return {
        "matrix products alone": milliseconds(products),
        "network and task loss, forward and backward": milliseconds(task_alone),
        "the same with the penalty": milliseconds(whole_loss),
        "optimizer": milliseconds(optimizer.step),
    }


def whole_steps(data: TabularDataModule) -> dict[str, float]:
    """Forward, backward and fused optimizer of one model and of one conditioned on λ."""
    objectives = penalty(data)
    models = {
        "one": FairModule(network(data), data.groups, objectives=objectives),
        "conditioned": ConditionedModule(
            network(data), data.groups, highest=STRENGTHS[-1], objectives=objectives
        ),
    }
    batch = next(iter(data.train_dataloader()))

    def step(module: FairModule, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()

    found = {}
    for name, module in models.items():
        run = partial(step, module, fused_adamw(module.parameter_groups(1e-3)))
        run()
        found[f"whole step, fused: {name}"] = milliseconds(run, repeats=100)
    return found


def show(name: str, above: Sequence[float], below: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
    print(f"  {name:32} {median(ratios):.3f}  {spread}, aim {AIMS[name]}")
    return round(median(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for batch_size, epochs in ((256, options.epochs), (1024, 4 * options.epochs)):
        data = adult(batch_size=batch_size)
        data.setup()
        steps = epochs * len(data.train_dataloader())
        print(f"batch {batch_size}, {steps} steps, 16 models, {options.turns} turns")
        times, shares = compare(batch_size, epochs, options.turns)
        print("\n".join(describe(times, shares, steps)))
        for part, value in {**parts(data), **whole_steps(data)}.items():
            print(f"    {part:44} {value:6.2f} ms")
        suffix = "" if batch_size == 256 else f"_{batch_size}"
        ratios = {"front_vs_sequential": ("together", "sequential")}
        if batch_size == 256:
            ratios["front_vs_one_training"] = ("together", "one")
        ratios["conditioned_vs_one_training"] = ("conditioned", "one")
        for name, (above, below) in ratios.items():
            figures[name + suffix] = show(name + suffix, times[above], times[below])
        for name in ("together", "conditioned"):
            figures[f"area_{name}{suffix}"] = round(median(shares[name]), 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
