"""What the repository promises: it works on any machine, with the versions that it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# Neither alternation matches its own text here.
FOREIGN = re.compile(
    r"(?<![\w.~$})*:-])/(?:root|home|Users|work|opt|mnt|srv|workspace)/\w"
    r"|\b(?:pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org)\b"
    r"|--(?:extra-)?index-url|--find-lin[k]s"
)


def git(*arguments):
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def foreign(text):
    return [match[0] for match in FOREIGN.finditer(text)]


@pytest.mark.parametrize(
    "text",
    [
        "open('{}/data.csv')".format("/home" + "/ann"),
        "see {}/x".format("/root"),
        "--find" + "-links wheels",
        "--extra-index" + "-url https://host/simple",
        "https://files.python" + "hosted.org/packages/x.whl",
    ],
)
def test_foreign_paths_and_hosts_are_recognised(text):
    assert foreign(text)


def test_relative_paths_are_not_foreign():
    assert not foreign("docs/work/x ./home/x ${root}/opt/x https://example.org/home/x")


def test_tracked_files_name_no_machine_and_no_package_host():
    found = {}
    names = [name for name in git("ls-files", "-z").split("\0") if name]
    assert "pyproject.toml" in names
    for name in names:
        path = ROOT / name
        if path.is_file():
            found[name] = foreign(path.read_text(encoding="utf-8", errors="replace"))
    assert {name: hits for name, hits in found.items() if hits} == {}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned(name, python):
    environment = {"python_version": python}
    return [
        pin
        for pin in pins()
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]


def declared():
    about = project()
    lines = [*about["dependencies"], *chain(*about["optional-dependencies"].values())]
    # An extra may name another extra of this package, which has bounds of its own.
    return [line for line in lines if Requirement(line).name != about["name"]]


@pytest.mark.parametrize("line", declared())
def test_every_dependency_has_a_lower_bound_and_one_pin_within_it(line):
    requirement = Requirement(line)
    assert any(part.operator in (">=", "==", "~=") for part in requirement.specifier)
    for python in PYTHONS:
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        (pin,) = pinned(requirement.name, python)
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version), f"{pin} on Python {python}"


def test_pins_are_exact_and_come_from_no_address():
    for pin in pins():
        assert pin.url is None
        assert [part.operator for part in pin.specifier] == ["=="], str(pin)
        # A local version such as +cpu exists on some machines only.
        assert "+" not in str(pin.specifier)


def installed_dependencies(name, extras, seen):
    for line in requires(name) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras))
        if wanted and canonicalize_name(requirement.name) not in seen:
            seen.add(canonicalize_name(requirement.name))
            try:
                installed_dependencies(requirement.name, requirement.extras, seen)
            except PackageNotFoundError:
                seen.discard(canonicalize_name(requirement.name))
    return seen


def test_what_dependencies_need_is_pinned_too():
    needed = installed_dependencies("fairlightning", {"dev"}, set())
    assert {"torch", "antlr4-python3-runtime", "pytest"} <= needed
    # Packages of torch's CUDA builds follow torch's own exact pins.
    needed = {n for n in needed if not n.startswith(("nvidia-", "cuda-", "triton"))}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert sorted(name for name in needed if not pinned(name, python)) == []


def test_scripts_can_be_executed():
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]
    scripts = [path for path in scripts if path.is_file()]
    assert {"demo", "run", "setup", "test"} <= {path.name for path in scripts}
    for path in scripts:
        starts = path.read_bytes().startswith(b"#!")
        # A program for `python scripts/name.py` may do without; anything else is started by name.
        assert starts or path.suffix == ".py", f"{path} has no #! line"
        if starts:
            assert os.access(path, os.X_OK), f"{path}: chmod +x"
