"""The code of docs/constraints.md runs, and needs no more changed lines than a penalty."""

import difflib
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from fairlightning.data import adult

ROOT = Path(__file__).resolve().parents[1]


def blocks(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_six_lines_change():
    before, after = blocks("README.md")[0], blocks("docs/constraints.md")[0]
    changes = difflib.ndiff(before.splitlines(), after.splitlines())
    assert sum(line.startswith("+ ") for line in changes) <= 6


def test_code_runs_and_the_chosen_epoch_meets_the_constraint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = adult(seed=0)
    data.setup()

    def loader(split):
        batch = data.batch(split)
        tensors = TensorDataset(batch.inputs[0], batch.target, batch.sensitive[:, 0])
        return DataLoader(Subset(tensors, range(8192)), batch_size=256)

    torch.manual_seed(0)
    names = {"train_loader": loader("train"), "val_loader": loader("validation")}
    for block in blocks("docs/constraints.md"):
        exec(block, names)
    verdict = names["chosen"].verdict
    assert verdict["feasible"]
    found = verdict["constraints"]["gap"]
    assert found["value"] <= found["bound"] == 0.05
    metrics = names["trainer"].callback_metrics
    assert metrics["val/constraints/gap/value"].item() == pytest.approx(
        metrics["val/fairness/demographic_parity_difference/sex"].item(), abs=1e-6
    )
    assert "True" in capsys.readouterr().out
