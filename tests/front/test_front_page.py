"""The code of docs/front.md runs, and its members trade accuracy for a smaller gap."""

import re
from pathlib import Path

import numpy as np
import torch

from fairlightning.module import FairModule

ROOT = Path(__file__).resolve().parents[2]


def test_code_runs_and_shows_a_trade_off(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    text = (ROOT / "docs" / "front.md").read_text(encoding="utf-8")
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(code, names)
    shown = re.findall(r"member (\d): accuracy 0\.\d+, gap 0\.\d+", capsys.readouterr().out)
    assert shown == ["0", "1", "2", "3", "4"]
    logged = names["logged"]
    gaps = [logged[f"{names['gap']}/member={k}"].item() for k in range(5)]
    assert gaps[2] < gaps[0] and max(gaps[3], gaps[4]) < 0.5 * gaps[0]
    rows = names["data"].batch("validation")
    single = FairModule(names["network"], names["data"].groups)
    right = ((single(rows.inputs)[:, 0] >= 0) == rows.target).float().mean().item()
    assert abs(right - logged["val/accuracy/member=3"].item()) < 1e-4
    kept = names["keeper"].kept
    assert kept and {model.epoch for model in kept} <= {1, 2}
    names["network"].load_state_dict(torch.load(kept[0].path, weights_only=True))
    # The scores of the members differ from those of the plain one, but not by much.
    found = names["distance"]
    assert 0 < found.share < found.limit + 0.1
    assert (found.excess[np.isfinite(found.excess)] > -0.01).all()
