"""Reading and writing `front.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from fairlightning.exceptions import DataError, FairlightningError
from fairlightning.metrics import Record
from fairlightning.verification.files import existing
from fairlightning.verification.front_file import Criterion, Front, FrontLimit, FrontPoint

VERSION = 1
"""Version of `front.json`; raised when it changes its form."""

_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
_POINT = {
    "id": (str,),
    "settings": (dict,),
    "member": (int, type(None)),
    "epoch": (int, type(None)),
    "model": (str,),
    "load": (str,),
    "records": (list,),
}
_RECORD = {
    "stage": (str,),
    "metric": (str,),
    "attribute": _TEXT,
    "group": _TEXT,
    "value": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "support": (int,),
}
_FRONT = {
    "version": (int,),
    "title": (str,),
    "criteria": (list,),
    "baseline": _TEXT,
    "points": (list,),
    "limit": (dict, type(None)),
}
_LIMIT = {"metric": (str,), "attribute": _TEXT, "stage": (str,), "points": (list,)}


def write_front(path: str | Path, front: Front) -> None:
    """Write a front as JSON, a line for each record.

    Args:
        path: File to write, `front.json` in the folder of a run.
        front: What to write.

    >>> import tempfile
    >>> records = tuple(
    ...     Record(stage, metric, attribute, None, value, None, None, 100)
    ...     for stage in ("val", "test")
    ...     for metric, attribute, value in (
    ...         ("accuracy", None, 0.8),
    ...         ("demographic_parity_difference", "sex", 0.1),
    ...     )
    ... )
    >>> criteria = (Criterion("accuracy"), Criterion("demographic_parity_difference", "sex"))
    >>> front = Front("one", criteria, (FrontPoint("a", {"strength": 0.3}, records, "a.pt", ""),))
    >>> path = Path(tempfile.mkdtemp()) / "front.json"
    >>> write_front(path, front)
    >>> read_front(path) == front
    True
    """
    head = {
        "version": VERSION,
        "title": front.title,
        "criteria": [_plain(criterion) for criterion in front.criteria],
        "baseline": front.baseline_id,
        "limit": None if front.limit is None else _plain(front.limit),
    }
    points = ",\n".join(_point_text(point) for point in front.points)
    text = f'{_dump(head)[:-1]}, "points": [\n{points}\n]}}\n'
    Path(path).write_text(text, encoding="utf-8")


def read_front(path: str | Path) -> Front:
    """Read the front that `write_front` wrote.

    Raises:
        DataError: If there is no such file, or it holds something else; the message names the
            entry, such as `points[3].records[0].value`.
    """
    path = existing(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except ValueError as error:
        _refuse(path, f"what is no JSON ({error})")
    if isinstance(content, dict) and content.get("version") != VERSION:
        _refuse(path, f"version {content.get('version')!r}")
    try:
        return _front(content)
    except _MalformedError as error:
        _refuse(path, str(error))
    except FairlightningError as error:
        raise DataError(f"{path}: {error}") from error


class _MalformedError(Exception):
    """An entry that is missing or of another kind; says which."""


def _front(content: Any) -> Front:
    entry = _checked("the file", content, _FRONT)
    criteria = []
    for number, item in enumerate(entry["criteria"]):
        kinds = {"metric": (str,), "attribute": _TEXT}
        criteria.append(Criterion(**_checked(f"criteria[{number}]", item, kinds)))
    points = [_point(f"points[{number}]", item) for number, item in enumerate(entry["points"])]
    limit = None if entry["limit"] is None else _limit(entry["limit"])
    return Front(entry["title"], tuple(criteria), tuple(points), entry["baseline"], limit)


def _point(place: str, item: Any) -> FrontPoint:
    entry = dict(_checked(place, item, _POINT))
    for name, value in entry["settings"].items():
        _check_kind(f"{place}.settings.{name}", value, (*_NUMBER, str, bool))
    entry["records"] = tuple(
        Record(**_checked(f"{place}.records[{number}]", record, _RECORD))
        for number, record in enumerate(entry["records"])
    )
    return FrontPoint(**entry)


def _limit(item: Any) -> FrontLimit:
    entry = dict(_checked("limit", item, _LIMIT))
    for number, pair in enumerate(entry["points"]):
        place = f"limit.points[{number}]"
        _check_kind(place, pair, (list,))
        if len(pair) != 2:
            raise _MalformedError(f"{len(pair)} numbers at {place}, where there should be 2")
        for value in pair:
            _check_kind(place, value, (int, float))
    entry["points"] = tuple((float(first), float(second)) for first, second in entry["points"])
    return FrontLimit(**entry)


def _checked(place: str, item: Any, kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return the entry, with the keys and kinds that it should have and no other."""
    _check_kind(place, item, (dict,))
    if item.keys() != kinds.keys():
        missing, unknown = kinds.keys() - item.keys(), item.keys() - kinds.keys()
        parts = [f"no {name!r}" for name in sorted(missing)]
        parts += [f"an unknown {name!r}" for name in sorted(unknown)]
        raise _MalformedError(f"{', '.join(parts)} in {place}")
    for name, allowed in kinds.items():
        _check_kind(f"{place}.{name}", item[name], allowed)
    return dict(item)


def _check_kind(place: str, value: Any, allowed: tuple[type, ...]) -> None:
    # To Python, but to nobody else, True is a number.
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise _MalformedError(f"{value!r:.60} at {place}")


def _point_text(point: FrontPoint) -> str:
    head = {name: getattr(point, name) for name in _POINT if name not in ("records", "settings")}
    head["settings"] = dict(point.settings)
    records = ",\n".join(_dump(record._asdict()) for record in point.records)
    return f'{_dump(head)[:-1]}, "records": [\n{records}\n]}}'


def _plain(item: Criterion | FrontLimit) -> dict[str, Any]:
    return dict(vars(item))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse(path: Path, found: str) -> NoReturn:
    raise DataError.of(
        str(path),
        found=found,
        expected=f"a front of version {VERSION}, as `fairlightning front` writes it",
        mend="write the file anew with this version, or name another",
    )
