"""`fairlightning front`: many λ in one training, and the models that it gives to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import lightning as L
import pandas as pd
import torch
from omegaconf import DictConfig
from rich.markup import escape
from rich.progress import track
from torch import Tensor, nn

from fairlightning.cli.build import build_front, build_network, build_trainer
from fairlightning.cli.console import wide_console
from fairlightning.cli.front_criteria import (
    complexity_records,
    complexity_reference,
    criteria,
    logged_criteria,
)
from fairlightning.cli.front_members import is_plain, member_strengths, settings_of
from fairlightning.cli.front_results import print_front, shown_path, write_front_results
from fairlightning.cli.results import CONTINUE, predictions
from fairlightning.cli.run import fit, launch, seeded_data
from fairlightning.convex.limit import LIMIT_CRITERIA, limit_line
from fairlightning.data import MemoryDataModule
from fairlightning.exceptions import check_choice
from fairlightning.front import FrontModule, ParetoCheckpoint
from fairlightning.verification import (
    Front,
    FrontLimit,
    FrontPoint,
    evaluate,
    read_front,
    write_predictions,
)


class Member(NamedTuple):
    """A model of a front whose weights are in a file.

    Attributes:
        number: Its number among those trained together.
        epoch: Epoch that the weights are from.
        path: File with the `state_dict` of its network.
    """

    number: int
    epoch: int
    path: Path


def front(config: DictConfig) -> Front | None:
    """Train several λ together, evaluate the models that none dominates, write the run's folder.

    Unless it resumes, what an earlier run left in that folder makes room for this one.

    Args:
        config: As composed from `conf/front.yaml`.

    Returns:
        What `front.json` holds; None on ranks other than 0.
    """
    console = wide_console()
    done = Path(config.run_dir) / "front.json"
    if config.resume == CONTINUE and done.is_file():
        console.print(f"{config.run_dir}: finished already", markup=False)
        return read_front(done)
    data = seeded_data(config)
    settled = settled_config(config, data)
    module = build_front(settled, data)
    trainer = build_trainer(settled)
    if config.resume is None and trainer.is_global_zero:
        _clear(Path(config.run_dir))
    folder = fit(settled, trainer, module, data, console).path
    if not trainer.is_global_zero:
        return None
    members, baseline = kept_members(trainer, module, settled, folder / "members")
    found = evaluated(members, baseline, settled, data, folder)
    write_front_results(folder, found)
    print_front(console, found)
    console.print(_where_to_look(folder, found), soft_wrap=True)
    return found


def settled_config(config: DictConfig, data: MemoryDataModule) -> DictConfig:
    """Return a copy in which all λ, the attributes and the criteria to keep models by are named.

    Raises:
        ArgumentError: As `member_strengths` and `criteria`, and on attributes that the data do not
            have.
    """
    config = deepcopy(config)
    names = list(data.groups.names)
    config.attributes = config.attributes or names[:1]
    for name in config.attributes:
        check_choice("attributes", name, names)
    config.strengths = member_strengths(config)
    config.k = len(settings_of(config))
    pareto = config.callbacks.get("pareto")
    if pareto is not None and not pareto.criteria:
        pareto.criteria = logged_criteria(config, data.groups)
        known = complexity_reference(config, data) or {}
        pareto.reference = {**known, **(pareto.reference or {})}
    return config


def kept_members(
    trainer: L.Trainer, module: FrontModule, config: DictConfig, folder: Path
) -> tuple[list[Member], Member | None]:
    """Members that were kept during training, else those of the last epoch; and the plain one.

    The plain one is the member of λ = 0 after the last epoch: what a training without fairness
    gives, or, conditioned on λ, nearly so.
    """
    keeper = next((c for c in trainer.callbacks if isinstance(c, ParetoCheckpoint)), None)  # type: ignore[attr-defined]
    kept = []
    if keeper is not None:
        kept = [Member(model.member or 0, model.epoch, model.path) for model in keeper.kept]
    plain = [k for k, settings in enumerate(settings_of(config)) if is_plain(settings)]
    last = {
        k: _last(module, k, trainer.current_epoch - 1, kept, folder)
        for k in (plain if kept else range(module.members))
    }
    return sorted({*kept, *last.values()}), last[plain[0]] if plain else None


def evaluated(
    members: Sequence[Member],
    baseline: Member | None,
    config: DictConfig,
    data: MemoryDataModule,
    folder: Path,
) -> Front:
    """Predict and evaluate all members on validation and test; write their predictions."""
    network = build_network(config, data)
    shown = shown_path(folder)
    settings = settings_of(config)
    points, frames = [], []
    silent = not config.trainer.enable_progress_bar
    for member in track(members, "Evaluating models", disable=silent):
        name = member.path.stem
        frames.append(_scored(network, member.path, data))
        weight = "weight" if "weight" in frames[-1] else None
        records = evaluate(frames[-1], data.groups, weight=weight, threshold=config.threshold)
        point = FrontPoint(
            name,
            settings[member.number],
            (*records, *complexity_records(config, network)),
            f"members/{member.path.name}",
            f"from fairlightning.cli.build import load_run; "
            f"module, data = load_run({str(shown)!r}, {name!r})",
            member.number,
            member.epoch,
        )
        points.append(point)
    every = pd.concat(frames, ignore_index=True).astype({"member": "category"})
    write_predictions(folder / "predictions.parquet", every)
    plain = None if baseline is None else baseline.path.stem
    limit = None if plain is None else _limit(every[every["member"] == plain], config, data)
    found = criteria(config, data.groups)
    return Front(title(config), found, tuple(points), plain, limit)


def title(config: DictConfig) -> str:
    """What was trained on what, such as `adult, MLP, parity`."""
    source = config.dataset.get("source")
    data = Path(source).stem if source else config.dataset._target_.rsplit(".", 1)[-1]
    model = config.model._target_.rsplit(".", 1)[-1]
    return f"{data}, {model}, {' + '.join(config.method.objectives)}"


def _last(module: FrontModule, k: int, epoch: int, kept: Sequence[Member], folder: Path) -> Member:
    """A member after the last epoch: the file that was kept of it if there is one, else its own."""
    state = {name: value.cpu() for name, value in module.export(k).state_dict().items()}
    for member in kept:
        # An epoch has several models where it is validated more than once.
        if (member.number, member.epoch) == (k, epoch) and _holds(member.path, state):
            return member
    path = folder / f"member={k},last.pt"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return Member(k, epoch, path)


def _holds(path: Path, state: Mapping[str, Tensor]) -> bool:
    found = torch.load(path, map_location="cpu", weights_only=True)
    return all(torch.equal(found[name], value) for name, value in state.items())


def _clear(folder: Path) -> None:
    """Remove the models of an earlier run, which nothing would tell from those of this one."""
    for path in (folder / "front.json", *(folder / "members").glob("*.pt")):
        path.unlink(missing_ok=True)


def _scored(network: nn.Module, path: Path, data: MemoryDataModule) -> pd.DataFrame:
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    parts = [predictions(network, data, split, path.stem) for split in ("validation", "test")]
    return pd.concat(parts, ignore_index=True)


def _limit(plain: pd.DataFrame, config: DictConfig, data: MemoryDataModule) -> FrontLimit | None:
    """What group thresholds on the plain model's scores reach, chosen on validation."""
    if config.criterion not in LIMIT_CRITERIA or len(config.attributes) > 1:
        return None
    attribute = config.attributes[0]
    rows = {}
    for stage in ("val", "test"):
        part = plain[plain["split"] == stage]
        codes = data.groups.group_ids(data.groups.encode(part), [attribute])
        scores, target = (torch.tensor(part[name].to_numpy()) for name in ("score", "target"))
        weight = torch.tensor(part["weight"].to_numpy()) if "weight" in part else None
        rows[stage] = scores, target, codes, weight
    scores, target, codes, weight = rows["val"]
    line = limit_line(scores, target, codes, config.criterion, weight=weight)
    reached = line.apply(*rows["test"])
    points = tuple((float(accuracy), float(gap)) for accuracy, gap in reached)
    return FrontLimit(f"{config.criterion}_difference", attribute, "test", points)


def _where_to_look(folder: Path, found: Front) -> str:
    path = escape(str(shown_path(folder)))
    chosen = [p for p, on in zip(found.points, found.on_front(), strict=True) if on]
    example = escape(chosen[len(chosen) // 2].load)
    return (
        f"[bold]Results[/]  {path}: front.html, front.png, front.svg, front.json, members, "
        f"predictions.parquet\n[bold]Choose[/]   open {path}/front.html in a browser\n"
        f"[bold]Load[/]     {example}\n[bold]Watch[/]    tensorboard --logdir {path}"
    )


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning front`."""
    launch("front", front, arguments)
