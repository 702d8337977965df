"""Runs and sweeps that were killed go on where they stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import small_table
from omegaconf import OmegaConf

from fairlightning.cli.resume import main as resume
from fairlightning.cli.train import trade_off, train
from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.metrics import Record
from fairlightning.verification import read_metrics


def wait_for(pattern, folder, seconds=100):
    for _ in range(20 * seconds):
        found = sorted(folder.glob(pattern))
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not appear")


def test_a_killed_sweep_goes_on(table, composed, tmp_path, monkeypatch, capsys):
    """The first of two runs has finished, the second is cut off."""
    options = ("method=parity", "model.dropout=0.2", "trainer.max_epochs=60", "logger=none")
    options += ("callbacks.early_stopping=null", "trainer.enable_progress_bar=false")
    sweep = tmp_path / "a sweep"
    arguments = ["train", "-m", *small_table(table), *options, "trainer.accelerator=cpu"]
    arguments += ["method.strength=0.0,2.0", f"hydra.sweep.dir='{sweep}'"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlightning", *arguments],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (last,) = wait_for("1_*/checkpoints/last.ckpt", sweep)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (first,) = sweep.glob("0_*/metrics.json")
    written = first.stat().st_mtime_ns
    assert not list(sweep.glob("1_*/metrics.json"))
    begun = last.stat().st_mtime_ns

    monkeypatch.chdir(sweep)
    resume(["."])
    assert "finished already" in capsys.readouterr().out
    assert first.stat().st_mtime_ns == written
    (second,) = sweep.glob("1_*/metrics.json")
    assert last.stat().st_mtime_ns > begun
    whole = train(composed(*options, "method.strength=2.0"))
    assert read_metrics(second) == whole


def test_a_run_goes_on_and_a_finished_one_is_left(composed, tmp_path, capsys):
    config = composed("logger=none", "+callbacks.crash._target_=helpers.CrashInEpochTwo")
    with pytest.raises(RuntimeError, match="power cut"):
        train(config)
    path = tmp_path / "run" / "config.yaml"
    saved = OmegaConf.load(path)
    del saved.callbacks.crash
    OmegaConf.save(saved, path)
    resume([str(tmp_path / "run")])
    metrics = tmp_path / "run" / "metrics.json"
    written = metrics.stat().st_mtime_ns
    assert read_metrics(metrics) == train(composed("logger=none", f"run_dir={tmp_path}/whole"))
    resume([str(tmp_path / "run")])
    assert "finished already" in capsys.readouterr().out
    assert metrics.stat().st_mtime_ns == written
    with pytest.raises(ArgumentError, match="a run of its own"):
        resume([str(tmp_path / "run"), "seed=1"])


def test_another_configuration_does_not_go_on(composed, tmp_path):
    from fairlightning.cli.results import RunFolder

    run = RunFolder(tmp_path / "run")
    train(composed("logger=none", "trainer.max_epochs=1"))
    assert run.finished(composed("logger=none", "trainer.max_epochs=1", "resume=continue"))
    assert not run.finished(composed("logger=none", "trainer.max_epochs=1"))
    with pytest.raises(DataError, match="another seed"):
        run.finished(composed("logger=none", "trainer.max_epochs=1", "resume=continue", "seed=1"))


def test_a_folder_of_neither_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither multirun"):
        resume([str(tmp_path)])


def test_what_a_sweeper_gets_of_a_run():
    def record(metric, attribute, value, stage="val", group=None):
        return Record(stage, metric, attribute, group, value, None, None, 10)

    parity = "demographic_parity_difference"
    records = [
        record("accuracy", None, 0.8),
        record("accuracy", None, 0.7, stage="test"),
        record("accuracy", "sex", 0.6, group="sex=f"),
        record(parity, "sex", 0.1),
        record(parity, "race", 0.3),
        record(parity, "sex & race", 0.5),
        record("equal_opportunity_difference", "sex", None),
    ]
    assert trade_off(records, "demographic_parity", None) == (0.8, 0.3)
    assert trade_off(records, "demographic_parity", ["sex"]) == (0.8, 0.1)
    accuracy, gap = trade_off(records, "equal_opportunity", None)
    assert accuracy == 0.8
    assert gap != gap
