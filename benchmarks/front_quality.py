"""How good is a front on Adult? Area under accuracy against gap, chosen on validation, on test.

The window: accuracy at most 5 points below that of the plain MLP (256-64, features one-hot and
standardised, sensitive columns left out) and gap for sex at most its gap, both on test. The area
is the hypervolume of the front's test figures against the window's corner, as a share of 5 points
times the plain gap; it exceeds 1 where networks are more accurate than the plain MLP. Every seed
has its own split (60/20/20), window and initial weights.

Ours is one `FrontModule`: 16 networks with a parity penalty, and every model of any epoch that no
other beats on validation (`ParetoCheckpoint`). Only these are looked at on test, once.

    python benchmarks/front_quality.py [--seeds 0 1 2] [--criteria demographic_parity ...]
                                       [--ensemble 1] [--full [--rivals fairret ...]]

The network is an MLP 64-64 with piecewise-linear numeric embeddings; `--ensemble M` makes each of
the 16 a deep ensemble of M of them, at M times the cost.

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
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from fairlightning.callbacks import LambdaRamp
from fairlightning.cli.console import quiet
from fairlightning.data import TabularDataModule, adult
from fairlightning.front import FrontModule, FrontMonitor, ParetoCheckpoint
from fairlightning.front.module import fused_adamw
from fairlightning.functional.pareto import hypervolume, nondominated
from fairlightning.models import MLP, Ensemble, prepare
from fairlightning.objectives import ParityPenalty

RIVALS = Path(__file__).with_name("front_quality_rivals.json")
STRENGTHS = {
    "demographic_parity": (0.0, *np.geomspace(0.05, 1.2, 15).tolist()),
    "equal_opportunity": (0.0, *np.geomspace(0.02, 0.6, 15).tolist()),
}
FIGURES = {"demographic_parity": "area", "equal_opportunity": "area_equal_opportunity"}
AIMS = {"demographic_parity": 1.13, "equal_opportunity": 1.08}
NAMES = ("gap_penalty", "fairret", "sequential", "gradient_logistic", "gradient_boosted")
EPOCHS = 23  # 598 steps of 1,024 rows
LEARNING_RATE = 4e-3
DECAY = 1e-4
POINTS = 0.05
Costs = NDArray[np.float64]


class Area(NamedTuple):
    """Share of the window that a front covers on test, on validation, and its number of models.

    `gap` is the width of the window, the plain MLP's gap on test.
    """

    test: float
    validation: float
    models: int
    gap: float


def table(seed: int) -> TabularDataModule:
    data = adult(seed=seed, batch_size=1024, sensitive={"sex": ["Female", "Male"]})
    data.setup()
    return data


def costs(
    selected: NDArray[np.bool_], data: TabularDataModule, split: str, criterion: str
) -> Costs:
    """Error and gap for sex of decisions `(M, N)`, `(M, 2)`."""
    batch = data.batch(split)
    label, male = batch.target.numpy() == 1, batch.sensitive[:, 0].numpy() == 1
    counts = label if criterion == "equal_opportunity" else np.ones_like(label)
    gap = selected[:, counts & male].mean(1) - selected[:, counts & ~male].mean(1)
    return np.stack([(selected != label).mean(1), np.abs(gap)], 1)


@torch.no_grad()
def decisions(network: nn.Module, data: TabularDataModule, split: str) -> NDArray[np.bool_]:
    """Rows `(1, N)`, or `(K, N)` of stacked networks, with a score above one half."""
    network.eval()
    logits: Tensor = network(data.batch(split).inputs)[0]
    found: NDArray[np.bool_] = (logits > 0).reshape(-1, len(data.batch(split).target)).numpy()
    return found


def corner(data: TabularDataModule, criterion: str, seed: int) -> Costs:
    """The worst error and gap that count: those of the plain MLP on test, 5 points added."""
    torch.manual_seed(seed)
    network = MLP(data.num_numeric, data.cardinalities, hidden=(256, 64))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = CosineAnnealingLR(optimizer, 600)
    loader, steps = data.train_dataloader(), 0
    while steps < 600:
        for batch in loader:
            logits = network(batch.inputs)[0].squeeze(-1)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits, batch.target.float()).backward()
            optimizer.step()
            schedule.step()
            steps += 1
            if steps == 600:
                break
    plain = costs(decisions(network, data, "test"), data, "test", criterion)[0]
    return plain + np.array([POINTS, 0.0])


def area(validation: Costs, test: Costs, worst: Costs) -> Area:
    """Area of the models that no other beats on validation."""
    kept = nondominated(validation)
    whole = POINTS * worst[1]
    shares = (hypervolume(part[kept], worst) / whole for part in (test, validation))
    return Area(*shares, models=int(kept.sum()), gap=float(worst[1]))


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


def ours(criterion: str, seed: int, ensemble: int) -> tuple[Area, float]:
    """Area of our front, and the seconds that it took."""
    start()
    data = table(seed)
    begin = time.perf_counter()
    validation, test = front(data, criterion, seed, ensemble)
    seconds = time.perf_counter() - begin
    return area(validation, test, corner(data, criterion, seed)), seconds


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


def trained(
    criteria: list[str], seeds: list[int], ensemble: int
) -> dict[str, list[tuple[Area, float]]]:
    """Our front under every criterion with every seed, two at a time, one thread each."""
    jobs = [(criterion, seed) for seed in seeds for criterion in criteria]
    found: dict[str, list[tuple[Area, float]]] = {criterion: [] for criterion in criteria}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = pool.map(ours, *zip(*jobs, strict=True), [ensemble] * len(jobs))
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
    options = parser.parse_args()
    if options.full:
        from front_rivals import measure

        measure(options.criteria, options.seeds, options.rivals, RIVALS)
    rivals = json.loads(RIVALS.read_text()) if RIVALS.exists() else {}
    figures = {}
    found = trained(options.criteria, options.seeds, options.ensemble)
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
