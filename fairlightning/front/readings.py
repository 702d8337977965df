"""What monitors logged about the models of a validation."""

from __future__ import annotations

import re
from collections.abc import Sequence

import lightning as L
from torch import Tensor

from fairlightning.callbacks import FairnessMonitor
from fairlightning.exceptions import check_choice
from fairlightning.front.monitor import FrontMonitor
from fairlightning.metrics import Record, tag

_MEMBER = re.compile(r"/member=\d+$")

Reading = dict[str, float | None]
"""By name, a figure; None if this validation did not log it."""


class Readings:
    """Figures that `FairnessMonitor`, `FrontMonitor` or a module logs, validation by validation.

    Args:
        names: Their names, without `/member=<k>`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._seen: dict[str, Tensor] = {}

    def take(self, trainer: L.Trainer, members: Sequence[int | None]) -> list[Reading]:
        """Return the new figures of every model, the same on all ranks.

        Args:
            trainer: The trainer, at the end of a validation.
            members: Numbers of the models trained together; `[None]` for a single one.

        Returns:
            One reading for each model; none if the monitor did not count in this epoch.

        Raises:
            ArgumentError: If nobody logs a figure of that name.
        """
        self._check_names(trainer, members)
        readings = [
            {name: self._fresh(trainer, of_member(name, k)) for name in self.names} for k in members
        ]
        # What a module logs itself may differ between ranks: rank 0 decides.
        readings = trainer.strategy.broadcast(readings)
        if all(value is None for reading in readings for value in reading.values()):
            return []
        return readings

    def _fresh(self, trainer: L.Trainer, name: str) -> float | None:
        value = trainer.callback_metrics.get(name)
        # The Trainer goes on showing the figure of an earlier epoch where there is no new one.
        if value is None or value is self._seen.get(name):
            return None
        self._seen[name] = value
        return float(value)

    def _check_names(self, trainer: L.Trainer, members: Sequence[int | None]) -> None:
        recorded = _recorded(trainer)
        if recorded is None:
            return
        logged = list(trainer.callback_metrics)
        if None not in members:
            logged = [_MEMBER.sub("", name) for name in logged if _MEMBER.search(name)]
        for name in self.names:
            check_choice("criteria", name, dict.fromkeys([*logged, *recorded]))


def of_member(name: str, member: int | None) -> str:
    """Name of the figure of one of several models trained together.

    >>> of_member("val/accuracy", 3), of_member("val/accuracy", None)
    ('val/accuracy/member=3', 'val/accuracy')
    """
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
