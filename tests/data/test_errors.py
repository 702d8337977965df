"""Every mistake ends before training, in a message that names it and its mend."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from fairlightning.data import ArrayDataModule, Arrays, TabularDataModule
from fairlightning.exceptions import DataError
from fairlightning.verification.files import PREDICTION_COLUMNS


def assert_refused(build, *parts, **arguments):
    """The data module is refused with all parts in the message."""
    with pytest.raises(DataError) as caught:
        build(**arguments).setup()
    for part in (*parts, "expected", "Mend: "):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"target": "lable"}, ["target: found no column 'lable'", "did you mean 'label'?"]),
        ({"target": "zzz"}, ["no column 'zzz'", "'label', 'sex'", "name a column of the table"]),
        ({"sensitive": ["sexx"]}, ["sensitive: found no column 'sexx'", "did you mean 'sex'?"]),
        ({"numeric": ["ages"]}, ["numeric: found no column 'ages'", "did you mean 'age'?"]),
        ({"categorical": ["jobs"]}, ["categorical: found no column", "did you mean 'job'?"]),
        ({"ignore": ["towns"]}, ["ignore: found no column", "did you mean 'town'?"]),
        ({"weight": "hour"}, ["weight: found no column", "did you mean 'hours'?"]),
        ({"split": "fold"}, ["split: found no column 'fold'"]),
        ({"sensitive": "sex"}, ["found the text 'sex'", "pass sensitive=['sex']"]),
        ({"numeric": "age"}, ["found the text 'age'", "pass numeric=['age']"]),
        ({"numeric": ["label"]}, ["numeric: found column 'label', which is named in target"]),
        ({"numeric": ["age", "age"]}, ["column 'age' twice", "name 'age' once"]),
        ({"numeric": ["age"], "categorical": ["age"]}, ["'age', which is named in numeric as"]),
        ({"weight": "label"}, ["weight: found column 'label', which is named in target"]),
        ({"ignore": ["sex"]}, ["ignore: found column 'sex', which is named in sensitive"]),
        ({"numeric": ["sex"]}, ["'sex', which is named in sensitive", "include_sensitive=True"]),
        ({"categorical": ["race"]}, ["'race', which is named in sensitive", "include_sensitive"]),
        (
            {"include_sensitive": True, "numeric": ["sex"], "categorical": ["sex"]},
            ["'sex', which is named in numeric as well"],
        ),
        ({"numeric": [], "categorical": []}, ["found no feature", "at least one column"]),
        ({"positive": None}, ["positive: found None", "'no', 'yes'", "pass positive='yes'"]),
        ({"positive": "Yes"}, ["positive: found 'Yes'", "pass positive='yes'"]),
        (
            {"target": "job"},
            ["found 3 values: 'clerk', 'cook', 'nurse'", "say task=multiclass"],
        ),
        ({"numeric": ["age", "job"]}, ["numeric column 'job': found 400 values that are no num"]),
        ({"val_fraction": 0}, ["found 0 and 0.2", "two numbers above 0 whose sum is below 1"]),
        ({"test_fraction": 1.2}, ["found 0.2 and 1.2"]),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, ["found 0.5 and 0.5"]),
        ({"val_fraction": float("nan")}, ["found nan and 0.2"]),
        ({"batch_size": 0}, ["batch_size: found 0", "an integer of at least 1"]),
        ({"eval_batch_size": 0}, ["eval_batch_size: found 0"]),
        ({"seed": -1}, ["seed: found -1", "an integer of at least 0"]),
        ({"sensitive": {"sex": ["F", "M"]}}, ["found 0 of the categories 'F', 'M'", "'f', 'm'"]),
        ({"sensitive": {"sex": ["f", "w"]}}, ["found 1 of the categories", "at least two groups"]),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(module, arguments, parts):
    assert_refused(module, *parts, **arguments)


def with_value(column, value, count=1):
    """Change the first `count` rows from row 5 on."""

    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[5 : 4 + count, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "arguments", "parts"),
    [
        (with_value("label", None, 3), {}, ["3 rows without a label", "first in row 5", "dropna"]),
        (lambda f: f.assign(label="no"), {}, ["found 1 value: 'no'", "two classes"]),
        (lambda f: f.assign(sex="f"), {}, ["attribute 'sex': found 1 of", "at least two groups"]),
        (lambda f: f.assign(sex=None), {}, ["column 'sex': found no value in any row"]),
        (lambda f: f.assign(age=np.nan), {}, ["column 'age': found no value in any row"]),
        (
            with_value("age", "old", 2),
            {"numeric": ["age"]},
            ["'age': found 2 values that are no numbers, such as 'old', first in row 5"],
        ),
        (with_value("hours", np.inf, 2), {"numeric": ["hours"]}, ["2 infinite values", "row 5"]),
        (with_value("age", -1), {"weight": "age"}, ["1 missing or negative weights", "row 5"]),
        (with_value("age", np.nan, 4), {"weight": "age"}, ["4 missing or negative weights"]),
        (lambda f: f.assign(age=0), {"weight": "age"}, ["only weights of 0"]),
        (with_value("age", "x"), {"weight": "age"}, ["1 values that are no numbers"]),
        (lambda f: f.head(0), {}, ["a table of 0 rows and 7 columns", "at least one row"]),
        (lambda f: f[["age", "age", "sex"]], {}, ["the column names ['age'] more than once"]),
        (
            lambda f: f.groupby(["label", "sex"]).head(1),
            {"val_fraction": 0.1, "sensitive": ["sex"]},
            ["no rows for validation (4 rows in all)"],
        ),
        (
            lambda f: f.assign(town="train"),
            {"split": "town"},
            ["no rows for validation and test"],
        ),
        (
            lambda f: f.assign(town=np.resize(["train", "val", "holdout"], 400)),
            {"split": "town"},
            ["split 'town': found 133 rows with 'holdout'", "train, validation (or val) and test"],
        ),
        (
            lambda f: f.assign(town=np.resize(["train", "val", "test", None], 400)),
            {"split": "town"},
            ["found 100 rows with 'a missing value'"],
        ),
        (
            lambda f: f.assign(town=np.where(f["label"] == "no", "train", f["town"])).replace(
                {"town": {"north": "val", "south": "test"}}
            ),
            {"split": "town"},
            ["found only label 0 in the", "both labels"],
        ),
    ],
)
def test_tables_that_cannot_be_used(module, table, change, arguments, parts):
    assert_refused(module, *parts, source=change(table.copy()), **arguments)


@pytest.mark.parametrize("name", [*PREDICTION_COLUMNS, "score_low", "prediction", "weight"])
@pytest.mark.parametrize("form", ["table", "images"])
def test_names_of_columns_of_predictions(module, table, name, form):
    table = table.rename(columns={"sex": name})
    source = Arrays(torch.zeros(len(table), 1, 2, 2), table)
    build = module if form == "table" else partial(ArrayDataModule, target="label", positive="yes")
    assert_refused(
        build,
        f"sensitive: found the name {name!r}",
        "rename the column",
        source=table if form == "table" else source,
        sensitive=[name],
    )


def test_files(module, table, tmp_path):
    table.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "people.xlsx").write_bytes(b"x")
    (tmp_path / "broken.parquet").write_bytes(b"x")
    (tmp_path / "broken.csv.zip").write_bytes(b"x")
    (tmp_path / "broken.csv.gz").write_bytes(b"x")
    (tmp_path / "empty.csv").write_text("")
    assert_refused(module, "no file", "did you mean 'people.csv'?", source=tmp_path / "poeple.csv")
    assert_refused(module, "no file", "holds 'broken.csv.gz'", source=tmp_path / "zzzzzz")
    assert_refused(module, "there is no folder", source=tmp_path / "nowhere" / "people.csv")
    assert_refused(module, "'people.xlsx'", ".csv.gz", "convert", source=tmp_path / "people.xlsx")
    for name in ("broken.parquet", "broken.csv.zip", "broken.csv.gz", "empty.csv"):
        assert_refused(module, f"{name!r}, which cannot be read", source=tmp_path / name)
    (tmp_path / "sub").mkdir()
    assert_refused(module, "holds no table", source=tmp_path / "sub" / "x.csv")


def test_new_rows_are_checked(module, table):
    data: TabularDataModule = module()
    data.setup()
    with pytest.raises(DataError, match=r"frame: found no column 'age'.*did you mean 'ages'"):
        data.encode(table.rename(columns={"age": "ages"}))
    with pytest.raises(DataError, match="numeric column 'age': found 400 values"):
        data.encode(table.assign(age="old"))
