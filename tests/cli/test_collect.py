"""`fairlightning collect`: whatever is in a folder becomes one front, or is named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from fairlightning.cli import main
from fairlightning.cli.build import load_run
from fairlightning.cli.collect import collect, median_front
from fairlightning.cli.front import front
from fairlightning.cli.gather import differing, find_runs
from fairlightning.cli.train import train
from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.verification import read_front, read_metrics, write_metrics


@pytest.fixture
def sweep(composed, tmp_path):
    """Two runs of two seeds each, and one that was cut off."""
    folder = tmp_path / "sweep"
    for seed in (0, 1):
        for strength in (0.0, 4.0):
            name = f"run_dir={folder}/{seed}-{strength:g}"
            options = ("method=parity", "logger=none", f"method.strength={strength}")
            train(composed(*options, f"seed={seed}", "optimizer.learning_rate=0.01", name))
    (folder / "cut off").mkdir()
    shutil.copy(folder / "0-0" / "config.yaml", folder / "cut off")
    return folder


def test_a_sweep_over_strengths_and_seeds(sweep, capsys):
    made = collect(sweep)
    assert read_front(sweep / "front.json") == made
    said = capsys.readouterr().out
    assert "4 finished runs with 4 models, seeds [0, 1]." in said
    assert "cut off" in said
    assert "cut off" not in (sweep / "front.json").read_text()
    assert [dict(point.settings) for point in made.points] == [
        {"strength": strength, "seed": seed} for seed in (0, 1) for strength in (0.0, 4.0)
    ]
    for point in made.points:
        assert tuple(read_metrics(sweep / point.model / "metrics.json")) == point.records
    assert made.baseline.settings["strength"] == 0
    module, _ = load_run(sweep / made.points[1].model)
    assert module.fairness.objectives["parity"].weight == 4.0 * 0.5
    for ending in ("png", "svg", "html"):
        assert (sweep / f"front.{ending}").stat().st_size > 1000

    # Whatever half of two seeds attain, one of them does: the front of all chosen points.
    seeds = {point.id: str(point.settings["seed"]) for point in made.points}
    line = median_front(made, seeds)
    costs = made.costs("test")
    for accuracy, gap in line:
        assert ((costs[:, 0] <= 1 - accuracy + 1e-12) & (costs[:, 1] <= gap + 1e-12)).any()
    assert (np.diff(line[:, 1]) >= 0).all()

    # Runs of one seed that were evaluated on other rows are refused.
    path = sweep / "0-4" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame["row"] = frame["row"].to_numpy()[::-1] + 1
    frame.to_parquet(path)
    with pytest.raises(DataError, match="other rows of validation or test"):
        collect(sweep)


def test_fronts_and_runs_together(composed, tmp_path, capsys):
    folder = tmp_path / "both"
    options = ("logger=none", "trainer.max_epochs=2")
    one = front(composed(*options, "strengths=[0,2]", f"run_dir={folder}/f", command="front"))
    train(composed(*options, "method=adversarial", f"run_dir={folder}/t"))
    assert (
        main(["collect", str(folder), "--attribute", "sex", "--output", str(tmp_path / "o")]) == 0
    )
    made = read_front(tmp_path / "o" / "front.json")
    assert [point.id for point in made.points] == [*(f"f/{p.id}" for p in one.points), "t"]
    assert made.baseline_id == f"f/{one.baseline_id}"
    assert {point.settings["method"] for point in made.points} == {"parity", "adversarial"}
    for point in made.points:
        assert (tmp_path / "o" / point.model).exists()
    # The collected front is no run of its own, so that it can be made anew.
    assert main(["collect", str(folder), "--attribute", "sex"]) == 0
    assert len(read_front(folder / "front.json").points) == len(made.points)

    capsys.readouterr()
    assert main(["collect", str(folder)]) == 2  # a front names its attribute, the run does not
    assert "pass --attribute" in capsys.readouterr().err
    assert main(["collect", str(folder), "--attribute", "age"]) == 2
    assert "of age on val" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="would replace"):
        collect(folder / "f")


def test_nothing_to_collect(tmp_path, composed):
    with pytest.raises(DataError, match="no such folder"):
        collect(tmp_path / "nowhere")
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    OmegaConf.save(composed(), run / "config.yaml")
    with pytest.raises(DataError, match="no finished run"):
        collect(tmp_path / "runs")
    (run / "metrics.json").write_text(json.dumps({"schema": 99, "records": []}))
    with pytest.raises(DataError, match="schema 99"):
        collect(tmp_path / "runs")


def test_a_run_on_reweighed_rows_is_no_plain_model(composed, tmp_path):
    for sampling in ("uniform", "reweighing"):
        run = tmp_path / "runs" / sampling
        run.mkdir(parents=True)
        OmegaConf.save(composed("method=erm", f"sampling={sampling}"), run / "config.yaml")
        write_metrics(run / "metrics.json", [])
    runs = differing(find_runs(tmp_path / "runs", tmp_path)[0])
    assert [run.plain for run in runs] == [(), ("uniform",)]
    settings = [dict(run.points[0].settings) for run in runs]
    assert settings == [{"sampling": "reweighing"}, {"sampling": "uniform"}]
