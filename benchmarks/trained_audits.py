"""Audits end to end: tables with a known law, real trainings, and the truth on many fresh rows."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from fairlightning.cli import main as fairlightning
from fairlightning.cli.build import load_run
from fairlightning.verification import read_verification

ROWS, FRESH = 4000, 100_000


class Audit(NamedTuple):
    """A method, and what is true of it.

    Attributes:
        name: What it is.
        overrides: Arguments of `fairlightning verify`.
        useless: Whether it has no effect by construction.
    """

    name: str
    overrides: tuple[str, ...]
    useless: bool


AUDITS = (
    Audit("adversarial, λ = 0", ("method=adversarial", "method.strength=0"), True),
    Audit("parity, λ = 0", ("method=parity", "method.strength=0"), True),
    Audit("parity, λ = 0.05", ("method=parity", "method.strength=0.05"), False),
    Audit("parity, λ = 1", ("method=parity",), False),
    Audit(
        "parity on boosted trees",
        ("method=parity", "model=boosted_trees", "model.rounds=60", "model.num_leaves=8"),
        False,
    ),
)


class Outcome(NamedTuple):
    """What an audit said, and what is true.

    Attributes:
        verdict: Of all criteria.
        gap: Of the criterion on the gap.
        improvement: True relative improvement of the mean gap of the trained models.
    """

    verdict: str
    gap: str
    improvement: float


def table(rows: int, seed: int) -> pd.DataFrame:
    """Rows whose label depends on two features, one of them a proxy of the group."""
    random = np.random.default_rng(seed)
    group = random.integers(0, 2, rows)
    proxy = random.normal(size=rows) + 1.2 * group
    other = random.normal(size=rows)
    label = 0.8 * proxy + other + random.normal(size=rows) > 1.2
    return pd.DataFrame(
        {"proxy": proxy, "other": other, "sex": np.array(["f", "m"])[group], "label": label + 0}
    )


def audited(audit: Audit, folder: Path, seed: int) -> Outcome:
    """Verify a method on a table of its own, and measure its models on fresh rows."""
    folder.mkdir(parents=True)
    path = folder / "table.csv"
    table(ROWS, seed).to_csv(path, index=False)
    arguments = [
        "verify", "dataset=table", f"dataset.source={path}", "dataset.target=label",
        "dataset.sensitive=[sex]", "dataset.batch_size=256", "model.hidden=[16]", "jobs=1",
        "seeds=3", "logger=none", "optimizer.learning_rate=0.01", "trainer.max_epochs=15",
        "around.factors=[1,2]",
        f"hydra.run.dir={folder}/hydra", f"run_dir={folder}/run",
    ]  # fmt: skip
    if "model=boosted_trees" in audit.overrides:
        arguments.remove("model.hidden=[16]")
    with contextlib.redirect_stdout(io.StringIO()):
        code = fairlightning([*arguments, *audit.overrides])
    if code:
        raise SystemExit(code)
    found = read_verification(folder / "run" / "verification.json")
    fresh = table(FRESH, seed + 1000)
    gaps = np.array(
        [[_gap(folder / "run" / run.folder, fresh) for run in found.runs if run.role == role]
         for role in ("baseline", "intervention")]
    ).mean(1)  # fmt: skip
    return Outcome(found.verdict, found.criteria[0].verdict, float(1 - gaps[1] / gaps[0]))


def _gap(run: Path, fresh: pd.DataFrame) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        module, data = load_run(run)
    with torch.inference_mode():
        chosen = module.network(data.encode(fresh))[0].reshape(-1).numpy() >= 0
    by_group = pd.Series(chosen).groupby(fresh["sex"].to_numpy()).mean()
    return float(by_group.max() - by_group.min())
