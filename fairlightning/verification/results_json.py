"""Reading and writing `verification.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from fairlightning.exceptions import DataError
from fairlightning.verification.files import existing
from fairlightning.verification.results import VERSION, Verification


def write_verification(path: str | Path, found: Verification) -> None:
    """Write a verification as JSON, all or nothing and the same bytes for the same findings.

    Args:
        path: File to write, `verification.json`.
        found: What to write.
    """
    text = json.dumps(
        {"version": VERSION, **asdict(found)}, ensure_ascii=False, allow_nan=False, indent=1
    )
    path = Path(path)
    draft = path.with_name(f".{path.name}")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)


def read_verification(path: str | Path) -> Verification:
    """Read what `write_verification` wrote.

    Raises:
        DataError: If there is no such file, or it holds something else; the message names the
            entry, such as `criteria[0].findings[2].estimate.low`.
    """
    path = existing(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except ValueError as error:
        raise _refused(path, f"what is no JSON ({error})") from error
    if not isinstance(content, dict) or content.pop("version", None) != VERSION:
        raise _refused(path, "another version, or none")
    try:
        found: Verification = _decoded(Verification, content, "")
    except _MalformedError as error:
        raise _refused(path, str(error)) from error
    return found


class _MalformedError(Exception):
    """An entry that is missing or of another kind; says which."""


def _decoded(kind: Any, value: Any, place: str) -> Any:
    """The value of JSON as the annotated kind; `place` says where it stands."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType or origin is Union:
        if value is None and type(None) in inner:
            return None
        return _decoded(inner[0], value, place)
    if origin is Literal:
        return _checked(value in inner, value, place)
    if is_dataclass(kind):
        return _dataclass(kind, value, place)
    if origin is tuple:
        _checked(isinstance(value, list), value, place)
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        _checked(len(kinds) == len(value), value, place)
        pairs = zip(kinds, value, strict=True)
        return tuple(_decoded(k, v, f"{place}[{n}]") for n, (k, v) in enumerate(pairs))
    if origin is dict:
        _checked(isinstance(value, dict), value, place)
        return {name: _decoded(inner[1], v, f"{place}[{name!r}]") for name, v in value.items()}
    allowed = (int, float) if kind is float else kind
    # To Python, but to nobody else, True is a number.
    return _checked(
        isinstance(value, allowed) and isinstance(value, bool) == (kind is bool), value, place
    )


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    _checked(isinstance(value, dict), value, place)
    names = {field.name for field in fields(kind)}
    if value.keys() != names:
        differing = sorted(value.keys() ^ names)
        raise _MalformedError(f"{differing[0]!r} missing or unknown in {place or 'the file'}")
    hints = get_type_hints(kind)
    where = f"{place}." if place else ""
    return kind(**{name: _decoded(hints[name], value[name], f"{where}{name}") for name in names})


def _checked(fine: bool, value: Any, place: str) -> Any:
    if not fine:
        raise _MalformedError(f"{value!r:.60} at {place}")
    return value


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refused(path: Path, found: str) -> DataError:
    return DataError.of(
        str(path),
        found=found,
        expected=f"a verification of version {VERSION}, as `fairlightning verify` writes it",
        mend="run `fairlightning verify` again in that folder, or name another file",
    )
