"""What a report is made from: the files in the folder of a verification, read and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlightning.exceptions import DataError
from fairlightning.metrics import Record
from fairlightning.report.document import File, Source
from fairlightning.verification.decision import Decision, read_decision
from fairlightning.verification.files import read_metrics
from fairlightning.verification.front_file import Front
from fairlightning.verification.front_json import read_front
from fairlightning.verification.results import Run, Verification
from fairlightning.verification.results_json import read_verification

VERIFICATION, DECISION, CONFIG = "verification.json", "decision.json", "config.yaml"
FRONTS = ("front", "around")
"""Folders with a front: of `fairlightning front`, and of the verification itself."""

AUDIT, ADVICE, CARD = "audit.json", "advice.json", "card.yaml"
AUDIT_FORMAT = 1
"""Version of `audit.json` that reports can read."""

_ADVICE_KEYS: dict[str, type | tuple[type, ...]] = {
    "recommendation": dict,
    "alternatives": list,
    "ruled_out": dict,
    "cautions": list,
}
_AUDIT_KEYS: dict[str, type | tuple[type, ...]] = {
    "data": dict,
    "variables": list,
    "proxies": list,
    "base_rates": list,
    "missingness": list,
    "diagram": (dict, type(None)),
    "pathways": list,
    "counterfactuals": (list, type(None)),
    "counterfactuals_note": (str, type(None)),
    "recommendation": dict,
    "assumptions": list,
    "uncertainties": list,
}


@dataclass(frozen=True)
class RunFiles:
    """The files of one training that are there; None in place of those that are not.

    Attributes:
        folder: Its folder, relative to that of the verification.
        records: Its figures.
        config: Its configuration.
        environment: Where it ran, on what data.
        predictions: Path of its predictions.
        checkpoint: Path of the weights that were chosen.
    """

    folder: str
    records: list[Record] | None
    config: dict[str, Any] | None
    environment: dict[str, Any] | None
    predictions: Path | None
    checkpoint: Path | None

    def source(self, name: str, what: str = "") -> Source:
        """One of its files as a source."""
        return Source(f"{self.folder}/{name}", what)


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from; None in place of an optional file that is not there.

    Attributes:
        folder: Folder of the verification.
        found: What `verification.json` holds.
        baseline: The baseline of the first seed.
        intervention: The intervention of the first seed.
        config: Configuration of the verification.
        front: Models of other strengths.
        front_folder: Folder of the front, relative to `folder`.
        decision: Which of them was chosen, by whom and why.
        audit: What `audit.json` holds.
        audit_folder: Folder of `audit.json`, relative to `folder`; empty if it is `folder`.
        advice: What `fairlightning advise --json` wrote.
        card: What people say of purpose and use.
    """

    folder: Path
    found: Verification
    baseline: RunFiles
    intervention: RunFiles
    config: Mapping[str, Any] | None
    front: Front | None
    front_folder: str
    decision: Decision | None
    audit: Mapping[str, Any] | None
    audit_folder: str
    advice: Mapping[str, Any] | None
    card: Mapping[str, str]

    @property
    def seed(self) -> int:
        """Seed of the runs whose records and predictions are shown."""
        return self.found.seeds[0]

    @property
    def few(self) -> str:
        """How few rows are too few for a verdict, in words."""
        success = (self.config or {}).get("success")
        least = success.get("min_support") if isinstance(success, Mapping) else None
        return "too few rows" if least is None else f"fewer than {least} different rows"

    def audit_source(self, what: str = "") -> Source:
        """`audit.json` as a source."""
        return Source(f"{self.audit_folder}{AUDIT}", what)

    def file(self, path: str) -> File:
        """Size and fingerprint of a file; without both where there is none."""
        if not (self.folder / path).is_file():
            return File(path, None, None)
        content = (self.folder / path).read_bytes()
        return File(path, len(content), hashlib.sha256(content).hexdigest())


def read_inputs(folder: str | Path) -> ReportInputs:
    """Read what is in the folder of a verification.

    Args:
        folder: The folder that `fairlightning verify` wrote.

    Raises:
        DataError: If there is no `verification.json`, or a file that is there cannot be used.
    """
    folder = Path(folder)
    if not (folder / VERIFICATION).is_file():
        raise DataError.of(
            str(folder),
            found=f"no {VERIFICATION}",
            expected="the folder of `fairlightning verify`",
            mend="run `fairlightning verify`, or name the folder that it printed as Results",
        )
    found = read_verification(folder / VERIFICATION)
    fronts = [name for name in FRONTS if (folder / name / "front.json").is_file()]
    front_folder = fronts[0] if fronts else FRONTS[-1]
    front_path = folder / front_folder / "front.json"
    decision = None
    if (folder / DECISION).is_file():
        decision = read_decision(folder / DECISION, front_path)
    places = [place for place in ("", "audit/") if (folder / f"{place}{AUDIT}").is_file()]
    place = places[0] if places else ""
    return ReportInputs(
        folder,
        found,
        _run(folder, found, "baseline"),
        _run(folder, found, "intervention"),
        _mapping(folder / CONFIG) if (folder / CONFIG).is_file() else None,
        read_front(front_path) if fronts else None,
        front_folder,
        decision,
        _audit(folder / place / AUDIT) if places else None,
        place,
        _checked(folder / ADVICE, _ADVICE_KEYS) if (folder / ADVICE).is_file() else None,
        _card(folder / CARD) if (folder / CARD).is_file() else {},
    )


@contextmanager
def understood(name: str) -> Iterator[None]:
    """Turn an entry that a file lacks, or that is of another kind, into an error that names it.

    Args:
        name: Name of the file.

    Raises:
        DataError: In place of what reading the entries raised.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        message = f"an entry that is missing or of another kind ({error!r})"
        raise _refused(Path(name), message, "what fairlightning writes") from error


def _run(folder: Path, found: Verification, role: str) -> RunFiles:
    run = next((r for r in found.runs if (r.seed, r.role) == (found.seeds[0], role)), None)
    if run is None:
        raise DataError.of(
            f"{VERIFICATION}: runs",
            found=f"no {role} of seed {found.seeds[0]}",
            expected="a baseline and an intervention of each seed",
            mend="run `fairlightning verify` again in that folder",
        )
    return _run_files(folder, run)


def _run_files(folder: Path, run: Run) -> RunFiles:
    path = folder / run.folder
    names = ("best.ckpt", "least_violating.ckpt", "last.ckpt")
    checkpoints = [path / "checkpoints" / name for name in names]
    predictions = path / "predictions.parquet"
    config, environment, metrics = (
        path / name for name in ("config.yaml", "environment.json", "metrics.json")
    )
    return RunFiles(
        run.folder,
        read_metrics(metrics) if metrics.is_file() else None,
        _mapping(config) if config.is_file() else None,
        _mapping(environment) if environment.is_file() else None,
        predictions if predictions.is_file() else None,
        next((each for each in checkpoints if each.is_file()), None),
    )


def _mapping(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise _refused(path, f"what cannot be read ({error})", "a mapping") from error
    if not isinstance(content, dict):
        raise _refused(path, f"a {type(content).__name__}", "a mapping of names to values")
    return content


def _audit(path: Path) -> dict[str, Any]:
    content = _checked(path, _AUDIT_KEYS)
    if content.get("format") != AUDIT_FORMAT:
        raise _refused(path, f"format {content.get('format')!r}", f"format {AUDIT_FORMAT}")
    return content


def _checked(path: Path, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """A mapping with entries of these kinds, whatever else it has."""
    content = _mapping(path)
    for name, kind in kinds.items():
        if name not in content or not isinstance(content[name], kind):
            found = f"{content[name]!r:.60} as" if name in content else "no"
            raise _refused(path, f"{found} {name!r}", "what fairlightning writes")
    return content


def _card(path: Path) -> dict[str, str]:
    content = _mapping(path)
    for name, value in content.items():
        if not isinstance(value, str) or not value.strip():
            raise _refused(path, f"{value!r:.60} for {name!r}", "a text for each name")
    return content


def _refused(path: Path, found: str, expected: str) -> DataError:
    return DataError.of(
        str(path), found=found, expected=expected, mend="write the file anew, or take it away"
    )
