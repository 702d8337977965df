"""`fairlightning verify`: killed and taken up again, and a small verification of Adult."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import command, small_table

from fairlightning.cli.resume import main as resume
from fairlightning.verification import read_verification

QUICK = (
    "jobs=1",
    "logger=none",
    "audit.counterfactuals=false",
    "trainer.accelerator=cpu",
    "shift.tilt=[1]",
    "shift.balance=[1]",
    "shift.label_noise=[0.1]",
    "shift.missing=[0.2]",
    "shift.noise=[0.5]",
    "shift.corruption=[0.2]",
)


def modified(folder):
    return {p: p.stat().st_mtime_ns for p in folder.glob("runs/*/*/metrics.json")}


def test_a_killed_verification_goes_on_and_ends_the_same(table, tmp_path):
    """Killed while it trains; finished trainings stay, and every file is that of a whole run."""
    options = [*small_table(table), *QUICK, "seeds=2", "method=parity", "trainer.max_epochs=4"]
    options += ["around.factors=[0.5,1,2]", "shift.column=job"]
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlightning", "verify", *options, f"run_dir={folder}"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(3000):
        if list(folder.glob("runs/seed=0/intervention/checkpoints/last.ckpt")):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = modified(folder)
    assert before
    assert not (folder / "verification.json").exists()

    resume([str(folder)])
    found = read_verification(folder / "verification.json")
    assert {path: modified(folder)[path] for path in before} == before
    assert len(modified(folder)) == 5
    assert found.reproducibility.identical
    assert found.reproducibility.command.startswith("fairlightning verify dataset=table")

    whole = tmp_path / "whole"
    launcher = [option.replace("jobs=1", "jobs=launcher") for option in options]
    done = command("verify", *launcher, f"run_dir={whole}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100 % done" in done.stdout
    other = read_verification(whole / "verification.json")
    same = replace(other, reproducibility=found.reproducibility)
    assert same == found

    written = (whole / "verification.json").read_bytes()
    again = command("verify", *options, f"run_dir={whole}", cwd=tmp_path)
    assert "are finished already" in again.stdout
    assert (whole / "verification.json").read_bytes() == written
    refused = command(
        "verify", *options, "optimizer.learning_rate=1", f"run_dir={whole}", cwd=tmp_path
    )
    assert refused.returncode == 2
    assert "another optimizer" in refused.stderr

    assert [p.strength for p in found.sensitivity.points] == [0.5, 1, 2]
    (column,) = [curve for curve in found.drift if curve.name == "column_shift"]
    assert [p.label for p in column.points] == ["as observed", "job=a", "job=b", "job=c"]
    ticked = [item.number for item in found.checklist.items if item.ticked]
    assert {1, 2, 4, 5} <= set(ticked) and not {3, 11} & set(ticked)


@pytest.fixture(scope="module")
def adult(tmp_path_factory):
    """A verification of Adult that is far too short to show much."""
    folder = tmp_path_factory.mktemp("adult") / "run"
    statements = folder.parent / "statements.yaml"
    statements.write_text("- {item: 3, name: A. B., date: 2026-01-31, statement: By law.}\n")
    done = command(
        "verify",
        *QUICK,
        "dataset=adult",
        "method=adversarial",
        "model.hidden=[8]",
        "seeds=[3]",
        "trainer.max_epochs=1",
        "around.factors=[1,2]",
        f"statements={statements}",
        f"run_dir={folder}",
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stderr
    return folder, read_verification(folder / "verification.json")


def test_cells_of_the_tables_follow_from_the_predictions_on_disk(adult):
    folder, found = adult
    rows = {(row.metric, row.attribute): row for row in found.comparison}
    accuracy = rows["accuracy", None]
    gap = rows["demographic_parity_difference", "sex"]
    harmed = next(row for row in found.groups if row.group == "sex=Female & race=Black")
    for position, seed in enumerate(found.seeds):
        frame = pd.read_parquet(folder / f"runs/seed={seed}/intervention/predictions.parquet")
        test = frame[frame["split"] == "test"]
        chosen = test["score"] >= 0.5
        right = chosen == (test["target"] == 1)
        assert accuracy.intervention.values[position] == pytest.approx(right.mean())
        by_sex = chosen.groupby(test["sex"]).mean()
        assert gap.intervention.values[position] == pytest.approx(by_sex.max() - by_sex.min())
        group = (test["sex"] == "Female") & (test["race"] == "Black")
        assert harmed.intervention.values[position] == pytest.approx(chosen[group].mean())
        assert harmed.supports[position] == group.sum()
    assert accuracy.intervention.mean == pytest.approx(np.mean(accuracy.intervention.values))
    assert accuracy.change.low <= accuracy.change.value <= accuracy.change.high


def test_every_source_is_a_file_of_the_run(adult):
    folder, found = adult
    parts = [*found.criteria, *found.drift, found.thresholds, found.sensitivity, *found.groups]
    sources = {source for part in parts for source in part.sources}
    assert len(sources) == 5
    assert not [source for source in sources if not (folder / source).is_file()]
    assert found.checklist.items[2].person == "A. B."
    assert found.reproducibility.data["rows"] == "45222"
    assert {curve.name for curve in found.drift if curve.omitted} == {"column_shift"}
