"""From a composed configuration to the objects of a run."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fairlightning.boosting import BoostedTrees
from fairlightning.data import MemoryDataModule, TabularDataModule
from fairlightning.exceptions import ArgumentError, DataError, SetupError, check_choice
from fairlightning.front import ConditionedModule, FrontModule
from fairlightning.functional.tasks import check_network
from fairlightning.models import Linear, Rescaled, prepare
from fairlightning.module import FairModule
from fairlightning.objectives import Step

MODELS = {
    "numeric": ("tables", "model=mlp"),
    "channels": ("images", "model=cnn"),
    "features": ("sequences", "model=rnn or model=transformer"),
    "vocabulary": ("sequences", "model=rnn or model=transformer"),
}
"""Kinds of inputs, and networks that take them, by an argument of these networks."""

DECLARED = ("causal",)
"""Parts of a data set's configuration that say what people know of it; not used in training."""


def conf_dir() -> Path:
    """Folder of the configuration files: in the package, or beside it in a checkout.

    Raises:
        SetupError: If there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise SetupError.of(
        "conf",
        found=f"no configuration in {package} or beside it",
        expected="the folder conf of the repository or of the wheel",
        mend="reinstall fairlightning",
    )


def build_data(config: DictConfig) -> MemoryDataModule:
    """Read and check the data set."""
    options = {"every_row": True} if solved_convexly(config) else {}
    node = {key: value for key, value in config.dataset.items() if key not in DECLARED}
    data: MemoryDataModule = instantiate(node, seed=config.seed, _convert_="all", **options)
    data.setup()
    _sample(config, data)
    return data


def as_table(data: MemoryDataModule) -> TabularDataModule:
    """The data, if it is a table, whose columns have names.

    Raises:
        DataError: If it is not.
    """
    if isinstance(data, TabularDataModule):
        return data
    raise DataError.of(
        "dataset",
        found=type(data).__name__,
        expected="a table, whose columns have roles",
        mend="name a table, for example of what describes each image or sequence",
    )


def _sample(config: DictConfig, data: MemoryDataModule) -> None:
    """Weigh or order the training rows as `config.sampling` says.

    Raises:
        ArgumentError: If the target is not binary, or a model that takes all rows at once is asked
            to take them in an order.
    """
    sampling = config.get("sampling")
    if sampling is None:  # a run of an earlier version
        return
    rule = sampling.order or sampling.weights
    if rule and data.task.kind != "binary":
        raise ArgumentError.of(
            "sampling",
            found=f"{rule._target_.rsplit('.', 1)[-1]} for task={data.task.kind!r}",
            expected="a binary target, whose two labels it weighs up",
            mend="pass sampling=uniform",
        )
    if sampling.order:
        if solved_convexly(config) or get_object(config.model._target_) is BoostedTrees:
            raise ArgumentError.of(
                "sampling",
                found=f"{sampling.order._target_.rsplit('.', 1)[-1]} for a model that takes all "
                "rows at once",
                expected="weights, not an order of batches",
                mend="pass sampling=reweighing or sampling=optimised_reweighing",
            )
        data.sampling = instantiate(sampling.order, _convert_="all")(data.groups)
    if sampling.weights:
        train = data.batch("train")
        weigh = instantiate(sampling.weights, _convert_="all")
        data.weigh(weigh(train.target, train.sensitive, data.groups, weight=train.weight))


def solved_convexly(config: DictConfig) -> bool:
    """Whether the method solves linear models exactly, and the model is linear."""
    # An audit has data, but neither method nor model.
    if "convex" not in config.get("method", {}):
        return False
    return issubclass(get_class(config.model._target_), Linear)


def build_module(config: DictConfig, data: MemoryDataModule) -> FairModule:
    """Make network, objectives and module for the columns of the data.

    Raises:
        ArgumentError: If the configuration names attributes that the data does not have, or methods
            that do not go together.
    """
    data.task.difference(config.criterion)  # what the run is judged by has to exist
    network = build_network(config, data)
    if "convex" in config.method:
        _check_convex(config)
    if solved_convexly(config):
        check_binary(data, "a convex program")
        convex: FairModule = instantiate(config.method.convex.module, _convert_="all")(
            network, data.groups
        )
        return convex
    parts = _parts(config, data, network)
    return FairModule(network, data.groups, task=data.task, huber=config.get("huber"), **parts)


def check_binary(data: MemoryDataModule, what: str) -> None:
    """Refuse data with another target.

    Raises:
        ArgumentError: Naming what is for a binary one alone.
    """
    if data.task.kind != "binary":
        raise ArgumentError.of(
            "task",
            found=f"{data.task.kind!r} for {what}",
            expected="'binary', which it is for",
            mend="train a network with model=mlp and a penalty, one λ at a time",
        )


def build_front(config: DictConfig, data: MemoryDataModule) -> FrontModule:
    """Make a module of several models trained together, one for each of `config.strengths`.

    With `config.conditioned` it is one network that gives the model of each.

    Raises:
        ArgumentError: If the method has no λ, or something in it works for one model alone.
    """
    check_binary(data, "a front of models trained together")
    network = build_network(config, data)
    if isinstance(network, BoostedTrees):
        raise ArgumentError.of(
            "model",
            found="boosted trees in a front of models trained together",
            expected="a network, whose members share every batch",
            mend="sweep method.strength with `fairlightning train -m`, then collect",
        )
    parts = _parts(config, data, network)
    if not parts["objectives"]:
        raise ArgumentError.of(
            "method",
            found="one without an objective",
            expected="one whose λ the members differ in",
            mend="pass method=parity or method=adversarial; λ = 0 is the plain model",
        )
    strengths = OmegaConf.to_container(config.strengths)
    if config.conditioned:
        assert isinstance(strengths, list)
        del parts["strength"]
        return ConditionedModule(
            network, data.groups, highest=max(strengths), grid=strengths, **parts
        )
    return FrontModule(network, data.groups, **{**parts, "strength": strengths})


def build_network(config: DictConfig, data: MemoryDataModule) -> nn.Module:
    """Make the network for the columns of the data, with what depends on their values."""
    task, sizes = data.task, data.input_sizes
    _check_inputs(config.model, sizes)
    check_network(get_class(config.model._target_), task.kind)
    # A user's own network need not know the argument where it has one output.
    outputs = {"outputs": task.outputs} if task.outputs > 1 else {}
    network: nn.Module = instantiate(config.model, **sizes, _convert_="all", **outputs)
    prepare(network, data.batch("train").inputs)
    if task.kind == "regression":
        return Rescaled(network, task.center, task.scale)
    return network


def _check_inputs(model: DictConfig, sizes: Mapping[str, Any]) -> None:
    """Refuse a network for inputs of another kind than the data have."""
    target = model.network if "network" in model else model  # the members of an ensemble
    taken = signature(get_object(target._target_)).parameters
    if set(sizes) <= set(taken) or any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return
    kind, fitting = next(MODELS[name] for name in sizes if name in MODELS)
    raise ArgumentError.of(
        "model",
        found=f"{target._target_.rsplit('.', 1)[-1]} for {kind}",
        expected=f"a network that takes {', '.join(sizes)}",
        mend=f"pass {fitting}, or another data set",
    )


def _parts(config: DictConfig, data: MemoryDataModule, network: nn.Module) -> dict[str, Any]:
    """Keyword arguments of a `FairModule` beside network and groups."""
    sizes: Any = network.sizes
    if data.task.kind != "binary":
        sizes = {**sizes, "target": data.task.target_features}
    objectives = {
        name: instantiate(node, _partial_=True, _convert_="all")(data.groups, sizes)
        for name, node in config.method.objectives.items()
    }
    rows = data.batch("train")
    train = Step(None, rows.target, rows.sensitive, row_weight=rows.weight, inputs=rows.inputs)
    for objective in objectives.values():
        objective.prepare(train, data.columns)
    return {
        "objectives": objectives,
        "strength": config.method.strength,
        "combination": instantiate(config.combination),
        **instantiate(config.optimizer, _convert_="all"),
    }


def _check_convex(config: DictConfig) -> None:
    objectives, instead_of = set(config.method.objectives), set(config.method.convex.instead_of)
    if not solved_convexly(config):
        if not objectives & instead_of:
            raise ArgumentError.of(
                "model",
                found=f"{config.model._target_} with a method for linear models",
                expected="a linear model",
                mend="pass model=linear, or another method",
            )
    elif objectives - instead_of:
        raise ArgumentError.of(
            "method",
            found=f"{', '.join(sorted(objectives - instead_of))} beside a convex program",
            expected="constraints and penalties of the convex program alone",
            mend="pass one method, or model=mlp",
        )


def build_trainer(config: DictConfig) -> L.Trainer:
    """Make the Trainer with its callbacks and logger."""
    nodes = dict(config.callbacks)
    if solved_convexly(config):
        replaced = config.method.convex.callbacks
        nodes = {name: replaced.get(name, node) for name, node in nodes.items()}
    callbacks = [instantiate(node, _convert_="all") for node in nodes.values() if node]
    logger = instantiate(config.logger) if config.logger else False
    trainer: L.Trainer = instantiate(
        config.trainer, callbacks=callbacks, logger=logger, _convert_="all"
    )
    return trainer


def load_run(folder: str | Path, model: str | None = None) -> tuple[FairModule, MemoryDataModule]:
    """Bring back a model of a run, with the data that it was trained on.

    Args:
        folder: A run's folder, as `fairlightning train` or `fairlightning front` writes it.
        model: Which model of a front, such as `"member=3,epoch=12"`; of a single training it is
            the one that the run chose.

    Returns:
        The module in evaluation mode, whose `network` alone is the model to export, and the data
        module, whose `encode` turns new rows into the network's inputs. A model of a front comes
        without objectives.

    Raises:
        DataError: If the folder lacks its configuration or checkpoints, or the data are gone.
        ArgumentError: If a front has no such model, or none is named.
    """
    folder = Path(folder)
    config_path = folder / "config.yaml"
    members = {path.stem: path for path in sorted((folder / "members").glob("*.pt"))}
    checkpoints = [
        folder / "checkpoints" / name for name in ("best.ckpt", "least_violating.ckpt", "last.ckpt")
    ]
    found = [path for path in checkpoints if path.is_file()]
    if not config_path.is_file() or not (found or members):
        raise DataError.of(
            str(folder),
            found="no config.yaml or no checkpoint",
            expected="the folder of a finished run",
            mend="name the folder that `fairlightning train` printed as Results",
        )
    config = OmegaConf.load(config_path)
    assert isinstance(config, DictConfig)
    data = build_data(config)
    if members or model is not None:
        path = members[check_choice("model", str(model), members)]
        module = FairModule(build_network(config, data), data.groups, task=data.task)
        module.network.load_state_dict(torch.load(path, weights_only=True))
    else:
        module = build_module(config, data)
        state = torch.load(found[0], map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    return module.eval(), data
