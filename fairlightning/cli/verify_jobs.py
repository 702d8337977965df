"""The jobs of `fairlightning verify`: trainings, the front around λ, and shifted data."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf, open_dict

from fairlightning.boosting import BoostedTrees
from fairlightning.cli.audit import audit
from fairlightning.cli.build import as_table, load_run, solved_convexly
from fairlightning.cli.console import quiet
from fairlightning.cli.front import front
from fairlightning.cli.results import CONTINUE, RunFolder
from fairlightning.cli.train import train
from fairlightning.convex_module import ConvexModule
from fairlightning.data import TabularDataModule
from fairlightning.exceptions import FairlightningError
from fairlightning.functional.rows import positive_scores
from fairlightning.module import FairModule
from fairlightning.verification import read_front
from fairlightning.verification.paired import Array
from fairlightning.verification.protocol import Plan, Subject, material_of
from fairlightning.verification.results import LambdaSensitivity
from fairlightning.verification.robustness import lambda_sensitivity, shift_curves
from fairlightning.verification.shifts import Rows, ShiftSettings

OWN = ("seeds", "jobs", "part", "statements", "success", "shift", "baseline", "around", "audit")
"""Keys of `conf/verify.yaml` that a training does not have."""

AROUND = "around"
"""Folder of the front around the chosen λ."""


@dataclass(frozen=True)
class Job:
    """A part of the plan.

    Attributes:
        name: What it is, for people.
        kind: `"train"`, `"front"`, `"audit"` or `"shift"`.
        folder: Folder of the verification.
        config: Configuration of the training; that of the verification for `"shift"`.
        seed: Its seed.
        work: How long it takes, in trainings.
    """

    name: str
    kind: str
    folder: Path
    config: DictConfig
    seed: int
    work: float

    @property
    def done(self) -> bool:
        """Whether it was finished before."""
        if self.kind == "train":
            return (Path(self.config.run_dir) / "metrics.json").is_file()
        if self.kind == "front":
            place = Path(self.config.run_dir)
            return (place / "front.json").is_file() or (place / "omitted.json").is_file()
        if self.kind == "audit":
            return (Path(self.config.run_dir) / "audit.json").is_file()
        path = self.folder / Plan.shifts(self.seed)
        if not path.is_file():
            return False
        # Other changes of the data are another job.
        return bool(json.loads(path.read_text(encoding="utf-8"))["settings"] == shift_key(self))


def training(config: DictConfig, folder: Path, seed: int, role: str) -> DictConfig:
    """Configuration of one training: what `fairlightning train` would be given."""
    own = deepcopy(config)
    with open_dict(own):
        parts = own.baseline if role == "baseline" else {}
        for name in list(parts):
            own[name] = parts[name]
        for name in OWN:
            own.pop(name)
        own.seed, own.run_dir = seed, str(folder / Plan.place(seed, role))
        own.resume = CONTINUE
    return own


def around(config: DictConfig, folder: Path, seed: int, attributes: tuple[str, ...]) -> DictConfig:
    """Configuration of the front around the chosen λ."""
    own = training(config, folder, seed, "intervention")
    strength = float(config.method.strength)
    strengths = sorted({float(f"{strength * factor:.6g}") for factor in config.around.factors})
    with open_dict(own):
        own.callbacks = deepcopy(config.around.callbacks)
        own.method.strength, own.strengths, own.k = 1.0, strengths, len(strengths)
        own.conditioned, own.attributes = False, list(attributes)
        own.simplex, own.around, own.also = None, None, []
        own.run_dir = str(folder / AROUND)
    return own


def audit_of(config: DictConfig, folder: Path) -> DictConfig:
    """Configuration of the audit of the data: what `fairlightning audit` would be given."""
    own = deepcopy(config.audit)
    with open_dict(own):
        own.dataset, own.seed, own.threads = config.dataset, config.seed, config.threads
        own.run_dir = str(folder / "audit")
    return own  # type: ignore[no-any-return]


def run_job(job: Job) -> str:
    """Do what a job asks for, unless it was done; its output goes to a log.

    Returns:
        The name of the job.
    """
    quiet()
    what: dict[str, Callable[[Job], None]] = {
        "train": _train,
        "front": _front,
        "audit": _audit,
        "shift": _shift,
    }
    place = job.folder / "robustness" if job.kind == "shift" else Path(job.config.run_dir)
    place.mkdir(parents=True, exist_ok=True)
    # A process that outlived its killed parent may still be at it: wait, and find it done.
    with (
        FileLock(place / f".{job.kind}_{job.seed}.lock"),
        (place / f"{job.kind}.log").open("a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        what[job.kind](job)
    return job.name


def _train(job: Job) -> None:
    if not RunFolder(Path(job.config.run_dir)).finished(job.config):
        train(job.config)


def _audit(job: Job) -> None:
    if not job.done:
        audit(job.config)


def omission(config: DictConfig) -> str | None:
    """Why a method has no front around its λ, as far as the configuration tells."""
    if not config.method.objectives:
        return "the method has no objective, and so no λ"
    if solved_convexly(config):
        return "a convex program with constraints has no λ"
    return None


def _front(job: Job) -> None:
    if job.done:
        return
    reason = omission(job.config)
    if reason is None:
        try:
            front(job.config)
        except FairlightningError as error:
            reason = str(error)
    if reason is not None:
        path = Path(job.config.run_dir) / "omitted.json"
        _write(path, {"omitted": reason})


def sensitivity(folder: Path, strength: float) -> LambdaSensitivity:
    """What the front around the chosen λ showed, or why there is none."""
    omitted = folder / AROUND / "omitted.json"
    if omitted.is_file():
        reason = json.loads(omitted.read_text(encoding="utf-8"))["omitted"]
        return LambdaSensitivity(None, (), {}, reason, (f"{AROUND}/omitted.json",))
    found = read_front(folder / AROUND / "front.json")
    return lambda_sensitivity(found, strength, f"{AROUND}/front.json")


def shift_settings(config: DictConfig) -> ShiftSettings:
    """The settings of `shift`, checked."""
    plain: dict[str, Any] = OmegaConf.to_container(config.shift, resolve=True)  # type: ignore[assignment]
    return ShiftSettings(**plain)


def shift_key(job: Job) -> dict[str, Any]:
    """What curves of a job depend on beside its trainings, in plain values."""
    settings = {**vars(shift_settings(job.config)), "threshold": float(job.config.threshold)}
    key: dict[str, Any] = json.loads(json.dumps(settings))
    return key


def _shift(job: Job) -> None:
    """Curves of one seed, made by both models that it trained."""
    if job.done:
        return
    settings = shift_settings(job.config)
    plan = Plan(job.folder, (job.seed,))
    models = [load_run(job.folder / plan.place(job.seed, r)) for r in ("baseline", "intervention")]
    data = as_table(models[0][1])
    material = material_of(plan, subject_of(job.config, data))
    pair = material.test[0]
    frame = data.frame("test")
    at = np.argsort(frame.index.to_numpy(), kind="stable")
    rows = Rows(
        frame.iloc[at],
        pair.target,
        pair.codes(data.groups, data.groups.names),
        pair.weight,
        *data_features(data),
        job.seed,
        data.prepared.labelled.frame,
    )
    predict = [_scorer(module, data) for module, _ in models]
    curves = shift_curves(rows, pair, predict, material, settings)
    gradient = gradient_share(models[1][0], data)
    path = job.folder / plan.shifts(job.seed)
    _write(path, {"settings": shift_key(job), "gradient": gradient, "curves": curves})


def data_features(data: TabularDataModule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Numeric and categorical feature columns of a table."""
    features = data.roles.features(data.frame("train"))
    return features.numeric, features.categorical


def subject_of(config: DictConfig, data: TabularDataModule) -> Subject:
    """What is verified, in words and names."""
    source = config.dataset.get("source")
    name = Path(str(source)).stem if source else config.dataset._target_.rsplit(".", 1)[-1]
    objectives = "+".join(config.method.objectives) or "erm"
    return Subject(
        dataset=name,
        model=config.model._target_.rsplit(".", 1)[-1],
        method=objectives,
        criterion=config.criterion,
        attributes=tuple(config.attributes or data.groups.names),
        threshold=float(config.threshold),
        groups=data.groups,
    )


def _scorer(module: FairModule, data: TabularDataModule) -> Callable[[Any], Array]:
    def scores(frame: Any) -> Array:
        numeric, codes = data.encode(frame)
        size = data.eval_batch_size
        with torch.inference_mode():
            parts = [
                module.network(inputs)[0]
                for inputs in zip(numeric.split(size), codes.split(size), strict=True)
            ]
        found: Array = positive_scores(torch.cat(parts)).double().numpy().reshape(-1)
        return found

    return scores


def gradient_share(module: FairModule, data: TabularDataModule) -> dict[str, float] | None:
    """Norms of the gradient that task and fairness send into the network on training rows.

    Returns:
        `task` and `fairness`; None where a solver or trees stand in the place of gradient steps.
    """
    if isinstance(module, ConvexModule) or isinstance(module.network, BoostedTrees):
        return None
    batch = data.batch("train")
    size = min(data.batch_size, len(batch.target))
    part = batch._replace(
        inputs=(batch.inputs[0][:size], batch.inputs[1][:size]),
        target=batch.target[:size],
        sensitive=batch.sensitive[:size],
        weight=None if batch.weight is None else batch.weight[:size],
        index=batch.index[:size],
    )
    module.eval()
    parameters = [p for p in module.network.parameters() if p.requires_grad]
    logits = module.network(part.inputs)[0]
    task = module._task_loss(logits, part.target, None)
    whole = module._loss(part)
    of_task = torch.autograd.grad(task.mean(), parameters, allow_unused=True)
    of_whole = torch.autograd.grad(whole, parameters, allow_unused=True)
    pairs = [
        (torch.zeros(()) if a is None else a, torch.zeros(()) if b is None else b)
        for a, b in zip(of_task, of_whole, strict=True)
    ]
    task_norm = sum(float(a.square().sum()) for a, _ in pairs) ** 0.5
    fair_norm = sum(float((b - a).square().sum()) for a, b in pairs) ** 0.5
    return {"task": task_norm, "fairness": fair_norm}


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)
