"""The code of docs/models.md runs, and its table names every model."""

import re
from pathlib import Path

import torch

import fairlightning.models
from fairlightning.cli.build import conf_dir

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embedded, wrapped = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(embedded, names)
    rows = names["data"].batch("test").inputs
    assert names["network"](rows).logits.isfinite().all()
    exec(wrapped, names)
    assert names["network"](torch.randn(5, 3, 8, 8)).representation.shape == (5, 288)


def test_table_names_every_model():
    table = PAGE.split("| `model=`")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert {file.stem for file in (conf_dir() / "model").glob("*.yaml")} <= named
    parts = {"Outputs", "EnsembleOutputs", "Periodic", "PiecewiseLinear", "Rescaled"}
    parts |= {"TabularEncoder"}
    classes = {name for name in fairlightning.models.__all__ if name[0].isupper()}
    assert classes - parts <= named
