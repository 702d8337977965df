import json
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import command, process, small_table
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fairlightning.cli import COMMANDS
from fairlightning.cli.build import conf_dir, load_run
from fairlightning.cli.run import folder_name
from fairlightning.cli.train import train
from fairlightning.exceptions import DataError
from fairlightning.verification import (
    evaluate,
    read_metrics,
    read_predictions,
    write_metrics,
    write_predictions,
)


def figures(records):
    return {record.key: record.value for record in records}


def test_run_folder_holds_what_it_should(composed, tmp_path):
    records = train(composed("method=[adversarial,parity]", "method.strength=0.5"))
    run = tmp_path / "run"
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert OmegaConf.load(run / "config.yaml").method.strength == 0.5
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert environment["data"]["groups"]["sex"]
    assert read_metrics(run / "metrics.json") == records
    frame = read_predictions(run / "predictions.parquet")
    assert set(frame.split) == {"val", "test"}
    assert frame.score.between(0, 1).all()
    assert not frame.row.duplicated().any()
    assert figures(evaluate(frame, {"sex": ["f", "m"]})) == figures(records)


@pytest.mark.parametrize(
    "model",
    [
        ["model=mlp"],
        ["model=mlp", "model.embedding=piecewise_linear"],
        ["model=tabular_resnet", "model.embedding={kind: periodic, width: 4}"],
        ["model=ensemble", "model@model.network=soft_tree", "model.members=2"],
    ],
)
def test_a_run_can_be_loaded_and_predicts_new_rows(composed, tmp_path, table, model):
    train(composed("method=adversarial", "logger=none", *model))
    module, data = load_run(tmp_path / "run")
    frame = read_predictions(tmp_path / "run" / "predictions.parquet")
    rows = pd.read_csv(table).iloc[frame.row].drop(columns=["label", "sex"])
    with torch.no_grad():
        scores = torch.sigmoid(module(data.encode(rows)).squeeze(1).double())
    assert scores.tolist() == pytest.approx(frame.score.tolist(), abs=1e-6)
    with pytest.raises(DataError, match="folder of a finished run"):
        load_run(tmp_path)


def test_several_methods_at_once_and_none_is_dropped(composed, tmp_path):
    config = composed("method=[adversarial,multi_objective,parity]")
    assert set(config.method.objectives) == {
        "adversarial",
        "fairness",
        "interpretability",
        "parity",
    }
    train(config)
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    names = {key.split(".")[2] for key in state["state_dict"] if "objectives" in key}
    assert names == set(config.method.objectives)


def test_same_seed_same_numbers_other_seed_others(composed):
    first, again, other = (
        train(composed("method=adversarial", f"seed={seed}", "logger=none")) for seed in (0, 0, 1)
    )
    assert first == again
    assert figures(first) != figures(other)


def test_tensorboard_shows_lambda_losses_groups_and_hyperparameters(composed, tmp_path):
    train(composed("method=parity", "trainer.log_every_n_steps=2"))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0}).Reload()
    tags = set(events.Tags()["scalars"])
    assert {
        "fairness/lambda",
        "train/lambda/parity",
        "train/loss/task",
        "train/loss/parity",
        "val/loss/total",
        "val/accuracy",
        "val/fairness/demographic_parity_difference/sex",
        "val/groups/selection_rate/sex=f",
    } <= tags
    ramp = [event.value for event in events.Scalars("fairness/lambda")]
    assert ramp == sorted(ramp)
    assert ramp[-1] == 1.0
    assert "final/test/accuracy" in tags
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    chosen = HParamsPluginData.FromString(content).session_start_info.hparams
    assert chosen["method"].string_value == "parity"
    assert chosen["strength"].number_value == 1.0
    assert chosen["parity/class"].string_value == "ParityPenalty"


def test_the_chosen_checkpoint_was_written_at_full_strength(composed, tmp_path):
    config = composed("method=parity", "method.strength=2.0")
    train(config)
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["state_dict"]["fairness.objectives.parity.factor"] == 1.0


def test_a_killed_run_resumes_to_the_same_result(composed, tmp_path):
    options = ("method=adversarial", "logger=none", "model.dropout=0.2")
    whole = train(composed(*options))
    crash = "+callbacks.crash._target_=helpers.CrashInEpochTwo"
    with pytest.raises(RuntimeError, match="power cut"):
        train(composed(*options, crash, f"run_dir={tmp_path}/killed"))
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    again = train(composed(*options, f"resume={last}", f"run_dir={tmp_path}/again"))
    assert again == whole


def test_multirun_sweeps_lambda_from_the_command_line(table, tmp_path):
    done = command(
        "train",
        "-m",
        "method=parity",
        "method.strength=0.0,40.0",
        *small_table(table),
        "trainer.max_epochs=30",
        "optimizer.learning_rate=0.01",
        "trainer.enable_progress_bar=false",
        "logger=none",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("multirun/*/*/metrics.json"))
    assert len(runs) == 2
    gaps = [
        next(
            r.value
            for r in read_metrics(path)
            if (r.stage, r.metric) == ("test", "demographic_parity_difference")
        )
        for path in runs
    ]
    assert gaps[1] < gaps[0] / 2


def test_two_processes_train_one_model_and_write_one_folder(table, tmp_path):
    done = process(
        "train",
        "method=[adversarial,parity]",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.max_epochs=2",
        "trainer.enable_progress_bar=false",
        *small_table(table),
        "logger=none",
        "run_dir=run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    frame = read_predictions(tmp_path / "run" / "predictions.parquet")
    assert len(frame) == 240
    assert not frame.row.duplicated().any()
    assert figures(read_metrics(tmp_path / "run" / "metrics.json"))


def test_bad_input_is_one_clear_line(table, tmp_path):
    done = command("train", "dataset=table", cwd=tmp_path)
    assert done.returncode == 2
    assert "dataset.source" in done.stderr
    assert "Traceback" not in done.stderr
    done = command(
        "train",
        "dataset=table",
        f"dataset.source={table}",
        "dataset.target=lable",
        "dataset.sensitive=[sex]",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "did you mean 'label'?" in done.stderr
    assert "Traceback" not in done.stderr
    done = command("train", "schedule=exponential", "schedule.start=0", cwd=tmp_path)
    assert done.returncode == 2
    assert "both greater than 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_folders_of_a_sweep_have_short_names():
    overrides = "dataset.source=/a/b.csv,method=[adversarial,parity],method.strength=0.1"
    expected = "3_dataset.source=b.csv,method=[adversarial,parity],method.strength=0.1"
    assert folder_name(3, overrides) == expected


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_reads_well(words, tmp_path):
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0
    assert "fairlightning" in done.stdout
    if words[0] == "train":
        methods = sorted(file.stem for file in (conf_dir() / "method").glob("*.yaml"))
        assert f"method: {', '.join(methods)}\n" in done.stdout


def test_evaluate_and_compare_anybodys_predictions(tmp_path):
    frame = pd.DataFrame(
        {"score": [0.9, 0.2, 0.7, 0.4] * 25, "target": [1, 0, 0, 1] * 25, "sex": ["f", "m"] * 50}
    )
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    done = command("evaluate", "predictions.csv", "--sensitive", "sex", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout
    folder = tmp_path / "predictions_evaluation"
    records = read_metrics(folder / "metrics.json")
    assert figures(records) == figures(evaluate(frame, ["sex"]))
    again = evaluate(read_predictions(folder / "predictions.parquet"), ["sex"])
    assert figures(records) == figures(again)
    same = command("compare", folder / "metrics.json", folder, cwd=tmp_path)
    assert same.returncode == 0, same.stderr
    assert "No fairness criterion got worse" in same.stdout
    missing = command("evaluate", "prediction.csv", cwd=tmp_path)
    assert missing.returncode == 2
    assert "did you mean 'predictions.csv'?" in missing.stderr


def test_weights_of_a_run_are_used_and_names_in_brackets_shown(tmp_path):
    frame = pd.DataFrame(
        {"score": [0.9, 0.2, 0.7, 0.4] * 25, "target": [1, 0, 0, 1] * 25, "[sex]": ["f", "m"] * 50}
    )
    frame["weight"] = np.arange(100) % 4 + 1.0
    frame.to_parquet(tmp_path / "predictions.parquet")
    done = command("evaluate", "predictions.parquet", "--output", "[bold]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Rows are weighted by weight." in done.stdout
    assert "Results  [bold]:" in done.stdout
    records = read_metrics(tmp_path / "[bold]" / "metrics.json")
    assert figures(records) == figures(evaluate(frame, ["[sex]"], weight="weight"))
    assert (read_predictions(tmp_path / "[bold]" / "predictions.parquet")["weight"] > 0).all()
    same = command("compare", "[bold]", "[bold]", cwd=tmp_path)
    assert "[sex]: demographic-parity difference" in same.stdout


def test_compare_refuses_runs_over_different_rows(composed, tmp_path):
    """Of the same sizes, and the supports of their figures agree."""
    first, other = tmp_path / "first", tmp_path / "other"
    short = ("logger=none", "trainer.max_epochs=1", "method=erm")
    train(composed(*short, f"run_dir={first}"))
    frame = read_predictions(first / "predictions.parquet")
    other.mkdir()
    write_metrics(other / "metrics.json", read_metrics(first / "metrics.json"))
    assert command("compare", first, other, cwd=tmp_path).returncode == 0  # nothing tells

    write_predictions(other / "predictions.parquet", frame.iloc[::-1])
    assert command("compare", first, other, cwd=tmp_path).returncode == 0

    for column in ("row", "target"):
        changed = frame.assign(
            **{column: frame[column].mask(frame.index == frame.index[-1], 10**6)}
        )
        write_predictions(other / "predictions.parquet", changed)
        for name in (other, other / "metrics.json"):
            done = command("compare", first, name, cwd=tmp_path)
            assert done.returncode == 2
            assert "intervention: found 1 of" in done.stderr
            assert "evaluate both runs on the same rows" in done.stderr
            assert not done.stdout

    frame.drop(columns="row").to_parquet(other / "predictions.parquet")
    done = command("compare", first, other, cwd=tmp_path)
    assert done.returncode == 2
    assert "split, row, target" in done.stderr

    # Anybody's predictions, whose rows have no numbers but those that `evaluate` gave.
    frame.sample(frac=1, random_state=0).drop(columns=["row", "member"]).to_csv(
        tmp_path / "plain.csv", index=False
    )
    done = command("evaluate", "plain.csv", "--sensitive", "sex", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("compare", first, "plain_evaluation", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "argument", "found"),
    [
        ("seed=a", "seed", "'a'"),
        ("seed=-1", "seed", "-1"),
        ("seed=true", "seed", "True"),
        ("seed=4294967296", "seed", "4294967296"),
        ("threads=0", "threads", "0"),
        ("threads=null", "threads", "None"),
        ("method.strength=abc", "strength", "abc"),
        ("method.strength=true", "strength", "True"),
        ("method.strength=null", "strength", "None"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate", "'fast'"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate", "0"),
        ("optimizer.learning_rate=[0.1]", "optimizer.learning_rate", "[0.1]"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate", "nan"),
        ("trainer.max_epochs=x", "trainer.max_epochs", "'x'"),
        ("trainer.max_epochs=0", "trainer.max_epochs", "0"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs", "1.5"),
        ("resume=nofile.ckpt", "resume", "'nofile.ckpt'"),
        ("probe=maybe", "probe", "'maybe'"),
    ],
)
def test_a_wrong_value_names_its_mend(wrong, argument, found, table, tmp_path):
    short = ("method=parity", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none")
    done = command("train", *small_table(table), *short, wrong, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"fairlightning train: {argument}: found {found}, expected" in done.stderr
    assert "Mend: pass" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "right",
    [
        ["method=erm", "seed=7", "threads=2"],
        ["method=erm", "optimizer.learning_rate=1e-2"],
        ["method=erm", "optimizer.learning_rate=1", "resume=continue"],
        [
            "method=erm",
            "trainer.max_epochs=-1",
            "+trainer.max_steps=20",
            "optimizer.scheduler=null",
        ],
        ["method=erm", "trainer.max_epochs=null", "+trainer.max_steps=20"],
        ["model=linear", "method=constrained"],
        ["model=boosted_trees", "method=parity", "schedule=constant"],
    ],
)
def test_right_values_are_taken(right, table, tmp_path):
    short = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none", "run_dir=run")
    done = command("train", *small_table(table), *short, *right, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "run" / "metrics.json")
