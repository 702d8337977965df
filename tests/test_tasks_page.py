"""The examples of docs/tasks.md run, and each closes the gap that it is about."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
SHARED, *EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def names():
    made = {}
    exec(SHARED, made)
    return made


def gap(code, names):
    """The figure that an example prints last."""
    names = names | {"print": lambda *_: None}
    exec(code, names)
    return float(eval(re.findall(r"print\((figures.*)\)", code)[-1], names))


@pytest.mark.parametrize(
    "code", EXAMPLES, ids=["regression", "classes", "ordered", "continuous", "several"]
)
def test_example_runs_and_closes_its_gap(code, names):
    plain, count = re.subn(r"weight=[0-9.]+", "weight=0.0", code)
    assert count
    before, after = gap(plain, names), gap(code, names)
    print(f"{before:.3f} -> {after:.3f}")
    assert after < before / 2
