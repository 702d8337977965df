"""Keeping the models of a run that no other beats, across epochs and members."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from matplotlib.figure import Figure
from torch import nn

from fairlightning.callbacks import settled
from fairlightning.callbacks.common import log_epoch
from fairlightning.callbacks.pictures import log_figures
from fairlightning.exceptions import ArgumentError, FairnessWarning, SetupError
from fairlightning.front.criteria import Criteria
from fairlightning.front.module import FrontModule
from fairlightning.front.readings import Readings, of_member
from fairlightning.functional.pareto import bounded_front, hypervolume
from fairlightning.metrics import readable
from fairlightning.report.figures import epoch_front_figure

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
    together, in the units of the criteria. TensorBoard, and loggers with `log_image`, get a picture
    of the first two criteria.

    Args:
        dirpath: Folder of the files, one for each run.
        criteria: Names of logged figures, each with its better end, `max` or `min`; at least one.
            `FairnessMonitor` and `FrontMonitor` log them; leave out `/member=<k>`.
        keep: Largest number of models, and of files, ≥ 1.
        reference: The worst values that count towards the hypervolume. 0 if not given for what is
            maximised, 1 for differences between groups that are at most 1; anything else, such as
            a gap of a regression, needs one. A model that is not better than it in all criteria is
            the first to go.
        from_start: Keep models from the first epoch on, not only once every `LambdaRamp` has
            reached its final λ.
        figures_every_n_epochs: Draw the picture in every n-th epoch and at the end; 0: at the end
            alone; None: never. It takes some 0.1 s.

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
        figures_every_n_epochs: int | None = 5,
    ) -> None:
        self.dirpath = Path(dirpath)
        self.criteria = Criteria.of(criteria, reference)
        self.keep = keep
        self.from_start = from_start
        if (figures_every_n_epochs or 0) < 0:
            raise ArgumentError.of(
                "figures_every_n_epochs",
                found=figures_every_n_epochs,
                expected="0 or more, or None",
                mend="pass 5",
            )
        self.figures_every_n_epochs = figures_every_n_epochs
        self.kept: list[Kept] = []
        corner = self.criteria.corner
        bounded_front([corner - 1], keep, corner)  # refuses `keep` or a missing library right away
        hypervolume([corner - 1], corner)
        self._readings = Readings(tuple(self.criteria.directions))
        self._newest: list[Kept] = []
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
        self._newest = found
        every = self.figures_every_n_epochs
        if every and (trainer.current_epoch + 1) % every == 0:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out models whose files are gone, and say so if there is none.

        Files may have been removed after the checkpoint from which the run was resumed, with
        nothing that came later to take their place.
        """
        self._draw(trainer)
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
        members: list[int | None] = [None]
        if isinstance(pl_module, FrontModule):
            members = list(range(pl_module.members))
        found = []
        for k, reading in zip(members, self._readings.take(trainer, members), strict=False):
            known = {name: v for name, v in reading.items() if v is not None and isfinite(v)}
            if len(known) == len(reading):
                found.append(Kept(trainer.current_epoch, k, known, self._path(trainer, k)))
            elif trainer.is_global_zero:
                names = ", ".join(of_member(name, k) for name in reading if name not in known)
                _warn(
                    f"no finite value of {names} in epoch {trainer.current_epoch}; the model is "
                    "not kept"
                )
        return found

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

    def _draw(self, trainer: L.Trainer) -> None:
        drawn = self.figures_every_n_epochs is not None and len(self.criteria.directions) > 1
        if drawn and trainer.is_global_zero and (self.kept or self._newest):
            log_figures(trainer, self._figures(self._newest))

    def _figures(self, models: Sequence[Kept]) -> Iterator[tuple[str, Callable[[], Figure]]]:
        two = list(self.criteria.directions.items())[:2]
        kept, new = (
            [[model.values[name] for name, _ in two] for model in of] for of in (self.kept, models)
        )
        epoch = max(model.epoch for model in (*self.kept, *models))
        yield (
            "val/figures/front",
            lambda: epoch_front_figure(
                kept,
                new,
                [_words(name) for name, _ in two],
                [direction for _, direction in two],
                epoch=epoch,
                line=len(self.criteria.directions) == 2,
            ),
        )


def _words(name: str) -> str:
    """Name of a logged figure for people: `val/fairness/<metric>/<attribute>`, or another."""
    _, *parts = name.split("/")
    if len(parts) == 3 and parts[0] == "fairness":
        return f"{readable(parts[1])}, {parts[2]}"
    return readable(" ".join(parts) or name)


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


def _warn(message: str) -> None:
    warnings.warn(f"ParetoCheckpoint: {message}", FairnessWarning, stacklevel=2)
