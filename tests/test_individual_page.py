"""The code of docs/individual.md runs, and its table names every method."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "individual.md").read_text(encoding="utf-8")


def test_code_runs_and_learns_not_to_look_at_sex():
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(code, names)
    sex = torch.randint(0, 2, (400, 1))
    x = torch.cat([torch.randn(400, 3), sex.float()], 1)
    target = (x[:, 0] + x[:, -1] + torch.randn(400) > 0.5).long()
    module = names["Income"](x, sex)
    [optimizer] = [module.configure_optimizers()]
    first = None
    for _ in range(100):
        optimizer.zero_grad()
        module.training_step((x, target, sex), 0).backward()
        optimizer.step()
        parts = module.fairness.last.losses.parts
        first = first or parts
    assert parts["task"] < first["task"]
    assert parts["flips"] < 0.5 * first["flips"]


def test_table_names_every_method():
    table = PAGE.split("| `method=`")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    assert named == {
        "similarity",
        "sensitive_gradient",
        "counterfactual",
        "contrastive",
        "fairness_head",
    }
