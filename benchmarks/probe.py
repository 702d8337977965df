"""How much of the ink a fresh classifier recovers, from a plain network and against an adversary.

    python benchmarks/probe.py

On biased digits, whose ink goes with the class in training and not in the test: accuracy on the
test rows, and balanced accuracy of the probe on representation and logits (0.5 is a blind guess),
for a plain network and one with an adversary on its representation that also sees the label.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from functools import partial

import lightning as L
import numpy as np
import torch
from torch import nn

from fairlightning.callbacks import LambdaRamp
from fairlightning.cli.results import outputs
from fairlightning.data import ArrayDataModule, biased_digits
from fairlightning.functional.schedules import linear
from fairlightning.models import Wrapped
from fairlightning.module import FairModule
from fairlightning.objectives import Adversary
from fairlightning.verification import probe

WIDTH = 8


def network() -> Wrapped:
    """Three layers on the pixels, some left out; the second gives the representation."""
    layers = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(192, 64),
        nn.ReLU(),
        nn.Linear(64, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 1),
    )
    return Wrapped(layers, "5", torch.zeros(2, 3, 8, 8))


def module(data: ArrayDataModule, adversarial: bool) -> FairModule:
    """Network and, if asked for, its adversary."""
    adversary = partial(
        Adversary,
        data.groups,
        in_features=WIDTH,
        hidden=(256,),
        criterion="equalized_odds",
        standardise=True,
        # Much faster than the network, so that it can keep near its best answer.
        learning_rate_factor=20.0,
        weight=6.0,
    )
    return FairModule(
        network(),
        data.groups,
        objectives={"adversarial": adversary()} if adversarial else {},
        learning_rate=0.05,
        optimizer=partial(torch.optim.SGD, weight_decay=1e-3),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
    )


def run(seed: int, adversarial: bool, epochs: int) -> list[float]:
    """Accuracy, and what the probe recovers from representation and logits."""
    L.seed_everything(seed, verbose=False)
    data = biased_digits(0.4, seed=seed, batch_size=512, test_fraction=0.3, val_fraction=0.1)
    data.setup()
    made = module(data, adversarial)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        # From 0, so that there is a representation before anything is taken out of it.
        callbacks=[LambdaRamp(partial(linear, start=0.0))] if adversarial else [],
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(made, datamodule=data)
    logits, representation = outputs(made.network, data, "test")
    test = data.batch("test")
    accuracy = ((logits[:, 0] > 0) == (test.target == 1)).double().mean()
    assert representation is not None
    sources = {"representation": representation, "logits": logits}
    found = probe(sources, test.target, test.sensitive, data.groups)
    return [float(accuracy), *(float(each.accuracy or 0) for each in found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=3000)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("                accuracy   representation   logits")
    rows: dict[str, list[list[float]]] = {"plain": [], "adversarial": []}
    for name, of_seeds in rows.items():
        for seed in options.seeds:
            of_seeds.append(run(seed, name == "adversarial", options.epochs))
            print(f"{name:12} {seed}     {line(of_seeds[-1])}", flush=True)
        print(f"{name:12} mean  {line(np.mean(of_seeds, axis=0))}", flush=True)
    print(json.dumps(figures(np.array(rows["plain"]), np.array(rows["adversarial"]))))


def figures(plain: np.ndarray, adversarial: np.ndarray) -> dict[str, float]:
    """The worst seed and the mean of what `run` measured, `(seeds, 3)` each."""
    lost = 100 * (plain[:, 0] - adversarial[:, 0])
    found = {
        "ink_recovered": adversarial[:, 1].max(),
        "ink_recovered_mean": adversarial[:, 1].mean(),
        "ink_recovered_plain": plain[:, 1].min(),
        "accuracy_loss_points": lost.max(),
        "accuracy_loss_points_mean": lost.mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def line(row: list[float]) -> str:
    """Three figures under the heading."""
    return f"{row[0]:.3f}            {row[1]:.3f}    {row[2]:.3f}"


if __name__ == "__main__":
    main()
