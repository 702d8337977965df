"""Individual fairness on Adult: what each method changes, and at what cost.

Trains the plain network and a method at several strengths, with the same seeds and splits, by
`fairlightning train`'s own code, and prints for each the mean over the seeds of

- accuracy, and the gaps of equal opportunity and demographic parity for sex;
- consistency with the 5 nearest rows (Zemel et al. 2013), blind to sex and race;
- excess: mean of max(0, |Δp| − 0.1·d) over random pairs, the Lipschitz condition;
- flipped: share of decisions that change with sex, and change: the mean |Δp| (0 where the network
  does not see sex);
- slope: root mean square change of p for one unit along the sensitive direction of sex.

    python benchmarks/individual.py --method similarity [--strengths 0.3 1 3] [--seeds 0 1 2]
                                    [--model mlp] [--split validation] [-o OVERRIDE ...]
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from statistics import mean
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from fairlightning.cli.build import conf_dir, load_run
from fairlightning.cli.console import quiet
from fairlightning.cli.train import train
from fairlightning.functional.columns import code_shares
from fairlightning.functional.individual import consistency, flip_rates, flip_share
from fairlightning.objectives import (
    CounterfactualPenalty,
    SensitiveGradientPenalty,
    SimilarityPenalty,
    Step,
)

SHORT = ("trainer.max_epochs=8", "optimizer.learning_rate=0.003", "attributes=[sex]")
SEES_SEX = "dataset.include_sensitive=true"


def trained(overrides: tuple[str, ...]) -> tuple[Any, Any, dict[tuple[str, ...], float]]:
    """One training as the command line does it: module, data and figures."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"run_dir={folder}", "logger=none", "trainer.enable_progress_bar=false"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", overrides=[*fixed, *SHORT, *overrides])
        with redirect_stdout(StringIO()):
            records = train(config)
        module, data = load_run(folder)
    whole = (r for r in records if r.group is None and r.value is not None)
    return module, data, {(r.stage, r.metric, r.attribute or ""): float(r.value) for r in whole}


@torch.no_grad()
def figures(overrides: tuple[str, ...], split: str) -> dict[str, float]:
    module, data, table = trained(overrides)
    network, rows, columns = module.network, data.batch(split), data.columns
    stage = {"validation": "val", "test": "test"}[split]
    logits = network(rows.inputs)[0]
    numeric, codes = rows.inputs
    kept = columns.kept(data.groups.names)[len(columns.numeric) :].repeat_interleave(
        torch.tensor(columns.cardinalities)
    )
    shares = code_shares(codes, columns.cardinalities, numeric.dtype) * kept * 0.5**0.5
    step = Step(logits, rows.target, rows.sensitive, inputs=rows.inputs, predict=network)
    training = data.batch("train")
    learn = Step(None, training.target, training.sensitive, inputs=training.inputs)
    near = SimilarityPenalty(data.groups)
    near.prepare(learn, columns)
    found = {
        "accuracy": table[(stage, "accuracy", "")],
        "eo_sex": table[(stage, "equal_opportunity_difference", "sex")],
        "dp_sex": table[(stage, "demographic_parity_difference", "sex")],
        "consistency": consistency(
            torch.sigmoid(logits[:, 0]), torch.cat([numeric, shares], 1)
        ).value.item(),
        "excess": near(step).value.item(),
        "flipped": 0.0,
        "change": 0.0,
    }
    if "sex" in columns.categorical:
        flip = CounterfactualPenalty(data.groups, attributes=["sex"])
        flip.prepare(learn, columns)
        found["change"] = flip.eval()(step).value.item()
        column = columns.categorical.index("sex")

        def flips(inputs: Any) -> Any:
            for code in (1, 2):
                changed = inputs[1].clone()
                changed[:, column] = code
                yield inputs[0], changed

        moments = flip_share(lambda x: network(x)[0], rows.inputs, flips)
        found["flipped"] = flip_rates(moments).rate.item()
    if "boosted" not in " ".join(overrides):
        slope = SensitiveGradientPenalty(data.groups, attributes=["sex"])
        slope.prepare(learn, columns)
        found["slope"] = slope.eval()(step).value.sqrt().item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="similarity")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.3, 1.0, 3.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("-o", "--override", nargs="+", default=[])
    options = parser.parse_args()
    common = (f"model={options.model}",)
    if options.method == "counterfactual":
        common = (*common, SEES_SEX)
    arms = {"erm": ("method=erm",)}
    for strength in options.strengths:
        fair = (f"method={options.method}", f"method.strength={strength}", *options.override)
        arms[f"{strength:g}"] = fair
    print(f"Adult, {options.model}, {options.method}, {len(options.seeds)} seeds: {options.split}")
    for arm, how in arms.items():
        runs = [figures((*common, *how, f"seed={seed}"), options.split) for seed in options.seeds]
        if arm == "erm":
            print(f"{'':>6}" + "".join(f"{name:>12}" for name in runs[0]))
        means = [mean(run[name] for run in runs) for name in runs[0]]
        print(f"{arm:>6}" + "".join(f"{value:12.4f}" for value in means), flush=True)


if __name__ == "__main__":
    main()
