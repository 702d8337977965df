"""CSV files: names that are there twice, words for what is missing, and groups of such names."""

import warnings

import pandas as pd
import pytest

from fairlightning.data.table import read_table
from fairlightning.exceptions import DataError, FairnessWarning
from fairlightning.verification import read_predictions


@pytest.mark.parametrize("read", [read_table, read_predictions])
def test_a_name_that_is_there_twice_is_refused(tmp_path, read):
    path = tmp_path / "twice.csv"
    path.write_text("age,sex,label,sex\n30,f,0,f\n40,m,1,m\n")
    with pytest.raises(DataError, match=r"the column names \['sex'\] more than once"):
        read(path)


def test_none_is_a_group_and_other_words_are_told(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("score,age,religion\n0.5,NA,None\n0.1,3,Muslim\n0.2,4,NA\n0.3,5,\n")
    with pytest.warns(FairnessWarning, match="column 'religion': NA is read as missing, in 1 rows"):
        found = read_predictions(path)
    assert found["religion"].iloc[0] == "None"
    assert found["religion"].isna().tolist() == [False, False, True, True]
    assert pd.api.types.is_float_dtype(found["age"])
    path.write_text(path.read_text().replace("4,NA", "4,"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FairnessWarning)
        assert read_predictions(path)["religion"].isna().sum() == 2


def test_digits_of_a_score_survive(tmp_path):
    frame = pd.DataFrame({"score": [0.1 + 0.2, 1 / 3], "name, with comma": ["a", None]})
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "a.csv.gz"), frame)
