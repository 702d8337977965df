"""The code of docs/front.md runs, and its members trade accuracy for a smaller gap."""

import re
from pathlib import Path

import torch

from fairlightning.module import FairModule

ROOT = Path(__file__).resolve().parents[2]


def test_code_runs_and_shows_a_trade_off(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    text = (ROOT / "docs" / "front.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(code, names)
    shown = re.findall(r"member (\d): accuracy 0\.\d+, gap 0\.\d+", capsys.readouterr().out)
    assert shown == ["0", "1", "2", "3", "4"]
    gap = "val/fairness/demographic_parity_difference/sex/member="
    gaps = [names["logged"][f"{gap}{k}"].item() for k in range(5)]
    assert gaps[2] < gaps[0] and max(gaps[3], gaps[4]) < 0.5 * gaps[0]
    rows = names["data"].batch("validation")
    single = FairModule(names["network"], names["data"].groups)
    right = ((single(rows.inputs)[:, 0] >= 0) == rows.target).float().mean().item()
    assert abs(right - names["logged"]["val/accuracy/member=3"].item()) < 1e-4
