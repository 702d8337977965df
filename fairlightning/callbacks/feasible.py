"""The choice of the best checkpoint that meets every constraint on validation."""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from fairlightning.callbacks.common import fairness_of, has_constraints
from fairlightning.callbacks.monitor import FairnessMonitor
from fairlightning.callbacks.settled import SettledCheckpoint
from fairlightning.exceptions import ArgumentError, SetupError, check_choice

RANK = "val/constraints/rank"
"""Metric by which epochs are ranked: below 1 if feasible, and then the lower the better."""

LEAST_VIOLATING = "least_violating"
"""File name of the checkpoint that is kept while no epoch has been feasible."""


class FeasibleCheckpoint(SettledCheckpoint):
    """Keep, of the validation epochs that meet every constraint, the best by `objective`.

    Constraints are judged by thresholded rates of all validation rows, against the bound moved
    inwards by the constraint's `margin`. While no epoch has been feasible, the one with the
    smallest worst violation is kept, as `least_violating.ckpt`; if it stays so, the end of training
    says so. A module without constraints is treated as by `SettledCheckpoint`.

    Args:
        monitor: What `SettledCheckpoint` watches where there are no constraints.
        objective: What is compared between feasible epochs. Not the total loss, which holds the
            multipliers and is therefore not comparable between epochs.
        objective_mode: `min` or `max`, the better end of `objective`.
        options: Further arguments of `ModelCheckpoint`, but for `every_n_train_steps` and
            `train_time_interval`: constraints are judged by a validation.

    Raises:
        ArgumentError: On one of these, another mode, or an objective that validation did not log.
        SetupError: If constraints are there and no `FairnessMonitor` counts validation.
    """

    def __init__(
        self,
        monitor: str = "val/loss/total",
        *,
        objective: str = "val/loss/task",
        objective_mode: str = "min",
        **options: Any,
    ) -> None:
        for name in ("every_n_train_steps", "train_time_interval"):
            if options.get(name) not in (None, 0):
                raise ArgumentError.of(
                    name,
                    found=options[name],
                    expected="saving after a validation, which judges the constraints",
                    mend="leave it out, and set val_check_interval of the Trainer",
                )
        super().__init__(monitor=monitor, **options)
        self.objective = objective
        self.objective_mode = check_choice("objective_mode", objective_mode, ("min", "max"))
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._candidate: dict[str, Any] = {}
        self._ranked_step = -1

    @property
    def verdict(self) -> dict[str, Any]:
        """What validation found about the weights in `best_model_path`; empty without constraints.

        Whether they are feasible, their epoch, and of every constraint value, bound, margin, and
        violation of the bound moved inwards by the margin.
        """
        return self._verdicts.get(self.best_model_path, {})

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find out whether there are constraints."""
        if has_constraints(pl_module) and stage == "fit":
            self._check_monitored(trainer)
            self.monitor, self.mode = RANK, "min"
            self.kth_value = torch.tensor(torch.inf)
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rank the epoch, before Lightning asks for it."""
        if self.monitor == RANK and not trainer.sanity_checking:
            self._rank(trainer, pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch, unless its weights were not validated."""
        if self.monitor != RANK or trainer.global_step == self._ranked_step:
            super().on_train_epoch_end(trainer, pl_module)

    def _check_monitored(self, trainer: L.Trainer) -> None:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        monitors = [c for c in callbacks if isinstance(c, FairnessMonitor)]
        if not any("val" in monitor.stages for monitor in monitors):
            raise SetupError.of(
                type(self).__name__,
                found="constraints, and no FairnessMonitor that counts validation",
                expected="one, since it makes the values of constraints from all validation rows",
                mend='add FairnessMonitor(stages=["val"]) to the callbacks',
            )

    def _rank(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = trainer.callback_metrics
        check_choice("objective", self.objective, metrics)
        constraints: dict[str, dict[str, float | None]] = {}
        worst = -inf
        for name, constraint in fairness_of(pl_module, self).constraints.items():
            value, violation = (
                _estimate(metrics.get(f"val/constraints/{name}/{figure}"))
                for figure in ("value", "violation")
            )
            # What cannot be estimated on validation is not known to be met.
            worst = max(worst, inf if violation is None else violation)
            constraints[name] = {
                "value": value,
                "bound": constraint.limit,
                "margin": constraint.margin,
                "violation": violation,
            }
        if worst <= 0:
            rank = _squashed(metrics[self.objective].item(), self.objective_mode)
        else:
            rank = 1.0 + worst
        self._candidate = {
            "feasible": worst <= 0,
            "epoch": trainer.current_epoch,
            "constraints": constraints,
        }
        self._ranked_step = trainer.global_step
        metrics[RANK] = torch.tensor(rank, dtype=torch.float64)

    def format_checkpoint_name(
        self,
        metrics: dict[str, Tensor],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Name the file `least_violating` while no epoch has been feasible."""
        if filename is None and RANK in metrics and metrics[RANK] >= 1:
            filename = LEAST_VIOLATING
        return super().format_checkpoint_name(metrics, filename, ver, prefix)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        # Before the file is written, which holds this callback's state.
        kept = {self.best_model_path, *self.best_k_models} - {filepath}
        self._verdicts = {path: v for path, v in self._verdicts.items() if path in kept}
        if trainer.global_step == self._ranked_step:
            self._verdicts[filepath] = self._candidate
        super()._save_checkpoint(trainer, filepath)

    def state_dict(self) -> dict[str, Any]:
        """State of `ModelCheckpoint`, and what was found about each kept file."""
        return {**super().state_dict(), "verdicts": self._verdicts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._verdicts = dict(state_dict["verdicts"])
        super().load_state_dict(state_dict)

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say so if no epoch met the constraints."""
        if self.verdict and not self.verdict["feasible"]:
            Console().print(infeasible_notice(self.verdict, Path(self.best_model_path).name))


def infeasible_notice(verdict: dict[str, Any], name: str) -> str:
    """Text for people about a run without a feasible epoch.

    Args:
        verdict: As in `FeasibleCheckpoint.verdict`.
        name: Name of the checkpoint that was kept.

    >>> limits = {"parity": {"value": 0.048, "bound": 0.05, "margin": 0.01, "violation": 0.008}}
    >>> print(infeasible_notice({"epoch": 3, "constraints": limits}, "least_violating.ckpt"))
    No epoch met the constraints on validation. Kept the least violating, epoch 3, as \
least_violating.ckpt: parity is 0.0480 at a bound of 0.05 with a margin of 0.01
    """
    parts = [
        f"{name} cannot be estimated"
        if found["violation"] is None
        else f"{name} is {found['value']:.4f} at a bound of {found['bound']:g}"
        + (f" with a margin of {found['margin']:g}" if found["margin"] > 0 else "")
        for name, found in verdict["constraints"].items()
        if found["violation"] is None or found["violation"] > 0
    ]
    return (
        "No epoch met the constraints on validation. Kept the least violating, epoch "
        f"{verdict['epoch']}, as {name}: {', '.join(parts)}"
    )


def _estimate(figure: Tensor | None) -> float | None:
    """What was logged, if anything was and it is finite."""
    return figure.item() if figure is not None and isfinite(figure) else None


def _squashed(value: float, mode: str) -> float:
    """Map any number into (−1, 1) in its order, so that every feasible epoch ranks below 1."""
    signed = value if mode == "min" else -value
    return signed / (1 + abs(signed))
