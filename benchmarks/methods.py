"""What a training step of each method costs, in times of the plain network's.

MLP 64-64 on Adult, batch 1,024, sex, one thread; each method as its file in `conf/method` has it,
under the Trainer without logger, bar or checkpoints. CPU time, so that other work on the machine
counts little. Methods take turns with the plain network; the figures are medians of the ratios.

    python benchmarks/methods.py [--turns 15] [--epochs 3] [METHOD ...]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from statistics import median

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from fairlightning.cli.build import build_data, build_module, build_trainer, conf_dir
from fairlightning.cli.console import quiet
from fairlightning.exceptions import FairlightningError

OPTIONS = {"counterfactual": ["dataset.include_sensitive=true"]}
"""What a method needs beside its name."""


class StepClock(L.Callback):
    """CPU time of the steps alone."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start = time.process_time()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.milliseconds = 1e3 * (time.process_time() - self.start) / trainer.global_step


def step(method: str, epochs: int) -> float:
    """Milliseconds of CPU time a step."""
    overrides = [
        "run_dir=.",
        f"method={method}",
        "attributes=[sex]",
        "callbacks=none",
        "logger=none",
        f"trainer.max_epochs={epochs}",
        "trainer.accelerator=cpu",
        "trainer.enable_progress_bar=false",
        "+trainer.enable_checkpointing=false",
        "+trainer.limit_val_batches=0",
        *OPTIONS.get(method, []),
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=overrides)
    L.seed_everything(0, verbose=False)
    data = build_data(config)
    trainer = build_trainer(config)
    clock = StepClock()
    trainer.callbacks.append(clock)
    trainer.fit(build_module(config, data), datamodule=data)
    return clock.milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    ratios: dict[str, list[float]] = {m: [] for m in options.methods or known if m != "erm"}
    for turn in range(options.turns + 1):
        plain = step("erm", options.epochs)
        for method in list(ratios):
            try:
                ratio = step(method, options.epochs) / plain
            except FairlightningError as error:
                print(f"  {method}: {error}")
                del ratios[method]
                continue
            if turn:  # the first warms up
                ratios[method].append(ratio)
    for method, values in ratios.items():
        print(f"  {method:20} {median(values):.2f}  ({min(values):.2f} to {max(values):.2f})")
    print(json.dumps({method: round(median(values), 3) for method, values in ratios.items()}))


if __name__ == "__main__":
    main()
