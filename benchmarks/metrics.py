"""What rates per group cost: MetricFrame, torchmetrics, a bare bincount, and `GroupConfusion`.

One million rows in 200 groups, one CPU thread: selection rate, true and false positive rate and
accuracy of every group, and the largest difference of each between groups, from logits, labels and
group codes. The metric is made once and reset for every turn, as over the epochs of a training.

The quick ways run side by side, in turns of random order, each after the same pass over the rows,
since what is in the cache decides much; figures are CPU time, medians over the turns, with the
lowest and the highest beside them. The bare way is what one would write by hand, in place, without
any check of its input; the plain one is the same as one expression, a new tensor for each step.
torchmetrics has a metric that counts by group, in a loop over the groups; it crashes on unknown
codes (-1), which are therefore not in here.

    python benchmarks/metrics.py [--rows 1000000] [--groups 200] [--turns 41] [--slow 2]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import lru_cache
from statistics import median

import numpy as np
import torch
from fairlearn import metrics as fairlearn
from sklearn.metrics import accuracy_score
from torch import Tensor
from torchmetrics.classification import BinaryGroupStatRates

from fairlightning.functional.criteria import rates_difference
from fairlightning.functional.proportions import proportions
from fairlightning.metrics import GroupConfusion, GroupCounts

FIGURES = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "accuracy": accuracy_score,
}
Rows = tuple[Tensor, Tensor, Tensor]
"""Logits `(N,)` float32, labels `(N,)` int64, codes `(N, 1)` int64."""


def make_rows(count: int, groups: int) -> Rows:
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(0, groups, (count, 1), generator=rng)
    logits = (
        torch.randn(count, generator=rng) + 0.5 * torch.randn(groups, generator=rng)[codes[:, 0]]
    )
    target = (torch.rand(count, generator=rng) < torch.sigmoid(logits)).long()
    return logits, target, codes


@lru_cache(1)
def ready(groups: int) -> GroupConfusion:
    return GroupConfusion({"group": range(groups)})


def ours(rows: Rows, groups: int) -> Tensor:
    metric = ready(groups)
    metric.reset()
    metric.update(*rows)
    table = metric.compute().partition(metric.groups, ("group",))
    rates = proportions(table, tuple(FIGURES))
    return torch.cat([rates.rate, rates_difference(rates).value.unsqueeze(-1)], dim=-1)


def bare(rows: Rows, groups: int) -> Tensor:
    logits, target, codes = rows
    code = (logits >= 0).long().add_(target, alpha=2).add_(codes[:, 0], alpha=4)
    return _rates(torch.bincount(code, minlength=4 * groups).view(groups, 4).double())


def plain(rows: Rows, groups: int) -> Tensor:
    logits, target, codes = rows
    code = codes[:, 0] * 4 + target * 2 + (logits >= 0)
    return _rates(torch.bincount(code, minlength=4 * groups).view(groups, 4).double())


def torchmetrics_groups(rows: Rows, groups: int) -> Tensor:
    logits, target, codes = rows
    metric = BinaryGroupStatRates(groups)
    metric.update(logits, target, codes[:, 0])
    tp, fp, tn, fn = torch.stack(list(metric.compute().values())).double().unbind(1)
    return _rates(torch.stack([tn, fp, fn, tp], 1))


def _rates(table: Tensor) -> Tensor:
    tn, fp, fn, tp = table.unbind(1)
    rates = torch.stack([(fp + tp) / table.sum(1), tp / (tp + fn), fp / (fp + tn)])
    rates = torch.cat([rates, ((tp + tn) / table.sum(1))[None]])
    return torch.cat([rates, (rates.amax(1) - rates.amin(1))[:, None]], 1)


def metric_frame(rows: Rows, groups: int) -> Tensor:
    logits, target, codes = (column.numpy() for column in rows)
    frame = fairlearn.MetricFrame(
        metrics=dict(FIGURES),
        y_true=target,
        y_pred=(logits >= 0).astype(np.int64),
        sensitive_features=codes[:, 0],
    )
    table = np.vstack([frame.by_group.to_numpy(float), frame.difference().to_numpy(float)])
    return torch.tensor(table.T)


def scores(rows: Rows, groups: int) -> Tensor:
    metric = GroupCounts({"group": range(groups)})
    metric.update(*rows)
    return metric.compute().scores.histogram


def seconds(way: Callable[[Rows, int], Tensor], rows: Rows, groups: int) -> float:
    for column in rows:
        column.sum()
    start = time.process_time()
    way(rows, groups)
    return time.process_time() - start


QUICK = {"ours": ours, "bare": bare, "plain": plain}
BESIDE = {"torchmetrics": torchmetrics_groups, "score histogram": scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--turns", type=int, default=41)
    parser.add_argument("--slow", type=int, default=2, help="how often MetricFrame is timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = make_rows(options.rows, options.groups)
    print(f"{options.rows:,} rows, {options.groups} groups, {options.turns} turns, one thread")

    for way in (*QUICK.values(), *BESIDE.values()):  # warm up
        way(rows, options.groups)
    quick: dict[str, list[float]] = {name: [] for name in QUICK}
    for _ in range(options.turns):
        for name, way in random.sample(list(QUICK.items()), len(QUICK)):
            quick[name].append(seconds(way, rows, options.groups))
    beside = {
        name: [seconds(way, rows, options.groups) for _ in range(3)] for name, way in BESIDE.items()
    }
    slow = [seconds(metric_frame, rows, options.groups) for _ in range(options.slow)]
    for name, values in (quick | beside | {"MetricFrame": slow}).items():
        low, high = 1e3 * min(values), 1e3 * max(values)
        print(f"  {name:16} {1e3 * median(values):10.2f} ms  ({low:.2f} to {high:.2f})")

    found, expected = ours(rows, options.groups), metric_frame(rows, options.groups)
    others = [way(rows, options.groups) for way in (bare, plain)]
    error = max((found - other).abs().max().item() for other in (expected, *others))
    rounded = (torchmetrics_groups(rows, options.groups) - expected).abs().max().item()
    print(f"  torchmetrics keeps its rates in float32, off by {rounded:.1e}")
    ratios = [a / b for a, b in zip(quick["ours"], quick["bare"], strict=True)]
    print(f"  ours / bare      {median(ratios):10.2f}     ({min(ratios):.2f} to {max(ratios):.2f})")
    figures = {
        "speedup_vs_metricframe": round(median(slow) / median(quick["ours"]), 1),
        "ratio_vs_bincount": round(median(ratios), 3),
        "max_abs_error": error,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
