import json

import pandas as pd
import pytest

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.metrics import Record
from fairlightning.verification import (
    evaluate,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)

FRAME = pd.DataFrame(
    {
        "row": [4, 7, 9],
        "split": "test",
        "member": 0,
        "score": [0.1 + 0.2, 1 / 3, 0.9],
        "target": [0, 1, 1],
        "sex": ["Female", "Malé", None],
        "weight": [1.0, 0.5, 2.0],
    }
)


def test_metrics_survive_the_file(tmp_path):
    path = tmp_path / "metrics.json"
    records = evaluate(FRAME, "sex")
    records.append(Record("test", "accuracy", "sex", "sex=Malé", 0.1 + 0.2, 1 / 3, None, 2**40))
    write_metrics(path, records)
    assert read_metrics(path) == records
    first = path.read_bytes()
    write_metrics(path, read_metrics(path))
    assert path.read_bytes() == first
    content = json.loads(first)
    assert content["schema"] == 1
    assert list(content["records"][0]) == list(Record._fields)


def test_metrics_are_never_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(
            tmp_path / "metrics.json",
            [Record("test", "auroc", None, None, float("nan"), None, None, 1)],
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no list of records"),
        ("[]", "no list of records"),
        ('{"schema": 1, "records": [{"stage": "test"}]}', "no list of records"),
        ('{"schema": 2, "records": []}', "schema 2"),
    ],
)
def test_other_files_are_no_metrics(tmp_path, text, words):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_metrics(path)


def test_predictions_survive_the_file(tmp_path):
    path = tmp_path / "predictions.parquet"
    write_predictions(path, FRAME)
    pd.testing.assert_frame_equal(read_predictions(path), FRAME)
    FRAME.to_csv(tmp_path / "predictions.csv", index=False)
    read = read_predictions(tmp_path / "predictions.csv")
    assert read["score"].tolist() == FRAME["score"].tolist()
    assert evaluate(read, "sex") == evaluate(FRAME, "sex")


def test_predictions_need_their_columns(tmp_path):
    with pytest.raises(ArgumentError, match="did you mean 'scores'"):
        write_predictions(tmp_path / "p.parquet", FRAME.rename(columns={"score": "scores"}))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "predictions.csv").write_text("")
    (tmp_path / "predictions.parquet").write_text("text")
    (tmp_path / "predictions.xlsx").write_text("text")
    for ending in ("csv", "parquet", "xlsx"):
        with pytest.raises(DataError, match=f"predictions.{ending}"):
            read_predictions(tmp_path / f"predictions.{ending}")
    with pytest.raises(DataError, match=r"did you mean 'predictions\.csv'"):
        read_predictions(tmp_path / "prediction.csv")
    with pytest.raises(DataError, match="check the path"):
        read_predictions(tmp_path / "nowhere" / "p.csv")
