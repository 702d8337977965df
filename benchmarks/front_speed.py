"""What a front of 16 models costs: together, conditioned, one after the other, one model alone.

MLP 64-64 on Adult, parity penalty for sex at 16 strengths, AdamW, one CPU thread. Every training
is a `Trainer.fit` with λ ramp, a validation after each epoch with the monitor of its kind, and ends
with plain networks; data are read before. The same number of steps everywhere. They run side by
side, in turns; the figures are medians of one ratio a turn, with the lowest and highest.

`conditioned` is one network that takes λ, `ConditionedModule`, exported at the same 16 strengths.
After the times stands how good both fronts of the last turn are on test: the area within 5 points
of the accuracy and the gap of a network trained with λ = 0 for as many steps, chosen on validation.

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
import numpy as np
import torch
from front_quality import POINTS, Costs, area, costs, decisions
from torch import nn
from torch.nn import functional as F

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.cli.console import quiet
from fairlightning.data import TabularDataModule, adult
from fairlightning.front import ConditionedModule, FrontModule, FrontMonitor
from fairlightning.front.module import fused_adamw
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty

STRENGTHS = tuple(0.05 * 1.35**k for k in range(16))
Made = TypeVar("Made")
AIMS = {
    "front_vs_sequential": "at most 0.167",
    "front_vs_one_training": "about 2.7",
    "conditioned_vs_one_training": "at most 1.5",
    "front_vs_sequential_1024": "at most 0.4",
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


def conditioned(data: TabularDataModule, epochs: int) -> list[nn.Module]:
    monitored = STRENGTHS[1::2]
    module = ConditionedModule(
        network(data), data.groups, strength=monitored, objectives=penalty(data)
    )
    fit(module, data, epochs, FrontMonitor(stages=["val"]))
    return [module.export_at(strength) for strength in STRENGTHS]


def alone(data: TabularDataModule, epochs: int, strength: float) -> nn.Module:
    module = FairModule(network(data), data.groups, strength=strength, objectives=penalty(data))
    monitor = FairnessMonitor(["val"], table=False, figures_every_n_epochs=None)
    fit(module, data, epochs, monitor)
    return module.network


def timed(run: Callable[[], Made]) -> tuple[float, Made]:
    start = time.perf_counter()
    made = run()
    return time.perf_counter() - start, made


def seconds(run: Callable[[], object]) -> float:
    return timed(run)[0]


def quality(front: list[nn.Module], data: TabularDataModule, epochs: int) -> float:
    """Area of the front in the window of a plain network, on test."""

    def figures(networks: list[nn.Module], split: str) -> Costs:
        rows = [decisions(each, data, split) for each in networks]
        return costs(np.concatenate(rows), data, split, "demographic_parity")

    plain = figures([alone(data, epochs, 0.0)], "test")[0]
    worst = plain + np.array([POINTS, 0.0])
    return area(figures(front, "validation"), figures(front, "test"), worst).test


def compare(
    data: TabularDataModule, epochs: int, turns: int
) -> tuple[dict[str, list[float]], dict[str, list[nn.Module]]]:
    """Seconds of each kind in every turn, printed, and the fronts of the last turn."""
    kinds = {"together": together, "conditioned": conditioned}
    times: dict[str, list[float]] = {"together": [], "conditioned": [], "sequential": [], "one": []}
    for kind in kinds.values():
        kind(data, 1)  # warms up, as does the next line
    alone(data, 1, 1.0)
    fronts = {}
    for _ in range(turns):
        for name, kind in kinds.items():
            spent, fronts[name] = timed(partial(kind, data, epochs))
            times[name].append(spent)
        each = [seconds(partial(alone, data, epochs, s)) for s in STRENGTHS]
        times["sequential"].append(sum(each))
        times["one"].append(median(each))
    steps = epochs * len(data.train_dataloader())
    for name, values in times.items():
        print(
            f"  {name:11} {median(values):6.2f} s  ({min(values):.2f} to {max(values):.2f}), "
            f"{1e3 * median(values) / steps:.2f} ms a step"
        )
    return times, fronts


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


def show(name: str, above: Sequence[float], below: Sequence[float]) -> float:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    spread = f"({min(ratios):.3f} to {max(ratios):.3f})"
    print(f"  {name:26} {median(ratios):.3f}  {spread}, aim {AIMS[name]}")
    return round(median(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    figures = {}
    for batch_size, epochs in ((256, options.epochs), (1024, 4 * options.epochs)):
        data = adult(batch_size=batch_size)
        data.setup()
        steps = epochs * len(data.train_dataloader())
        print(f"batch {batch_size}, {steps} steps, 16 members, {options.turns} turns")
        times, fronts = compare(data, epochs, options.turns)
        for part, value in parts(data).items():
            print(f"    {part:44} {value:6.2f} ms")
        suffix = "" if batch_size == 256 else f"_{batch_size}"
        name = f"front_vs_sequential{suffix}"
        figures[name] = show(name, times["together"], times["sequential"])
        if batch_size == 256:
            name = "front_vs_one_training"
            figures[name] = show(name, times["together"], times["one"])
            name = "conditioned_vs_one_training"
            figures[name] = show(name, times["conditioned"], times["one"])
        for kind, front in fronts.items():
            share = round(quality(front, data, epochs), 3)
            print(f"  area on test, {kind:12} {share:.3f}")
            figures[f"area_{kind}{suffix}"] = share
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
