"""Anybody's predictions: the same figures as from logits, and rows that must be refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.metrics import FairnessMetrics, positive_scores
from fairlightning.metrics.tasks import stage_metrics
from fairlightning.verification import evaluate, read_predictions

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})


def predictions(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "score": rng.random(rows),
            "target": rng.integers(0, 2, rows),
            "sex": rng.choice(["Female", "Male", None], rows),
            "race": rng.choice(["a", "b", "c"], rows),
            "weight": rng.random(rows),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_files_give_the_figures_of_logits(tmp_path, ending, weight, threshold):
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(500, generator=rng) * 8
    # At the threshold itself, next to it, and where float32 scores would tie.
    cut = float(np.log(threshold / (1 - threshold)))
    logits[:6] = torch.tensor([0.0, -1e-8, cut, np.nextafter(np.float32(cut), 9), 18.0, 30.0])
    frame = predictions(500).assign(score=positive_scores(logits).numpy())
    # Values that float32 holds: text shortens those of a float32 column to fewer digits.
    frame["weight"] = frame["weight"].astype(np.float32).astype(np.float64)
    path = tmp_path / f"predictions.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    metric = FairnessMetrics(GROUPS, "test", threshold)
    for part in range(0, 500, 128):
        rows = slice(part, part + 128)
        metric.update(
            logits[rows],
            torch.tensor(frame["target"].to_numpy())[rows],
            GROUPS.encode(frame)[rows],
            torch.tensor(frame["weight"].to_numpy())[rows] if weight else None,
        )
    read = read_predictions(path)
    found = evaluate(read, ["sex", "race"], weight=weight, threshold=threshold)
    expected = metric.records()
    assert [r.key for r in found] == [r.key for r in expected]
    assert [r.support for r in found] == [r.support for r in expected]
    for a, b in zip(found, expected, strict=True):
        # Sums of weights depend on the order of the rows in their last digits.
        assert a.value == (pytest.approx(b.value, abs=1e-12) if weight else b.value)


def test_groups_may_be_names_categories_or_a_spec():
    frame = predictions()
    by_name = evaluate(frame, ["sex", "race"])
    assert by_name == evaluate(frame, GROUPS) == evaluate(frame, GROUPS.to_dict())
    assert evaluate(frame, "race") == evaluate(frame, ["race"])
    narrow = evaluate(frame, {"race": ["a", "b"]})
    unknown = next(r for r in narrow if r.metric == "support")
    assert unknown.support == (frame["race"] == "c").sum()


def test_categories_may_be_the_values_of_a_column_of_floats():
    frame = predictions()
    frame["sex"] = frame["sex"].map({"Female": 1.0, "Male": 2.0})
    found = evaluate(frame, {"sex": frame["sex"].unique()})
    support = {r.group: r.support for r in found if r.metric == "accuracy" and r.group}
    assert support == {f"sex={value}": (frame["sex"] == value).sum() for value in (1, 2)}


def test_each_split_is_a_stage():
    frame = predictions()
    frame["split"] = np.array(["test", "audit", "train"])[np.arange(len(frame)) % 3]
    records = evaluate(frame, "race")
    assert list(dict.fromkeys(r.stage for r in records)) == ["train", "test", "audit"]
    alone = evaluate(frame[frame["split"] == "test"].drop(columns="split"), "race")
    assert [r for r in records if r.stage == "test"] == alone
    assert evaluate(frame.rename(columns={"split": "fold"}), "race", split="fold") == records


def test_columns_may_have_other_names_and_types():
    frame = predictions()
    other = frame.rename(columns={"score": "p", "target": "y"})
    other["y"] = other["y"].astype(bool)
    other["p"] = other["p"].astype("Float64")
    other["race"] = other["race"].map({"a": 1, "b": 2, "c": 3}).astype("Int64")
    found = evaluate(other, "race", score="p", target="y")
    assert [r.value for r in found] == [r.value for r in evaluate(frame, "race")]
    assert any(r.group == "race=2" for r in found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"score": "scor"}, "did you mean 'score'"),
        ({"target": "tagret"}, "did you mean 'target'"),
        ({"weight": "weigth"}, "did you mean 'weight'"),
        ({"split": "splits"}, "split"),
        ({"groups": ["sexe"]}, "did you mean 'sex'"),
        ({"groups": {"rase": ["a", "b"]}}, "did you mean 'race'"),
        ({"groups": []}, "sensitive attribute"),
        ({"threshold": 1.5}, "threshold"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        evaluate(predictions(), **{"groups": "sex", **arguments})


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("score", 1.2, "1.2 in row 17"),
        ("score", -0.1, "row 17"),
        ("score", np.nan, "nan in row 17"),
        ("target", 2, "2 in row 17"),
        ("target", np.nan, "row 17"),
        ("target", "yes", "'yes' in row 17"),
        ("weight", -1.0, "-1.0 in row 17"),
        ("weight", np.inf, "inf in row 17"),
    ],
)
def test_wrong_rows_are_named(column, value, words):
    frame = predictions()
    frame[column] = frame[column].astype(object)
    frame.loc[[17, 30], column] = value
    with pytest.raises(DataError, match=f"{column}.*{words}.*2 such rows"):
        evaluate(frame, "sex", weight="weight")


def test_logits_are_no_scores():
    frame = predictions()
    frame["score"] = np.log(frame["score"] / (1 - frame["score"]))
    with pytest.raises(DataError, match="0 to 1"):
        evaluate(frame, "sex")


def test_tables_that_mean_nothing_are_refused():
    frame = predictions()
    with pytest.raises(DataError, match="no rows"):
        evaluate(frame.iloc[:0], "sex")
    with pytest.raises(DataError, match="row 3"):
        evaluate(frame.assign(split=["test"] * 3 + [None] * (len(frame) - 3)), "sex")
    twice = pd.concat([frame.assign(row=range(len(frame)), member=k) for k in (0, 1)])
    with pytest.raises(DataError, match="2 members"):
        evaluate(twice, "sex")
    assert evaluate(twice[twice["member"] == 1], "sex") == evaluate(frame, "sex")


def test_ordered_classes_are_told_to_be():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 3, generator=draw)
    scores = logits.double().softmax(1).numpy()
    codes = torch.randint(0, 2, (60,), generator=draw)
    target = torch.randint(0, 3, (60,), generator=draw)
    names = ["low", "mid", "top"]
    frame = pd.DataFrame({f"score_{name}": scores[:, k] for k, name in enumerate(names)})
    frame = frame.assign(target=[names[t] for t in target], sex=[["f", "m"][c] for c in codes])
    metric = "demographic_parity_difference"
    for task in ("multiclass", "ordinal"):
        counted = stage_metrics(
            Task("multiclass", tuple(names), ordered=task == "ordinal"),
            GroupSpec({"sex": ["f", "m"]}),
            "test",
            num_outputs=3,
        )
        counted.update(logits, target, codes[:, None])
        expected = [r.value for r in counted.records() if r.metric == metric]
        found = evaluate(frame, {"sex": ["f", "m"]}, task=task, intervals=None)
        assert [r.value for r in found if r.metric == metric] == expected
