"""Individual fairness on Adult: what each method changes, and at what cost.

Trains the plain network and each method at several strengths, with the same seeds and splits, by
`fairlightning train`'s own code, and prints the mean over the seeds, on validation (where weights
are chosen) and on test, of

- accuracy, and the gaps of equal opportunity and demographic parity for sex;
- consistency with the 5 nearest rows (Zemel et al. 2013), blind to sex and race, of 3,000 rows;
- excess: mean of max(0, |Δp| − 0.1·d) over near pairs, as `method=similarity` penalises it;
- slope: root mean square derivative of p along the sensitive directions of sex;
- flipped and change: share of decisions that change with sex, and mean |Δp|, of networks that see
  sex: `erm_sees`, the plain one, and `counterfactual`.

    python benchmarks/individual.py [--methods similarity ...] [--strengths 0.3 1 3]
                                    [--seeds 0 1 2] [--model mlp] [--overrides KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from statistics import mean
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from fairlightning.boosting import BoostedTrees
from fairlightning.cli.build import conf_dir, load_run
from fairlightning.cli.console import quiet
from fairlightning.cli.train import train
from fairlightning.data import TabularDataModule
from fairlightning.functional.columns import code_shares
from fairlightning.functional.individual import (
    consistency,
    flip_rates,
    flip_share,
    mean_score_changes,
)
from fairlightning.objectives import Objective, SensitiveGradientPenalty, SimilarityPenalty, Step

METHODS = (
    "erm",
    "similarity",
    "sensitive_gradient",
    "contrastive",
    "fairness_head",
    "erm_sees",
    "counterfactual",
)
SHORT = ("trainer.max_epochs=8", "optimizer.learning_rate=0.003", "attributes=[sex]")
SEES_SEX = "dataset.include_sensitive=true"
SPLITS = {"validation": "val", "test": "test"}
Figures = dict[str, dict[str, float]]


def figures(overrides: tuple[str, ...]) -> Figures:
    """One training as the command line does it; figures of validation and test."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"run_dir={folder}", "logger=none", "trainer.enable_progress_bar=false"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", overrides=[*fixed, *SHORT, *overrides])
        with redirect_stdout(StringIO()):
            records = train(config)
        module, data = load_run(folder)
    found: Figures = {}
    for split, stage in SPLITS.items():
        whole = {
            (r.metric, r.attribute): float(r.value)
            for r in records
            if r.stage == stage and r.group is None and r.value is not None
        }
        found[split] = {
            "accuracy": whole["accuracy", None],
            "eo_sex": whole["equal_opportunity_difference", "sex"],
            "dp_sex": whole["demographic_parity_difference", "sex"],
            **individual(module.network, data, split),
        }
    return found


@torch.no_grad()
def individual(network: Any, data: TabularDataModule, split: str) -> dict[str, float]:
    rows, columns = data.batch(split), data.columns
    logits = network(rows.inputs)[0]
    step = Step(logits, rows.target, rows.sensitive, inputs=rows.inputs, predict=network)
    near = learned(SimilarityPenalty(data.groups), data)
    some = slice(0, 3000)
    scores = torch.sigmoid(logits[some, 0])
    found = {
        "consistency": consistency(scores, features(data, split)[some]).value.item(),
        "excess": near(step).value.item(),
    }
    if not isinstance(network, BoostedTrees):
        slope = learned(SensitiveGradientPenalty(data.groups, attributes=["sex"]), data)
        found["slope"] = slope.eval()(step).value.sqrt().item()
    if "sex" in columns.categorical:
        column = columns.categorical.index("sex")

        def flips(inputs: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            for code in (1, 2):
                changed = inputs[1].clone()
                changed[:, column] = code
                yield inputs[0], changed

        moments = flip_share(lambda inputs: network(inputs)[0], rows.inputs, flips)
        found["flipped"] = flip_rates(moments).rate.item()
        found["change"] = mean_score_changes(moments).rate.item()
    return found


def learned(objective: Objective, data: TabularDataModule) -> Any:
    rows = data.batch("train")
    objective.prepare(Step(None, rows.target, rows.sensitive, inputs=rows.inputs), data.columns)
    return objective


def features(data: TabularDataModule, split: str) -> Tensor:
    """Features blind to the sensitive attributes, in which a different category counts 1."""
    columns = data.columns
    numeric, codes = data.batch(split).inputs
    kept = columns.kept(data.groups.names)[len(columns.numeric) :]
    per_code = kept.repeat_interleave(torch.tensor(columns.cardinalities))
    shares = code_shares(codes, columns.cardinalities, numeric.dtype) * per_code * 0.5**0.5
    return torch.cat([numeric, shares], 1)


def show(label: str, runs: list[Figures]) -> None:
    for split in SPLITS:
        names = runs[0][split]
        cells = (f"{name} {mean(run[split][name] for run in runs):.4f}" for name in names)
        print(f"{label:>24} {split:>10}  " + "  ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.3, 1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--overrides", nargs="+", default=[])
    options = parser.parse_args()
    common = (f"model={options.model}", *options.overrides)
    arms: dict[str, tuple[str, ...]] = {}
    for method in options.methods:
        sees = (SEES_SEX,) if method in ("erm_sees", "counterfactual") else ()
        if method.startswith("erm"):
            arms[method] = ("method=erm", *sees)
            continue
        for strength in options.strengths:
            how = (f"method={method}", f"method.strength={strength}", *sees)
            arms[f"{method} {strength:g}"] = how
    print(f"Adult, {options.model}, means of {len(options.seeds)} seeds")
    for arm, how in arms.items():
        show(arm, [figures((*common, *how, f"seed={seed}")) for seed in options.seeds])


if __name__ == "__main__":
    main()
