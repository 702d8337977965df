from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from fairlightning import data as package
from fairlightning.data import ADULT, TabularDataModule, adult

# Counts and shares above 50K as ADULT.md gives them, and as other descriptions of the table do.
ROWS = {
    ("Female", "Amer-Indian-Eskimo"): (166, 14),
    ("Female", "Asian-Pac-Islander"): (436, 65),
    ("Female", "Black"): (2084, 126),
    ("Female", "Other"): (126, 9),
    ("Female", "White"): (11883, 1455),
    ("Male", "Amer-Indian-Eskimo"): (269, 39),
    ("Male", "Asian-Pac-Islander"): (867, 304),
    ("Male", "Black"): (2144, 408),
    ("Male", "Other"): (227, 36),
    ("Male", "White"): (27020, 8752),
}


def test_table_is_that_of_the_source():
    frame = pd.read_parquet(ADULT)
    assert frame.shape == (45_222, 15)
    assert not frame.isna().any(axis=None)
    assert frame["income"].value_counts().to_dict() == {"<=50K": 34_014, ">50K": 11_208}
    assert frame["sex"].value_counts().to_dict() == {"Male": 30_527, "Female": 14_695}
    high = frame["income"] == ">50K"
    for (sex, race), expected in ROWS.items():
        chosen = (frame["sex"] == sex) & (frame["race"] == race)
        assert (chosen.sum(), (chosen & high).sum()) == expected
    categories = {"workclass": 7, "education": 16, "marital-status": 7, "occupation": 14}
    categories |= {"relationship": 6, "native-country": 41}
    assert {name: frame[name].nunique() for name in categories} == categories
    assert frame.groupby("education-num")["education"].nunique().eq(1).all()
    assert frame["fnlwgt"].agg(["min", "max"]).tolist() == [13_492, 1_490_400]
    assert ADULT.stat().st_size < 400_000


def test_description_of_the_file_gives_the_same_counts():
    page = ADULT.with_suffix(".parquet").with_name("ADULT.md").read_text()
    assert "https://doi.org/10.24432/C5XW20" in page
    assert "CC BY 4.0" in page
    for (sex, race), (count, high) in ROWS.items():
        (line,) = re.findall(rf"^\| {race} \|.*$", page, re.MULTILINE)
        assert f"| {count:,} ({high / count:.1%}".replace("%", " %)") in line, (sex, race)


def test_encoded_splits_hold_the_same_groups(adult_data: TabularDataModule):
    facts = adult_data.describe()
    groups = facts["groups"]["sex & race"]
    for (sex, race), (count, high) in ROWS.items():
        group = groups[f"sex={sex} & race={race}"]
        assert group["rows"] == count
        assert group["base_rate"] == pytest.approx(high / count)
    assert facts["unknown_sensitive"] == {"sex": 0, "race": 0}
    assert facts["missing"] == facts["unlisted_sensitive"] == {}
    assert facts["base_rate"] == pytest.approx(0.247844, abs=1e-6)


def test_splits_keep_shares_of_label_and_intersections(adult_data: TabularDataModule):
    sizes = {"train": 27_134, "validation": 9_044, "test": 9_044}
    batches = {name: adult_data.batch(name) for name in sizes}
    assert {name: len(batch.target) for name, batch in batches.items()} == sizes
    together = torch.cat([batch.index for batch in batches.values()])
    assert torch.equal(together.sort().values, torch.arange(45_222))
    for (sex, race), (count, high) in ROWS.items():
        code = adult_data.groups.encode({"sex": [sex], "race": [race]})[0]
        for batch in batches.values():
            part = len(batch.target) / 45_222
            inside = (batch.sensitive == code).all(1)
            assert abs(int((inside & (batch.target == 1)).sum()) - part * high) <= 2
            assert abs(int(inside.sum()) - part * count) <= 3


def test_batches_belong_to_their_rows(adult_data: TabularDataModule):
    for split in ("train", "validation", "test"):
        batch, frame = adult_data.batch(split), adult_data.frame(split)
        assert frame.index.tolist() == batch.index.tolist()
        assert torch.equal(
            batch.target.bool(), torch.tensor((frame["income"] == ">50K").to_numpy())
        )
        assert torch.equal(batch.sensitive, adult_data.groups.encode(frame))
        assert batch.inputs[0].shape == (len(frame), 5)
        assert batch.inputs[1].shape == (len(frame), 6)
        assert batch.weight is None


def test_arguments_can_be_replaced():
    data = adult(sensitive={"sex": ["Male", "Female"]}, numeric=["age"], categorical=[], seed=3)
    data.setup()
    assert data.groups.to_dict() == {"sex": ["Male", "Female"]}
    assert data.feature_names == ["age"]
    assert "race" in data.describe()["unused"]


def test_table_is_inside_the_package():
    assert Path(package.__file__).parent == ADULT.parent
