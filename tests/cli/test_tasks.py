"""Several classes, regression and continuous attributes from the command line to the records."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command

from fairlightning.cli.build import load_run
from fairlightning.cli.front import front
from fairlightning.cli.train import trade_off, train
from fairlightning.exceptions import ArgumentError
from fairlightning.verification import compare, evaluate, read_metrics, read_predictions


@pytest.fixture
def tasks(table):
    """The small table with a column for each task."""
    frame = pd.read_csv(table)
    random = np.random.default_rng(1)
    frame["age"] = random.integers(18, 80, len(frame))
    frame["hours"] = 40 + 5 * frame["x"] + 4 * (frame["sex"] == "m") + 0.1 * frame["age"]
    frame["level"] = pd.cut(frame["hours"], 3, labels=["low", "mid", "top"]).astype(str)
    frame.to_csv(table, index=False)
    return frame


SHORT = ["logger=none", "trainer.max_epochs=2", "dataset.positive=null"]


def test_regression_with_a_continuous_attribute(composed, tasks, tmp_path):
    overrides = ["dataset.target=hours", "dataset.task=regression", "huber=1.0"]
    overrides += ["dataset.sensitive=[sex,age]", "dataset.continuous=[age]"]
    overrides += ["dataset.ignore=[label,level]", "dataset.batch_size=16"]
    methods = "method=[adversarial,parity,dependence,group_dro]"
    learn = ["method.strength=0.1", "optimizer.learning_rate=0.02"]
    config = composed(*SHORT, *overrides, methods, *learn)
    records = train(config)
    frame = read_predictions(tmp_path / "run" / "predictions.parquet")
    assert "score" not in frame
    module, data = load_run(tmp_path / "run")
    assert evaluate(frame, data.groups) == records
    inputs = data.encode(tasks.iloc[frame["row"]])
    with torch.no_grad():
        assert np.allclose(module(inputs)[:, 0], frame["prediction"], atol=1e-3)
    figures = {r.key[1:]: r.value for r in records if r.stage == "test"}
    test = frame[frame["split"] == "test"]
    error = (test["prediction"] - test["target"]).abs()
    assert figures["mean_absolute_error", None, None] == pytest.approx(error.mean())
    assert error.mean() < 0.7 * (test["target"] - test["target"].mean()).abs().mean()
    by_age = test.groupby("age")["prediction"].mean()
    difference = figures["mean_prediction_difference", "age", None]
    assert difference == pytest.approx(by_age.max() - by_age.min())
    minus_error, gap = trade_off(records, "demographic_parity", ["sex"])
    assert minus_error < 0 < gap
    assert not compare(records, records).worse("test")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["data"]["task"] == "regression"


def test_several_classes(composed, tasks, tmp_path):
    overrides = ["dataset.target=level", "dataset.task=multiclass", "dataset.classes=[low,mid,top]"]
    overrides += ["dataset.ignore=[label,hours]", "criterion=predictive_parity"]
    methods = "method=[parity,calibration,bounded_group_loss]"
    zeta = "method.objectives.bounded_group_loss.zeta=0.9"
    records = train(composed(*SHORT, *overrides, methods, zeta, "optimizer.learning_rate=0.02"))
    frame = read_predictions(tmp_path / "run" / "predictions.parquet")
    scores = frame[["score_low", "score_mid", "score_top"]]
    assert np.allclose(scores.sum(axis=1), 1)
    test = frame["split"] == "test"
    decided = scores.idxmax(axis=1).str.removeprefix("score_")
    figures = {r.key[1:]: r.value for r in records if r.stage == "test"}
    assert figures["accuracy", None, None] == pytest.approx(
        (decided == frame["target"])[test].mean()
    )
    top = (decided == "top")[test & (frame["sex"] == "m")].mean()
    assert figures["class_top_selection_rate", "sex", "sex=m"] == pytest.approx(top)
    assert ("predictive_parity_difference", "sex", None) in figures
    assert evaluate(frame, {"sex": ["f", "m"]}) == records
    frame.to_csv(tmp_path / "theirs.v2.csv", index=False)
    columns = ["--sensitive", "sex", "--continuous", "sex"]
    done = command("evaluate", "theirs.v2.csv", *columns[:2], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = read_metrics(tmp_path / "theirs.v2_evaluation" / "metrics.json")
    assert [r.value for r in again] == pytest.approx([r.value for r in records], nan_ok=True)
    assert command("evaluate", "theirs.v2.csv", *columns, cwd=tmp_path).returncode == 2
    done = command(
        "evaluate", "theirs.v2.csv", *columns[:2], "--adjust-thresholds", "0.1", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--adjust-thresholds: found predictions of task multiclass" in done.stderr


def test_what_is_for_binary_targets_says_so(composed, tasks):
    overrides = [*SHORT, "dataset.target=level", "dataset.task=multiclass"]
    for more, message in (
        (["method=constrained"], "task: found 'multiclass' for RateConstraint"),
        (["method=projection"], "task: found 'multiclass' for ProjectionPenalty"),
        (["model=linear", "method=constrained"], "task: found 'multiclass' for a convex program"),
        (["model=tabm"], "model: found TabM for task='multiclass'"),
        (["model=boosted_trees", "method=parity"], "model: found BoostedTrees for task"),
        (["sampling=balanced"], "sampling: found Balanced for task='multiclass'.*sampling=uniform"),
        (["sampling=optimised_reweighing"], "sampling: found row_weights for task='multiclass'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            train(composed(*overrides, *more))
    with pytest.raises(ArgumentError, match="for a front of models trained together"):
        front(composed(*overrides, command="front"))
