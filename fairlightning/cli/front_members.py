"""The models that a front trains: the λ of each, on a grid, a simplex, or around a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.front_choice import knee
from fairlightning.functional.pareto import Array
from fairlightning.functional.preferences import simplex_grid
from fairlightning.verification import Front, FrontPoint, read_decision, read_front
from fairlightning.verification.front_file import CHOSEN_ON

SAME = ("dataset", "model", "method", "combination", "criterion", "attributes", "seed")
"""Parts of the configuration in which a front and the further models around a choice agree."""

STEP = 2.0
"""Factor between λ where a front has no neighbours to tell."""


def member_strengths(config: DictConfig) -> list[float] | dict[str, list[float]]:
    """All λ, one for each model; by objective and `task` where they lie on a simplex.

    Raises:
        ArgumentError: On more than one way of choosing them, λ that are negative or equal, fewer
            than 2 of them, or a folder `around` which no further models can be trained.
    """
    if config.method.strength != 1:
        raise ArgumentError.of(
            "method.strength",
            found=config.method.strength,
            expected="1: each member has a strength of its own",
            mend="pass strengths=[0, 0.1, 1], or weakest=... strongest=...",
        )
    ways = [name for name in ("strengths", "simplex", "around") if config[name] is not None]
    if len(ways) > 1:
        raise ArgumentError.of(
            ", ".join(ways), found="all of them", expected="one of them", mend="leave the rest out"
        )
    if config.simplex is not None:
        return _simplex(config)
    if config.around is not None:
        return _around(config)
    return _line(config)


def member_settings(strengths: list[float] | dict[str, list[float]]) -> list[dict[str, float]]:
    """What distinguishes each model from the others.

    >>> member_settings({"task": [1.0, 0.5], "parity": [0.0, 0.5]})
    [{'task': 1.0, 'parity': 0.0}, {'task': 0.5, 'parity': 0.5}]
    """
    rows = strengths if isinstance(strengths, dict) else {"strength": strengths}
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


def is_plain(settings: dict[str, float]) -> bool:
    """Whether a model is trained without fairness: all λ but the task's are 0."""
    return not any(value for name, value in settings.items() if name != "task")


def settings_of(config: DictConfig) -> list[dict[str, float]]:
    """The settings of each model of a settled configuration."""
    strengths: Any = OmegaConf.to_container(config.strengths)
    return member_settings(strengths)


def _line(config: DictConfig) -> list[float]:
    if config.strengths is not None:
        found = [float(strength) for strength in config.strengths]
    else:
        if config.k < 3 or not 0 < config.weakest < config.strongest:
            raise ArgumentError.of(
                "k, weakest, strongest",
                found=f"{config.k}, {config.weakest}, {config.strongest}",
                expected="at least 3 models, and 0 < weakest < strongest",
                mend="pass k=16 weakest=0.05 strongest=5, or strengths=[...]",
            )
        found = [0.0, *_rounded(np.geomspace(config.weakest, config.strongest, config.k - 1))]
    if len(set(found)) < max(len(found), 2) or min(found) < 0:
        raise ArgumentError.of(
            "strengths",
            found=found,
            expected="at least 2, each 0 or more, and none twice",
            mend="pass strengths=[0, 0.1, 1]",
        )
    return found


def _simplex(config: DictConfig) -> dict[str, list[float]]:
    if config.conditioned:
        raise ArgumentError.of(
            "simplex",
            found="conditioned=true, whose one network is told one λ",
            expected="several networks",
            mend="leave out conditioned=true",
        )
    if not config.method.objectives:
        raise ArgumentError.of(
            "simplex",
            found="a method without an objective",
            expected="one or more beside the task",
            mend="pass method=multi_objective, or method=[parity,adversarial]",
        )
    grid = simplex_grid(["task", *config.method.objectives], config.simplex)
    # Without the task there is nothing to learn but one answer for all.
    kept = [k for k, weight in enumerate(grid["task"]) if weight]
    return {name: [row[k] for k in kept] for name, row in grid.items()}


def _around(config: DictConfig) -> list[float]:
    """0, and λ on both sides of the model that was chosen, up to its neighbours, without these."""
    folder = Path(config.around)
    front = read_front(folder / "front.json")
    _check_same(config, folder)
    chosen = _chosen(front, folder)
    strength = float(chosen.settings.get("strength") or 0)
    if not strength:
        raise ArgumentError.of(
            "around",
            found=f"{chosen.id}, which has no λ above 0",
            expected="a choice of a model with one",
            mend="choose another model on front.html and save decision.json to the folder",
        )
    if config.k < 2:
        raise ArgumentError.of("k", found=config.k, expected="at least 2 models", mend="pass k=8")
    known = {float(point.settings.get("strength") or 0) for point in front.points} - {0.0, strength}
    below = max((other for other in known if other < strength), default=None)
    above = min((other for other in known if other > strength), default=None)
    low = below or (strength**2 / above if above else strength / STEP)
    high = above or strength**2 / low
    smaller = (config.k - 1) // 2
    grids = [
        np.geomspace(low, strength, smaller + 2)[1:-1],
        np.geomspace(strength, high, config.k + 1 - smaller)[1:-1],
    ]
    return [0.0, *_rounded(np.concatenate(grids))]


def _rounded(grid: Array) -> list[float]:
    return [float(f"{strength:.4g}") for strength in grid]


def _chosen(front: Front, folder: Path) -> FrontPoint:
    """The model of `decision.json`; of two criteria the knee where nothing was decided."""
    decision = folder / "decision.json"
    if decision.is_file():
        return read_decision(decision, folder / "front.json").point
    if len(front.criteria) > 2:
        raise ArgumentError.of(
            "around",
            found=f"{len(front.criteria)} criteria and no decision.json in {folder}",
            expected="a decision, since only a front of two has a knee",
            mend="choose a model on front.html and save decision.json to the folder",
        )
    return front.points[knee(front.costs(CHOSEN_ON))]


def _check_same(config: DictConfig, folder: Path) -> None:
    path = folder / "config.yaml"
    if not path.is_file():  # what `collect` made has none
        return
    before: Any = OmegaConf.to_container(OmegaConf.load(path))  # resolved when it was written
    now: Any = OmegaConf.to_container(config, resolve=True)
    for name in SAME:
        if before.get(name) != now.get(name):
            raise ArgumentError.of(
                "around",
                found=f"{name} other than that of {folder}",
                expected="further models of the same front",
                mend=f"repeat the arguments of its command; {path} has them all",
            )
