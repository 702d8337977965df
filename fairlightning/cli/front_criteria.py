"""What the models of a front are compared by: accuracy, gaps, and whatever else was asked for."""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from torch import nn

from fairlightning.cli.build import build_network
from fairlightning.data import MemoryDataModule
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.groups import GroupSpec
from fairlightning.metrics import Record, tag
from fairlightning.objectives import ComplexityPenalty, Step
from fairlightning.verification import Criterion
from fairlightning.verification.front_file import CHOSEN_ON, COMPLEXITY, REPORTED_ON


def criteria(config: DictConfig, groups: GroupSpec) -> tuple[Criterion, ...]:
    """Accuracy, the gap of each attribute, and those of `also`.

    Raises:
        ArgumentError: On a criterion of which no end is the better one or that is named twice, a
            partition that the data do not have, or complexity without an objective that weighs it.
    """
    metric = f"{config.criterion}_difference"
    first = (Criterion("accuracy"), *(Criterion(metric, name) for name in config.attributes))
    found = (*first, *(_parsed(text, groups) for text in config.also))
    for position, criterion in enumerate(found):
        if criterion in found[:position]:
            raise ArgumentError.of(
                "also",
                found=f"{criterion.metric} of {criterion.attribute or 'all rows'} twice",
                expected="criteria that are not in the front yet",
                mend="leave it out",
            )
    if any(criterion.metric == COMPLEXITY for criterion in found):
        complexity_objective(config)
    return found


def logged_criteria(config: DictConfig, groups: GroupSpec) -> dict[str, str]:
    """Name of each criterion in the logs of a training, with its better end."""
    return {
        _logged(criterion, config): "max" if criterion.maximised else "min"
        for criterion in criteria(config, groups)
    }


def complexity_objective(config: DictConfig) -> str:
    """Name of the method's penalty on complexity.

    Raises:
        ArgumentError: If it has none.
    """
    for name, node in config.method.objectives.items():
        if node._target_.rsplit(".", 2)[-2] == ComplexityPenalty.__name__:
            return str(name)
    raise ArgumentError.of(
        "also",
        found=f"{COMPLEXITY} with the objectives {', '.join(config.method.objectives)}",
        expected="a penalty on complexity among them",
        mend="pass method=multi_objective simplex=4, or leave it out",
    )


def complexity_records(config: DictConfig, network: nn.Module) -> list[Record]:
    """The norm of the network's weights on both stages, as the penalty measures it.

    Empty where complexity is no criterion.
    """
    if COMPLEXITY not in config.also:
        return []
    value = _complexity(config, network)
    count = sum(parameter.numel() for parameter in network.parameters())
    return [
        Record(stage, COMPLEXITY, None, None, value, value, value, count)
        for stage in (CHOSEN_ON, REPORTED_ON)
    ]


def complexity_reference(config: DictConfig, data: MemoryDataModule) -> dict[str, float] | None:
    """The worst complexity that counts: ten times that of a network before training.

    None where complexity is no criterion.
    """
    if COMPLEXITY not in config.also:
        return None
    with torch.random.fork_rng():  # the front's own networks begin as they would without this one
        network = build_network(config, data)
    return {_logged(Criterion(COMPLEXITY), config): 10 * _complexity(config, network)}


def _complexity(config: DictConfig, network: nn.Module) -> float:
    node = config.method.objectives[complexity_objective(config)]
    penalty = ComplexityPenalty(GroupSpec({"any": ["a", "b"]}), norm=node.norm)
    return float(penalty(Step(parameters=tuple(network.parameters()))).value)


def _parsed(text: str, groups: GroupSpec) -> Criterion:
    metric, _, attribute = str(text).partition("/")
    if attribute:
        check_choice("also", attribute, [" & ".join(names) for names in groups.partitions])
    return Criterion(metric, attribute or None)


def _logged(criterion: Criterion, config: DictConfig) -> str:
    if criterion.metric == COMPLEXITY:
        return f"{CHOSEN_ON}/loss/{complexity_objective(config)}"
    return tag(Record(CHOSEN_ON, criterion.metric, criterion.attribute, None, None, None, None, 0))
