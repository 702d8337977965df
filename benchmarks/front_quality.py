"""How good is a front on Adult? Area under accuracy against gap, chosen on validation, on test.

The window (`front_window.py`): accuracy at most 5 points below that of a plain MLP and gap for sex
at most its gap, both on test. The area is the hypervolume of the front's test figures against the
window's corner, as a share of 5 points times the plain gap; it exceeds 1 where networks are more
accurate than the plain MLP. Every seed has its own split, window and initial weights.

Ours is one `FrontModule`: 16 networks with a parity penalty, and every model of any epoch that no
other beats on validation (`ParetoCheckpoint`). Only these are looked at on test, once.

    python benchmarks/front_quality.py [--seeds 0 1 2] [--criteria demographic_parity ...]
                                       [--ensemble 1] [--full [--rivals fairret ...]] [--workers 2]
                                       [--harder]

The network is an MLP 64-64 with piecewise-linear numeric embeddings; `--ensemble M` makes each of
the 16 a deep ensemble of M of them, at M times the cost. `--harder` takes the window of a plain MLP
on one-hot columns of 0 and 1.

Rivals take longer, so their figures are kept in `benchmarks/front_quality_rivals.json`; `--full`
measures them anew (`front_rivals.py`, which says what each is).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import lightning as L
import numpy as np
import torch
from front_window import Area, Costs, area, corner, costs, decisions, table
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from fairlightning.callbacks import LambdaRamp
from fairlightning.cli.console import quiet
from fairlightning.data import TabularDataModule
from fairlightning.front import FrontModule, FrontMonitor, ParetoCheckpoint
from fairlightning.front.module import fused_adamw
from fairlightning.models import MLP, Ensemble, prepare
from fairlightning.objectives import ParityPenalty

RIVALS = Path(__file__).with_name("front_quality_rivals.json")
STRENGTHS = {
    "demographic_parity": (0.0, *np.geomspace(0.05, 1.2, 15).tolist()),
    "equal_opportunity": (0.0, *np.geomspace(0.02, 0.6, 15).tolist()),
}
FIGURES = {"demographic_parity": "area", "equal_opportunity": "area_equal_opportunity"}
AIMS = {"demographic_parity": 1.13, "equal_opportunity": 1.08}
NAMES = (
    "gap_penalty",
    "fairret",
    "gradient_boosted",
    "gradient_logistic",
    "sequential",
    "ensemble",
    "gap_penalty_plain_mlp",
)
EPOCHS = 23  # 598 steps of 1,024 rows
LEARNING_RATE = 4e-3
DECAY = 1e-4


def network(data: TabularDataModule, seed: int, ensemble: int = 1) -> nn.Module:
    """The network that our front and its rivals train."""
    torch.manual_seed(seed)
    embedding = {"kind": "piecewise_linear", "bins": 96, "width": 8}
    member = partial(MLP, hidden=(64, 64), dropout=0.2, embedding=embedding)
    columns = {"numeric": data.num_numeric, "cardinalities": data.cardinalities}
    made = member(**columns) if ensemble == 1 else Ensemble(member, ensemble, **columns)
    prepare(made, data.batch("train").inputs)
    return made


def cosine(optimizer: Optimizer, steps: int) -> CosineAnnealingLR:
    return CosineAnnealingLR(optimizer, steps)


def trainer(*callbacks: L.Callback) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def front(data: TabularDataModule, criterion: str, seed: int, ensemble: int) -> tuple[Costs, Costs]:
    """Train our front; costs on validation and test of the models that it keeps."""
    module = FrontModule(
        network(data, seed, ensemble),
        data.groups,
        strength=STRENGTHS[criterion],
        objectives={"parity": ParityPenalty(data.groups, attributes=["sex"], criterion=criterion)},
        learning_rate=LEARNING_RATE,
        optimizer=partial(fused_adamw, weight_decay=DECAY),
        scheduler=cosine,
    )
    gap = f"val/fairness/{criterion}_difference/sex"
    with tempfile.TemporaryDirectory() as folder:
        kept = ParetoCheckpoint(
            folder, {"val/accuracy": "max", gap: "min"}, keep=40, figures_every_n_epochs=None
        )
        trainer(LambdaRamp(until=0.3), FrontMonitor(["val"]), kept).fit(module, datamodule=data)
        model = module.export(0)
        figures = []
        for path in (each.path for each in kept.kept):
            model.load_state_dict(torch.load(path, weights_only=True))
            figures.append(costs(decisions(model, data, "test"), data, "test", criterion)[0])
    chosen = [[1 - each.values["val/accuracy"], each.values[gap]] for each in kept.kept]
    return np.array(chosen), np.array(figures)


def start() -> None:
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)


def ours(criterion: str, seed: int, ensemble: int, standardised: bool) -> tuple[Area, float]:
    """Area of our front, and the seconds that it took."""
    start()
    data = table(seed)
    begin = time.perf_counter()
    validation, test = front(data, criterion, seed, ensemble)
    seconds = time.perf_counter() - begin
    worst = corner(data, criterion, seed, standardised=standardised)
    return area(validation, test, worst), seconds


def show(name: str, areas: list[Area], note: str = "") -> float:
    values = [each.test for each in areas]
    spread = stdev(values) if len(values) > 1 else 0.0
    each = " ".join(f"{value:.3f}" for value in values)
    validation, models = mean(a.validation for a in areas), mean(a.models for a in areas)
    print(
        f"  {name:18} {mean(values):.3f} ±{spread:.3f}  ({each}); on validation "
        f"{validation:.3f}, {models:.0f} models{note}",
        flush=True,
    )
    return round(mean(values), 3)


def trained(options: argparse.Namespace) -> dict[str, list[tuple[Area, float]]]:
    """Our front under every criterion with every seed, one thread each."""
    jobs = [(criterion, seed) for seed in options.seeds for criterion in options.criteria]
    found: dict[str, list[tuple[Area, float]]] = {criterion: [] for criterion in options.criteria}
    train = partial(ours, ensemble=options.ensemble, standardised=not options.harder)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(train, *zip(*jobs, strict=True))
        for (criterion, seed), (result, seconds) in zip(jobs, results, strict=True):
            found[criterion].append((result, seconds))
            print(
                f"{criterion}, seed {seed}: {result.test:.3f} of a window {result.gap:.3f} wide, "
                f"{result.validation:.3f} on validation, {seconds:.0f} s",
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--criteria", nargs="+", choices=list(FIGURES), default=list(FIGURES))
    parser.add_argument("--full", action="store_true", help="measure the rivals anew, too")
    parser.add_argument("--rivals", nargs="+", choices=NAMES, default=NAMES, help="which of them")
    parser.add_argument("--ensemble", type=int, default=1, help="networks in each of the 16")
    parser.add_argument("--harder", action="store_true", help="our front in the harder window")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.full:
        from front_rivals import measure

        measure(options.criteria, options.seeds, options.rivals, RIVALS, options.workers)
    rivals = json.loads(RIVALS.read_text()) if RIVALS.exists() and not options.harder else {}
    figures = {}
    found = trained(options)
    for criterion in options.criteria:
        print(f"Adult, {criterion}, sex: area in the window, test, mean ± spread (each seed)")
        results = found[criterion]
        seconds = mean(result[1] for result in results)
        note = f", {seconds:.0f} s a front, aim above {AIMS[criterion]}"
        figures[FIGURES[criterion]] = show("front", [r[0] for r in results], note)
        for name, by_seed in rivals.get(criterion, {}).items():
            there = [seed for seed in options.seeds if str(seed) in by_seed]
            if there:
                areas = [Area(*by_seed[str(seed)]) for seed in there]
                note = "" if there == options.seeds else f"; of seeds {there} alone"
                figures[f"{FIGURES[criterion]}_{name}"] = show(name, areas, note)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
