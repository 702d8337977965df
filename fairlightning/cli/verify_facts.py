"""Facts of a verification beside its figures: how to repeat it, and evidence for the checklist."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig

from fairlightning.advisor import family_of, rating
from fairlightning.advisor.matrix import TECHNIQUE_OF
from fairlightning.cli.results import PACKAGES
from fairlightning.cli.verify_jobs import AROUND
from fairlightning.data import TabularDataModule
from fairlightning.verification import read_front
from fairlightning.verification.checklist import Evidence
from fairlightning.verification.protocol import Plan, Subject
from fairlightning.verification.reporting.inputs import ADVICE
from fairlightning.verification.results import Reproducibility

FILE = "environment.json"
"""What was written down when the verification began; a later start leaves it as it is."""


def write_environment(folder: Path, data: TabularDataModule) -> None:
    """Write down command, versions, hardware and data, once."""
    path = folder / FILE
    if path.is_file():
        return
    facts = {
        "command": shlex.join(["fairlightning", *sys.argv[1:]]),
        "commit": _commit(),
        "packages": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "hardware": _hardware(),
        "data": {"rows": str(data.describe()["rows"]), "sha256": fingerprint(data)},
    }
    draft = folder / f".{FILE}"
    draft.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def fingerprint(data: TabularDataModule) -> str:
    """SHA-256 of the table: names, types and values of all columns, in the order of its rows."""
    splits = [data.frame(split) for split in ("train", "validation", "test")]
    frame = pd.concat(splits).sort_index()
    digest = sha256(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=True).to_numpy().tobytes())
    return digest.hexdigest()


def reproducibility_of(
    folder: Path,
    repetition: tuple[bool, int, float, tuple[str, str]],
    data: TabularDataModule,
) -> Reproducibility:
    """All that it takes to get the same numbers again."""
    facts: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    identical, differing, largest, compared = repetition
    return Reproducibility(
        identical=identical,
        differing_rows=differing,
        largest_difference=largest,
        compared=compared,
        command=facts["command"],
        commit=facts["commit"],
        packages=facts["packages"],
        hardware=facts["hardware"],
        data=facts["data"],
        config="config.yaml",
    )


def evidence_of(config: DictConfig, plan: Plan, subject: Subject) -> dict[int, Evidence]:
    """What the runs show about the items of the checklist that are no success criteria."""
    spec = subject.groups
    cells = spec.num_groups(spec.names)
    sources = tuple(f"{plan.place(seed, 'baseline')}/metrics.json" for seed in plan.seeds)
    text = f"{', '.join(spec.names)} with {cells} intersections, all of them in the tables"
    found = {
        1: Evidence(True, f"{len(plan.seeds)} trainings with method=erm", sources),
        2: Evidence(True, text, ("config.yaml", *sources)),
        5: _gradient(plan),
    }
    further = {4: _suits(config), 6: _on_validation(config, plan)}
    return {**found, **{item: seen for item, seen in further.items() if seen is not None}}


def _suits(config: DictConfig) -> Evidence | None:
    """Whether the matrix recommends the techniques for the model; None for none that it knows."""
    family = family_of(config.model._target_)
    used = {TECHNIQUE_OF[name] for name in config.method.objectives if name in TECHNIQUE_OF}
    if not used:
        return None
    judged = {technique: rating(family, technique) for technique in sorted(used)}
    text = "; ".join(f"{name} for {family} models: {one.level}" for name, one in judged.items())
    return Evidence(not any(one.is_poor for one in judged.values()), text, (ADVICE,))


def _gradient(plan: Plan) -> Evidence:
    """Whether fairness sends a gradient into the network, as measured on training rows."""
    source = plan.shifts(plan.seeds[0])
    norms = json.loads((plan.folder / source).read_text(encoding="utf-8"))["gradient"]
    if norms is None:
        text = "no gradient steps: a solver or trees; their model is that of the fair loss"
        return Evidence(True, text, (source,))
    text = f"gradient of norm {norms['fairness']:.3g} beside {norms['task']:.3g} of the task"
    return Evidence(norms["fairness"] > 0, text, (source,))


def _on_validation(config: DictConfig, plan: Plan) -> Evidence | None:
    """Whether the chosen λ, or the bound, holds its own on validation."""
    bound = f"{plan.place(plan.seeds[0], 'intervention')}/feasibility.json"
    if (plan.folder / bound).is_file():
        verdicts = [
            json.loads(path.read_text(encoding="utf-8")).get("feasible")
            for seed in plan.seeds
            if (path := plan.file(seed, "intervention", "feasibility.json")).is_file()
        ]
        fine = sum(verdict is True for verdict in verdicts)
        text = f"the bound is met on validation in {fine} of {len(verdicts)} trainings"
        return Evidence(fine == len(verdicts), text, (bound,))
    path = plan.folder / AROUND / "front.json"
    if not path.is_file():
        return None
    front = read_front(path)
    strength = float(f"{float(config.method.strength):.6g}")
    named = [p.settings["strength"] == strength for p in front.points]
    on_front = [bool(on) for on in front.on_front("val")]
    holds = any(chosen and on for chosen, on in zip(named, on_front, strict=True))
    text = f"λ = {strength:g}: {'' if holds else 'not '}among the models of the front around it "
    text += "that no other dominates on validation"
    return Evidence(holds, text, (f"{AROUND}/front.json",))


def _commit() -> str | None:
    """Commit of the code, with a mark where it was changed since; None outside of a repository."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _hardware() -> dict[str, str]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GB"
