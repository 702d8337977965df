"""The README's code runs, and needs no more changed lines than it says."""

import difflib
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fairlightning.data import adult

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BEFORE, PARITY, ADVERSARY, TRAINER = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def loaders():
    data = adult(seed=0)
    data.setup()

    def loader(split):
        batch = data.batch(split)
        tensors = TensorDataset(batch.inputs[0], batch.target, batch.sensitive[:, 0])
        return DataLoader(torch.utils.data.Subset(tensors, range(4096)), batch_size=512)

    return {"train_loader": loader("train"), "val_loader": loader("validation")}


def changed_lines(after):
    """Lines of the new version that the old one does not have."""
    lines = difflib.ndiff(BEFORE.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") for line in lines)


@pytest.mark.parametrize(("code", "most", "said"), [(PARITY, 5, "five"), (ADVERSARY, 9, "eight")])
def test_few_lines_change(code, most, said):
    words = {"five": 5, "eight": 8}
    assert changed_lines(code) == words[said] <= most
    assert said in TEXT


@pytest.mark.parametrize("code", [BEFORE, PARITY, ADVERSARY], ids=["before", "parity", "adversary"])
def test_code_runs(code, loaders, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(loaders)
    exec(code, names)
    if code is BEFORE:
        import lightning as L

        trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False)
        trainer.fit(names["Income"](features=5), loaders["train_loader"], loaders["val_loader"])
        assert "val_loss" in trainer.callback_metrics
        return
    exec(TRAINER, names)
    trainer = names["trainer"]
    assert trainer.global_step == 5 * 8
    assert "val/fairness/demographic_parity_difference/sex" in trainer.callback_metrics
    assert "Female" in capsys.readouterr().out


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_readme_are_the_two():
    first = re.search(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL).group(1)
    commands = [line.split("#")[0].strip() for line in first.splitlines()]
    assert commands == ["scripts/demo", "scripts/test"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)
