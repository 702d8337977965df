"""The wheel is built, installed into a folder of its own and used from another one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build(folder, *options):
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    run(*command, *options, str(ROOT))
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")[".whl"]


@pytest.fixture(scope="module")
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel, names):
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(zipfile.ZipFile(wheel).read(name).decode())


@pytest.fixture(scope="module")
def target(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"]
    run(*pip, "--target", str(folder), str(wheel))
    return folder


@pytest.fixture(scope="module")
def installed(target, tmp_path_factory):
    """Runs Python somewhere else, with the installed copy before the editable one."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    environment = os.environ | {"PYTHONPATH": str(target)}

    def python(*arguments):
        return run(sys.executable, *arguments, cwd=cwd, env=environment)

    where = "import fairlightning; print(fairlightning.__file__)"
    assert Path(python("-c", where).strip()).parent == target / "fairlightning"
    return python


def test_wheel_holds_the_package_and_the_configuration_and_nothing_else(names):
    sources = [*ROOT.glob("fairlightning/**/*.py"), *ROOT.glob("conf/**/*.yaml")]
    templates = [path for path in ROOT.glob("fairlightning/**/templates/**/*") if path.is_file()]
    assert templates
    expected = {path.relative_to(ROOT).as_posix() for path in (*sources, *templates)}
    expected = {f"fairlightning/{n}" if n.startswith("conf/") else n for n in expected}
    for name in ("py.typed", "conf/train.yaml", "data/adult.parquet", "data/ADULT.md"):
        expected.add(f"fairlightning/{name}")
    assert expected - names == set()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fairlightning"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_source_distribution_builds_the_same_wheel(names, tmp_path):
    # Without --wheel, `build` makes the wheel from the unpacked source distribution.
    files = build(tmp_path)
    assert set(zipfile.ZipFile(files[".whl"]).namelist()) == names
    with tarfile.open(files[".gz"]) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"conf/train.yaml", "fairlightning/py.typed", "LICENSE", "CHANGELOG.md"}
    assert expected - members == set()


def test_licence(wheel, metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    version = metadata["Version"]
    text = zipfile.ZipFile(wheel).read(f"fairlightning-{version}.dist-info/licenses/LICENSE")
    assert hashlib.sha256(text).hexdigest() == APACHE_2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "compare"),
        (["train", "--help"], "optimizer: adamw"),
        (["--version"], "fairlightning "),
    ],
)
def test_installed_command_line_helps(installed, metadata, arguments, expected):
    out = installed("-m", "fairlightning", *arguments)
    assert expected in out
    if arguments == ["--version"]:
        assert out.split() == ["fairlightning", metadata["Version"]]


def test_installed_script_starts(installed, target):
    assert "compare" in installed(str(target / "bin" / "fairlightning"), "--help")


def test_installed_copy_trains(installed, tmp_path):
    folder = tmp_path / "run"
    installed("-m", "fairlightning", "train", "trainer.max_epochs=1", f"run_dir={folder}")
    records = json.loads((folder / "metrics.json").read_text())["records"]
    (auroc,) = (
        record["value"]
        for record in records
        if record["stage"] == "test" and record["metric"] == "auroc" and not record["group"]
    )
    assert 0.7 < auroc < 1  # 0.5 is a network that has learned nothing
