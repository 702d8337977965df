"""Keeping the models of a run that no other beats, across epochs and members."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn

from fairlightning.callbacks import FairnessMonitor, settled
from fairlightning.callbacks.common import log_epoch
from fairlightning.exceptions import FairnessWarning, SetupError, check_choice
from fairlightning.front.criteria import Criteria
from fairlightning.front.module import FrontModule
from fairlightning.front.monitor import FrontMonitor
from fairlightning.functional.pareto import bounded_front, hypervolume
from fairlightning.metrics import Record, tag

HYPERVOLUME = "val/front/hypervolume"


class Kept(NamedTuple):
    """A model that no other of the run beats on validation.

    Attributes:
        epoch: Its epoch, counted from 0.
        member: Its number in a `FrontModule`; None for a single model.
        values: Its criteria on validation, by name.
        path: File with the `state_dict` of its plain network.
    """

    epoch: int
    member: int | None
    values: dict[str, float]
    path: Path


class ParetoCheckpoint(L.Callback):
    """Keep every model of a run that no other dominates on validation, over epochs and members.

    After each validation the models of the epoch join those that are kept. What another one
    dominates, or equals, goes at once, with its file; if there are still too many, those go that
    contribute least to the hypervolume (`functional.pareto.bounded_front`). For a `FrontModule`
    each member is a model, kept as `member=3,epoch=12.pt`; for a `FairModule`, or a module of your
    own whose `network` predicts, there is one, `epoch=12.pt` (with `,step=…` for further
    validations of an epoch). A file holds the `state_dict` of the plain network alone:

        network.load_state_dict(torch.load(path, weights_only=True))

    For resuming a run keep a `ModelCheckpoint` beside it; this callback's state is in its files.

    Logs `val/front/hypervolume`, also to the progress bar: of the epoch's models and those kept
    together, in the units of the criteria.

    Args:
        dirpath: Folder of the files, one for each run.
        criteria: Names of logged figures, each with its better end, `max` or `min`; at least one.
            `FairnessMonitor` and `FrontMonitor` log them; leave out `/member=<k>`.
        keep: Largest number of models, and of files, ≥ 1.
        reference: The worst values that count towards the hypervolume. 0 if not given for what is
            maximised, 1 for differences between groups; anything else needs one. A model that is
            not better than it in all criteria is the first to go.
        from_start: Keep models from the first epoch on, not only once every `LambdaRamp` has
            reached its final λ.

    Attributes:
        kept: The models, the oldest first; the same on all ranks.

    Raises:
        ArgumentError: On wrong criteria, `keep` or `reference`, or a figure that nobody logs.
        SetupError: If the module has no `network`, or more than 3 criteria need moocore.

    Warns:
        FairnessWarning: About a model of which a criterion is not estimable or not finite, and that
            is therefore not kept; and at the end if there is no model.
    """

    def __init__(
        self,
        dirpath: str | Path,
        criteria: Mapping[str, str],
        *,
        keep: int = 20,
        reference: Mapping[str, float] | None = None,
        from_start: bool = False,
    ) -> None:
        self.dirpath = Path(dirpath)
        self.criteria = Criteria.of(criteria, reference)
        self.keep = keep
        self.from_start = from_start
        self.kept: list[Kept] = []
        corner = self.criteria.corner
        bounded_front([corner - 1], keep, corner)  # refuses `keep` or a missing library right away
        hypervolume([corner - 1], corner)
        self._seen: dict[str, Tensor] = {}
        self._moved_from: Path | None = None

    @property
    def state_key(self) -> str:
        """One key for each set of criteria, since several may run side by side."""
        return f"ParetoCheckpoint[{','.join(self.criteria.directions)}]"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that there is a network to keep."""
        if not isinstance(getattr(pl_module, "network", None), nn.Module):
            raise SetupError.of(
                type(self).__name__,
                found=f"{type(pl_module).__name__} without a network",
                expected="a FairModule, a FrontModule, or a module whose `network` predicts",
                mend="name it self.network",
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring kept files along if the run goes on in another folder."""
        if trainer.is_global_zero and self._moved_from is not None:
            self.dirpath.mkdir(parents=True, exist_ok=True)
            for model in self.kept:
                source = self._moved_from / model.path.name
                if source.exists():
                    shutil.copy2(source, model.path)
        self._moved_from = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the models of the epoch, before any `ModelCheckpoint` saves what is kept."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        found = self._found(trainer, pl_module)
        together = [model.values for model in (*self.kept, *found)]
        if self.from_start or settled(trainer):
            self._judge(trainer, pl_module, found)
        if together:
            costs = self.criteria.costs(together)
            volume = {HYPERVOLUME: hypervolume(costs, self.criteria.corner)}
            log_epoch(trainer, pl_module, volume)
            trainer.progress_bar_metrics.update(volume)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out models whose files are gone, and say so if there is none.

        Files may have been removed after the checkpoint from which the run was resumed, with
        nothing that came later to take their place.
        """
        there = [model.path.exists() for model in self.kept]
        there = trainer.strategy.broadcast(there)
        for model, exists in zip(self.kept, there, strict=True):
            if not exists and trainer.is_global_zero:
                _warn(f"{model.path} is not there any more; the model is left out of `kept`")
        self.kept = [model for model, exists in zip(self.kept, there, strict=True) if exists]
        if not self.kept and trainer.is_global_zero:
            _warn(
                "no model was kept: no validation was counted after λ had reached its final value"
            )

    def state_dict(self) -> dict[str, Any]:
        """What is kept, and where."""
        kept = [{**model._asdict(), "path": model.path.name} for model in self.kept]
        return {"dirpath": str(self.dirpath), "kept": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        if Path(state_dict["dirpath"]).resolve() != self.dirpath.resolve():
            self._moved_from = Path(state_dict["dirpath"])
        self.kept = [
            Kept(**{**model, "path": self.dirpath / model["path"]}) for model in state_dict["kept"]
        ]

    def _found(self, trainer: L.Trainer, pl_module: L.LightningModule) -> list[Kept]:
        """The models of this validation whose criteria are all known."""
        front = isinstance(pl_module, FrontModule)
        members = range(pl_module.members) if isinstance(pl_module, FrontModule) else [None]
        self._check_logged(trainer, front)
        values = [
            {name: self._fresh(trainer, _of_member(name, k)) for name in self.criteria.directions}
            for k in members
        ]
        # What all ranks should log alike they may not: rank 0 decides.
        values = trainer.strategy.broadcast(values)
        if all(value is None for model in values for value in model.values()):
            return []  # an epoch in which the monitor does not count
        found = []
        for k, model in zip(members, values, strict=True):
            known = {name: v for name, v in model.items() if v is not None and isfinite(v)}
            if len(known) == len(model):
                found.append(Kept(trainer.current_epoch, k, known, self._path(trainer, k)))
            elif trainer.is_global_zero:
                names = ", ".join(_of_member(name, k) for name in model if name not in known)
                _warn(
                    f"no finite value of {names} in epoch {trainer.current_epoch}; the model is "
                    "not kept"
                )
        return found

    def _fresh(self, trainer: L.Trainer, name: str) -> float | None:
        """A figure of this validation; None if it was not logged."""
        value = trainer.callback_metrics.get(name)
        # The Trainer goes on showing the figure of an earlier epoch where there is no new one.
        if value is None or value is self._seen.get(name):
            return None
        self._seen[name] = value
        return float(value)

    def _check_logged(self, trainer: L.Trainer, front: bool) -> None:
        names = list(trainer.callback_metrics)
        if front:
            pattern = re.compile(r"/member=\d+$")
            names = [pattern.sub("", name) for name in names if pattern.search(name)]
        recorded = _recorded(trainer)
        if recorded is None:
            return
        for name in self.criteria.directions:
            check_choice("criteria", name, dict.fromkeys([*names, *recorded]))

    def _path(self, trainer: L.Trainer, member: int | None) -> Path:
        name = f"epoch={trainer.current_epoch}"
        if member is not None:
            name = f"member={member},{name}"
        taken = {model.path.name for model in self.kept}
        if f"{name}.pt" in taken:
            name += f",step={trainer.global_step}"
        return self.dirpath / f"{name}.pt"

    def _judge(
        self, trainer: L.Trainer, pl_module: L.LightningModule, found: Sequence[Kept]
    ) -> None:
        models = [*self.kept, *found]
        if not models:
            return
        costs = self.criteria.costs([model.values for model in models])
        chosen = [models[row] for row in bounded_front(costs, self.keep, self.criteria.corner)]
        paths = {model.path for model in chosen}
        if trainer.is_global_zero:
            self.dirpath.mkdir(parents=True, exist_ok=True)
            for model in found:
                if model.path in paths:
                    _save(pl_module, model)
            for model in self.kept:
                if model.path not in paths:
                    model.path.unlink(missing_ok=True)
        self.kept = chosen
        trainer.strategy.barrier()


def _save(pl_module: L.LightningModule, model: Kept) -> None:
    if isinstance(pl_module, FrontModule) and model.member is not None:
        network = pl_module.export(model.member)
    else:
        network = pl_module.get_submodule("network")
    state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    # Under another name first, so that a file that is there is whole.
    part = model.path.with_suffix(".part")
    torch.save(state, part)
    part.replace(model.path)


def _of_member(name: str, member: int | None) -> str:
    return name if member is None else f"{name}/member={member}"


def _recorded(trainer: L.Trainer) -> list[str] | None:
    """Names of the figures that monitors know, estimable or not; None if none has counted yet."""
    monitors = [
        callback
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(callback, FairnessMonitor | FrontMonitor)
    ]
    newest = [monitor.records["val"] for monitor in monitors if "val" in monitor.records]
    if monitors and not newest:
        return None
    return [
        tag(record)
        for records in newest
        for item in records
        for record in ([item] if isinstance(item, Record) else item)
    ]


def _warn(message: str) -> None:
    warnings.warn(f"ParetoCheckpoint: {message}", FairnessWarning, stacklevel=2)
