"""Rivals of the front, in the same window: `front_quality.py --full` measures them.

- `sequential`: the same method without the front, 16 trainings by `FairModule`; `sequential_last`
  has the last epoch of each alone.
- `gap_penalty` and `fairret`: the same network and steps, 16 strengths, in a loop written by hand;
  the absolute gap of soft rates, and fairret's NormLoss (`pip install fairret`, needed here alone).
  Their 16 networks are trained side by side to save time; each loss is its own.
- `gap_penalty_plain_mlp`: that penalty with the plain MLP that spans the window, at its rate.
- `ensemble`: our front of 16 deep ensembles of 4 networks each.
- `gradient_logistic` and `gradient_boosted`: fairlearn's exponentiated gradient at 6 bounds on the
  gap, around scikit-learn's logistic regression and LightGBM. Each answer is a random mixture of
  models; its figures are those expected.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairlearn.reductions import DemographicParity, ExponentiatedGradient, TruePositiveRateParity
from front_quality import (
    DECAY,
    EPOCHS,
    LEARNING_RATE,
    STRENGTHS,
    cosine,
    front,
    network,
    start,
    trainer,
)
from front_window import PLAIN_RATE, Area, Costs, area, corner, costs, decisions, plain, table
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from fairlightning.callbacks import FairnessMonitor, LambdaRamp
from fairlightning.data import TabularDataModule
from fairlightning.front import ParetoCheckpoint, Stacked
from fairlightning.front.module import fused_adamw
from fairlightning.models import TabularEncoder
from fairlightning.module import FairModule, cross_entropy
from fairlightning.objectives import ParityPenalty

Penalty = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From logits `(N, 1)`, labels and sexes `(N,)` to a number."""

ENSEMBLE = 4
BOUNDS = (0.002, 0.01, 0.03, 0.06, 0.1, 0.15)
FAIRRET_SCALE = {"demographic_parity": 0.25, "equal_opportunity": 0.6}
"""NormLoss divides gaps by the overall rate; its strengths are multiplied by about that."""


def one(data: TabularDataModule, criterion: str, seed: int, strength: float) -> list[Any]:
    """One training by itself: costs (validation, test) of the models kept, then of the last."""
    parity = ParityPenalty(data.groups, attributes=["sex"], criterion=criterion)
    module = FairModule(
        network(data, seed),
        data.groups,
        strength=strength,
        objectives={"parity": parity},
        learning_rate=LEARNING_RATE,
        optimizer=partial(fused_adamw, weight_decay=DECAY),
        scheduler=cosine,
    )
    gap = f"val/fairness/{criterion}_difference/sex"
    with tempfile.TemporaryDirectory() as folder:
        kept = ParetoCheckpoint(
            folder, {"val/accuracy": "max", gap: "min"}, keep=40, figures_every_n_epochs=None
        )
        monitor = FairnessMonitor(["val"], table=False, figures_every_n_epochs=None)
        trainer(LambdaRamp(until=0.3), monitor, kept).fit(module, datamodule=data)
        states = [torch.load(each.path, weights_only=True) for each in kept.kept]
    states.append(deepcopy(module.network.state_dict()))
    figures = []
    for state in states:
        module.network.load_state_dict(state)
        both = ("validation", "test")
        figures.append(
            [costs(decisions(module.network, data, s), data, s, criterion)[0] for s in both]
        )
    return figures


def sequential(data: TabularDataModule, criterion: str, seed: int) -> dict[str, Any]:
    runs = [one(data, criterion, seed, strength) for strength in STRENGTHS[criterion]]
    every = np.array([figures for run in runs for figures in run])
    last = np.array([run[-1] for run in runs])
    return {"sequential": every, "sequential_last": last}


def by_hand(
    data: TabularDataModule,
    criterion: str,
    made: nn.Module,
    penalty: Penalty,
    *,
    scale: float = 1.0,
    rate: float = LEARNING_RATE,
) -> Costs:
    """Copies of a network trained with a penalty at 16 constant strengths, `(16, 2, 2)`."""
    strengths = [scale * strength for strength in STRENGTHS[criterion]]
    stacked = Stacked([made] * len(strengths))
    optimizer = fused_adamw(stacked.parameters(), lr=rate, weight_decay=DECAY)
    loader = data.train_dataloader()
    schedule = cosine(optimizer, EPOCHS * len(loader))
    for epoch in range(EPOCHS):
        stacked.train()
        loader.set_epoch(epoch)
        for batch in loader:
            logits, _, *members = stacked(batch.inputs)
            total = cross_entropy(members[0] if members else logits, batch.target).mean(-1).sum()
            for strength, each in zip(strengths, logits, strict=True):
                if strength:
                    total = total + strength * penalty(each, batch.target, batch.sensitive[:, 0])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
    both = ("validation", "test")
    return np.stack([costs(decisions(stacked, data, s), data, s, criterion) for s in both], 1)


def gap_penalty(logits: Tensor, label: Tensor, sex: Tensor, *, criterion: str) -> Tensor:
    """Absolute difference of the mean scores of men and women."""
    score = torch.sigmoid(logits.squeeze(-1))
    counts = label >= int(criterion == "equal_opportunity")
    return (score[counts & (sex == 1)].mean() - score[counts & (sex == 0)].mean()).abs()


def fairret_penalty(criterion: str) -> Penalty:
    from fairret.loss import NormLoss
    from fairret.statistic import PositiveRate, TruePositiveRate

    parity = criterion == "demographic_parity"
    loss = NormLoss(PositiveRate() if parity else TruePositiveRate())

    def penalty(logits: Tensor, label: Tensor, sex: Tensor) -> Tensor:
        hot = torch.nn.functional.one_hot(sex, 2).to(logits.dtype)
        found: Tensor = loss(logits, hot, *([] if parity else [label.unsqueeze(1)]))
        return found

    return penalty


def gradient(data: TabularDataModule, criterion: str, estimator: Any) -> Costs:
    """Exponentiated gradient at each bound, `(6, 2, 2)`: expected costs of the random mixture."""
    encoder = TabularEncoder(data.num_numeric, data.cardinalities)
    features = {s: encoder(data.batch(s).inputs).numpy() for s in ("train", "validation", "test")}
    train = data.batch("train")
    moment = DemographicParity if criterion == "demographic_parity" else TruePositiveRateParity
    points = []
    for bound in BOUNDS:
        # Bounds are on the distance to the overall rate; those between groups are up to twice it.
        model = ExponentiatedGradient(estimator, moment(difference_bound=bound / 2), max_iter=20)
        model.fit(
            features["train"],
            train.target.numpy(),
            sensitive_features=train.sensitive[:, 0].numpy(),
        )
        point = []
        for split in ("validation", "test"):
            chance = model._pmf_predict(features[split])[:, 1]
            point.append(expected_costs(chance, data, split, criterion))
        points.append(point)
    return np.array(points)


def expected_costs(chance: Costs, data: TabularDataModule, split: str, criterion: str) -> Costs:
    """Error and gap to be expected when each row is selected with its chance."""
    batch = data.batch(split)
    label, male = batch.target.numpy() == 1, batch.sensitive[:, 0].numpy() == 1
    counts = label if criterion == "equal_opportunity" else np.ones_like(label)
    gap = chance[counts & male].mean() - chance[counts & ~male].mean()
    return np.array([np.abs(label - chance).mean(), abs(gap)])


def boosted() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=200, learning_rate=0.1, num_leaves=15, verbose=-1, n_jobs=1)


def figures_of(data: TabularDataModule, name: str, criterion: str, seed: int) -> dict[str, Any]:
    if name == "sequential":
        return sequential(data, criterion, seed)
    if name == "ensemble":
        return {name: np.stack(front(data, criterion, seed, ENSEMBLE), 1)}
    penalty: Penalty = partial(gap_penalty, criterion=criterion)
    if name == "gap_penalty":
        return {name: by_hand(data, criterion, network(data, seed), penalty)}
    if name == "gap_penalty_plain_mlp":
        return {name: by_hand(data, criterion, plain(data, seed), penalty, rate=PLAIN_RATE)}
    if name == "fairret":
        penalty, scale = fairret_penalty(criterion), FAIRRET_SCALE[criterion]
        return {name: by_hand(data, criterion, network(data, seed), penalty, scale=scale)}
    estimator = LogisticRegression(max_iter=300) if name == "gradient_logistic" else boosted()
    return {name: gradient(data, criterion, estimator)}


def measured(job: tuple[str, str, int]) -> dict[str, Area]:
    """Areas of one rival, or of two that the same trainings give."""
    name, criterion, seed = job
    start()
    data = table(seed)
    worst = corner(data, criterion, seed)
    found = figures_of(data, name, criterion, seed)
    return {key: area(points[:, 0], points[:, 1], worst) for key, points in found.items()}


def measure(
    criteria: list[str], seeds: list[int], names: list[str], path: Path, workers: int
) -> None:
    """Measure rivals; write each result into the file as soon as it is there."""
    results: dict[str, dict[str, dict[str, Area]]] = {}
    if path.exists():
        results = json.loads(path.read_text())
    jobs = [(name, criterion, seed) for name in names for criterion in criteria for seed in seeds]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for (_, criterion, seed), found in zip(jobs, pool.map(measured, jobs), strict=True):
            for key, result in found.items():
                print(f"{criterion} {key}, seed {seed}: {result.test:.3f}", flush=True)
                results.setdefault(criterion, {}).setdefault(key, {})[str(seed)] = result
            path.write_text(json.dumps(results, indent=1) + "\n")
