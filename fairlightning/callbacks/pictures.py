"""Pictures of fairness for loggers that can show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure

from fairlightning.functional.score_bins import edges_of
from fairlightning.functional.score_figures import reliability
from fairlightning.groups import GroupSpec
from fairlightning.metrics import GAP_METRICS, GroupTables, Key, Record, readable, tag
from fairlightning.report.figures import (
    calibration_figure,
    gaps_figure,
    intersections_figure,
    rates_figure,
    score_histogram_figure,
)

SHOWN_GAPS = tuple(name for name in GAP_METRICS if not name.startswith("treatment_equality"))
"""Gaps that share one scale."""


def stage_figures(
    stage: str, groups: GroupSpec, records: Sequence[Record], tables: Any, threshold: float
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Name and draw the figures of a stage, one after another.

    Rates of the groups of every attribute and crossing with intervals, crossings of two attributes
    as a heat map, gaps and, for a binary classifier, scores and calibration of every group.

    Args:
        stage: Stage of the records.
        groups: The sensitive attributes.
        records: Records of the stage.
        tables: What was counted, `GroupTables` of a binary classifier.
        threshold: Score from which a row is selected.
    """
    shown = [r for r in records if r.group is not None or r.metric in SHOWN_GAPS or not r.attribute]
    if any(r.metric.endswith("_difference") for r in shown):
        yield f"{stage}/figures/gaps", lambda: gaps_figure(shown, stage)
    for partition in groups.partitions:
        name = " & ".join(partition)
        rates = lambda name=name: rates_figure(records, stage, name)  # noqa: E731
        yield f"{stage}/figures/rates/{name}", rates
        if len(partition) == 2 and isinstance(tables, GroupTables):
            crossing = lambda p=partition: intersections_figure(  # noqa: E731
                records, stage, "selection_rate", p
            )
            yield f"{stage}/figures/selection_rate/{name}", crossing
        if len(partition) == 1 and isinstance(tables, GroupTables):
            yield from _score_figures(stage, groups, partition, tables, threshold)


def _score_figures(
    stage: str,
    groups: GroupSpec,
    partition: Sequence[str],
    tables: GroupTables,
    threshold: float,
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    names, attribute = groups.group_names(partition), partition[0]
    scores = tables.scores.partition(groups, partition)
    edges = torch.sigmoid(edges_of(scores.histogram)).cpu()
    # The outermost edges differ from their neighbours by less than float64 can tell near 1.
    inside = torch.cat([torch.tensor([True]), edges.diff() > 0])
    yield (
        f"{stage}/figures/scores/{attribute}",
        lambda: score_histogram_figure(
            edges[inside].numpy(),
            _merge(scores.histogram.cpu(), inside).numpy(),
            names,
            stage=stage,
            attribute=attribute,
            threshold=threshold,
        ),
    )
    curve = reliability(scores.moments.cpu())
    yield (
        f"{stage}/figures/calibration/{attribute}",
        lambda: calibration_figure(*curve, names, stage=stage, attribute=attribute),
    )


def _merge(histogram: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Add bins whose upper edge is dropped to the last one that is kept."""
    target = inside.cumsum(0)[:-1] - 1
    target = target.clamp_max(int(inside.sum()) - 2)
    merged = histogram.new_zeros((*histogram.shape[:-1], int(inside.sum()) - 1))
    return merged.index_add_(-1, target, histogram)


def log_figures(trainer: L.Trainer, figures: Iterator[tuple[str, Callable[[], Figure]]]) -> None:
    """Draw figures and hand them to every logger that shows pictures; draw none without any."""
    shows = [show for logger in trainer.loggers if (show := _shower(logger, trainer.global_step))]
    if not shows:
        return
    for name, draw in figures:
        figure = draw()
        for show in shows:
            show(name, figure)


def _shower(logger: Logger, step: int) -> Callable[[str, Figure], None] | None:
    if isinstance(logger, TensorBoardLogger):
        return lambda name, figure: logger.experiment.add_figure(name, figure, step)
    if hasattr(logger, "log_image"):
        return lambda name, figure: logger.log_image(key=name, images=[figure], step=step)
    return None


def log_layout(
    trainer: L.Trainer, stages: Sequence[str], groups: GroupSpec, metrics: Sequence[str]
) -> None:
    """Lay out TensorBoard's custom scalars: for every rate one chart with all groups of a kind."""
    layout = {stage: _charts(stage, groups, metrics) for stage in stages}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout)


def _charts(stage: str, groups: GroupSpec, metrics: Sequence[str]) -> dict[str, list[Any]]:
    charts = {}
    for metric in ("demographic_parity_difference", "equal_opportunity_difference"):
        keys = [Key(stage, metric, " & ".join(p), None) for p in groups.partitions]
        charts[readable(metric)] = ["Multiline", [_exactly(key) for key in keys]]
    for partition in groups.partitions:
        attribute = " & ".join(partition)
        for metric in metrics:
            keys = [Key(stage, metric, attribute, name) for name in groups.group_names(partition)]
            title = f"{readable(metric)} by {attribute}"
            charts[title] = ["Multiline", [_exactly(key) for key in keys]]
    return charts


def _exactly(key: Key) -> str:
    # Tags of a layout are regular expressions, which names of groups are not.
    return f"^{re.escape(tag(Record(*key, None, None, None, 0)))}$"
