import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.groups import GroupSpec, as_labels

SPEC = GroupSpec({"sex": ["Female", "Male"], "race": ["Black", "Other", "White"]})


def test_names_of_every_partition():
    assert SPEC.partitions == (("sex",), ("race",), ("sex", "race"))
    three = GroupSpec({"a": "xy", "b": "xy", "c": "xy"})
    crossings = (("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c"))
    assert three.partitions == (("a",), ("b",), ("c",), *crossings)
    assert SPEC.group_names(("race",)) == ["race=Black", "race=Other", "race=White"]
    crossed = SPEC.group_names(("sex", "race"))
    assert len(crossed) == SPEC.num_groups(("sex", "race")) == 6
    assert crossed[5] == "sex=Male & race=White"


def test_ids_agree_with_names_and_unknown_is_minus_one():
    frame = pd.DataFrame(
        {"race": ["White", "Black", None, "Martian"], "sex": ["Male", "Female", "Male", "Female"]}
    )
    sensitive = SPEC.encode(frame)
    assert sensitive.tolist() == [[1, 2], [0, 0], [1, -1], [0, -1]]
    ids = SPEC.group_ids(sensitive, ("sex", "race"))
    assert ids.tolist() == [5, 0, -1, -1]
    assert SPEC.group_ids(sensitive, ("sex",)).tolist() == [1, 0, 1, 0]


def test_cell_ids_keep_unknown_in_a_slot_of_its_own():
    sensitive = torch.tensor([[0, 0], [-1, 2], [1, -1], [-1, -1]])
    cells = SPEC.cell_ids(sensitive)
    assert cells.tolist() == [0, 2 * 4 + 2, 1 * 4 + 3, 2 * 4 + 3]
    assert SPEC.num_cells == 3 * 4


def test_numbers_and_strings_name_the_same_category():
    spec = GroupSpec({"a": [0, 1]})
    for column in ([1, 0], [1.0, 0.0], ["1", "0"]):
        assert spec.encode({"a": column}).flatten().tolist() == [1, 0]
    assert spec.encode({"a": [1.0, None]}).flatten().tolist() == [1, -1]


@pytest.mark.parametrize(
    "categories",
    [[1, 1.5], [1.0, 1.5], ["1", "1.5"], ["1", 1.5], [1.0, None, np.float32(1.5), np.nan]],
)
@pytest.mark.parametrize(
    "column",
    [
        [1.0, 1.5, None],
        ["1", "1.5", None],
        [1, "1.5", np.nan],
        pd.array([1, 1.5, None], dtype="Float32"),
        pd.Categorical([1.0, 1.5, None]),
        pd.Series([1, 1.5, pd.NA], index=[0, 0, 1], dtype=object),
    ],
)
def test_each_number_names_its_category_whatever_is_beside_it(categories, column):
    spec = GroupSpec({"a": categories})
    assert spec.categories == (("1", "1.5"),)
    assert spec.encode({"a": column}).flatten().tolist() == [0, 1, -1]


def test_booleans_large_numbers_and_whole_categories_have_labels():
    assert as_labels([True, False]).tolist() == ["True", "False"]
    assert as_labels([1e20, -0.0, np.inf]).tolist() == [str(10**20), "0", "inf"]
    assert as_labels(pd.Categorical([1, None])).dropna().tolist() == ["1"]
    assert as_labels(["1.0"]).tolist() == ["1.0"]


def test_plain_form_round_trips_and_pickles():
    assert GroupSpec(SPEC.to_dict()) == SPEC == pickle.loads(pickle.dumps(SPEC))
    assert hash(GroupSpec(SPEC.to_dict())) == hash(SPEC)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "no sensitive attribute"),
        ({"sex": ["Female"]}, "two or more"),
        ({"sex": ["a", "a"]}, "two or more"),
        ({str(i): range(9) for i in range(8)}, "at most 1,000,000"),
    ],
)
def test_bad_specs_are_refused(attributes, words):
    with pytest.raises(ArgumentError, match=words):
        GroupSpec(attributes)


@pytest.mark.parametrize(
    ("sensitive", "words"),
    [
        (torch.zeros(3, 1).long(), r"expected \(4, 2\)"),
        (torch.zeros(4, 2), "integer category codes"),
        (torch.tensor([[0, 0], [0, 3], [0, 0], [0, 0]]), r"\[1, 2\]"),
        (torch.tensor([[0, 0], [-2, 0], [0, 0], [0, 0]]), "codes from -2"),
    ],
)
def test_bad_codes_are_refused(sensitive, words):
    with pytest.raises(ArgumentError, match=words):
        SPEC.check(sensitive, rows=4)


def test_one_attribute_may_come_without_its_axis():
    spec = GroupSpec({"sex": ["Female", "Male"]})
    assert spec.check(torch.tensor([0, -1, 1])).shape == (3, 1)


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ArgumentError, match="did you mean 'race'"):
        SPEC.axes(("rase",))
    with pytest.raises(ArgumentError, match="sequence of different"):
        SPEC.axes("sex")
    with pytest.raises(ArgumentError, match="no column 'race'"):
        SPEC.encode({"sex": ["Male"]})
    with pytest.raises(ArgumentError, match="one of a, b"):
        check_choice("x", "zzz", ["a", "b"])
