"""What docs/datasets.md says holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_code_runs():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        exec(block, names)
    assert names["structure"].label_gap() == pytest.approx(0.1)
    assert names["low"] < names["high"]
    assert len(names["table"]) == 1000


@pytest.mark.parametrize("group", ["dataset", "sampling"])
def test_every_choice_is_on_the_page(group):
    for file in (ROOT / "conf" / group).glob("*.yaml"):
        assert f"`{file.stem}`" in TEXT, file.name
