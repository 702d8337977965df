from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from fairlightning.data import ADULT

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_adult.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_adult", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one_hot(script):
    """The table in the form of the source: numbers first, then one column per category."""
    frame = pd.read_parquet(ADULT).rename(columns={"income": "salary"})
    categories = [
        name.replace("income", "salary") for name, kind in script.COLUMNS.items() if not kind
    ]
    return pd.get_dummies(frame, columns=categories, prefix_sep="_", dtype=int)


def test_undoes_one_hot_and_writes_the_same_table_and_bytes(script, one_hot, tmp_path):
    table = script.undo_one_hot(one_hot)
    script.check(table)
    for name in ("a", "b"):
        script.write(table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a"), pd.read_parquet(ADULT))


@pytest.mark.parametrize("value", [0, 1])
def test_a_row_with_no_or_two_categories_is_refused(script, one_hot, value):
    broken = one_hot.head(50).copy()
    broken.loc[7, ["sex_Female", "sex_Male"]] = value
    with pytest.raises(ValueError, match="instance in row: 7"):
        script.undo_one_hot(broken)


def test_inconsistent_tables_are_refused(script):
    frame = pd.read_parquet(ADULT)
    with pytest.raises(SystemExit, match="expected 45222 complete rows, found 10"):
        script.check(frame.head(10))
    frame.loc[0, "education-num"] = 3 if frame.loc[0, "education-num"] != 3 else 4
    with pytest.raises(SystemExit, match="do not name the same 16 levels"):
        script.check(frame)
