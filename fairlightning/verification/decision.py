"""`decision.json`: which model of a front was chosen on its page, by whom and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from fairlightning.exceptions import DataError
from fairlightning.metrics import Record
from fairlightning.verification.files import existing
from fairlightning.verification.front_file import Front, FrontPoint
from fairlightning.verification.front_json import read_front

VERSION = 1
"""Version of `decision.json`; raised when it changes its form."""

HOW = ("rule", "manual", "nearest")


class Decision(NamedTuple):
    """A model that was chosen, and how.

    Attributes:
        point: The chosen model, as the front has it.
        front: The front that it was chosen from.
        how: `"rule"`: by weights and bounds; `"nearest"`: no model met the bounds; `"manual"`: by
            hand.
        within_bounds: Whether it meets the bounds on validation.
        dominated: Whether another model is nowhere worse and somewhere better on validation; None
            where one of its figures is not estimable.
        weights: For each criterion its `importance`, 0 to 100, and `weight_per_unit`, the weight of
            its cost in `best_weighted`.
        bounds: The bounds that were set: what was entered (`at_most`) and the largest allowed cost
            (`cost_at_most`).
        reason: Why, in the words of who decided.
        by: Who decided.
        time: When, with its time zone.
    """

    point: FrontPoint
    front: Front
    how: str
    within_bounds: bool
    dominated: bool | None
    weights: list[dict[str, Any]]
    bounds: list[dict[str, Any]]
    reason: str
    by: str
    time: datetime


def read_decision(path: str | Path, front: str | Path) -> Decision:
    """Read a decision that was saved on the page of a front, and check it against the front.

    Args:
        path: `decision.json`, as the page saved it.
        front: The `front.json` that the page was made from.

    Raises:
        DataError: If a file is missing or holds something else, the front is not the one that the
            decision was made on (its SHA-256 differs), or the figures of the decision are not those
            of the front.
    """
    path = existing(path)
    models = read_front(front)
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        if entry["version"] != VERSION:
            raise _refused(path, f"version {entry['version']!r}", f"version {VERSION}")
        _check_front(path, Path(front), entry["front"]["sha256"])
        point = _point(path, models, entry["chosen"]["id"])
        _check_values(path, models, point, entry["values"])
        return _decision(path, models, point, entry)
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise _refused(path, f"what cannot be read ({error!r})", "a decision") from error


def _check_front(path: Path, front: Path, expected: str) -> None:
    found = hashlib.sha256(front.read_bytes()).hexdigest()
    if found != expected:
        raise DataError.of(
            str(path),
            found=f"a decision on a front with SHA-256 {expected!r}",
            expected=f"that of {front}, {found}",
            mend="name the front.json that the page was made from, or decide anew",
        )


def _point(path: Path, front: Front, name: str) -> FrontPoint:
    for point in front.points:
        if point.id == name:
            return point
    raise _refused(path, f"the model {name!r}", "a model of the front")


def _check_values(path: Path, front: Front, point: FrontPoint, values: Mapping[str, Any]) -> None:
    for stage in ("val", "test"):
        expected = [point.record(criterion, stage) for criterion in front.criteria]
        if [Record(**record) for record in values[stage]] != expected:
            raise _refused(path, f"other figures of {point.id} on {stage}", "those of the front")


def _decision(path: Path, front: Front, point: FrontPoint, entry: Mapping[str, Any]) -> Decision:
    if entry["how"] not in HOW or not entry["reason"].strip() or not entry["by"].strip():
        raise _refused(path, "a choice without how, reason or name", "all three")
    # Python 3.10 does not read the "Z" of UTC.
    time = datetime.fromisoformat(entry["time"].replace("Z", "+00:00"))
    fields = ("how", "within_bounds", "dominated", "weights", "bounds", "reason", "by")
    return Decision(point, front, **{name: entry[name] for name in fields}, time=time)


def _refused(path: Path, found: str, expected: str) -> DataError:
    return DataError.of(
        str(path),
        found=found,
        expected=f"{expected}, as the page of a front saves it",
        mend="save the decision on the page again; it is not meant to be edited",
    )
