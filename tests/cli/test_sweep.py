"""A sweep over λ, as it is started from the command line and read by TensorBoard."""

import pytest
from helpers import command, small_table
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fairlightning.cli.train import main, trade_off
from fairlightning.verification import read_metrics

STRENGTHS = (0.1, 0.3, 0.5, 0.7, 1.0)


def hyperparameters(folder):
    """What the HParams tab reads: the values of a run and the metrics it announces."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    content = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    announced = HParamsPluginData.FromString(content["_hparams_/experiment"])
    names = {info.name.tag for info in announced.experiment.metric_infos}
    finals = {name: events.Scalars(name)[-1].value for name in names}
    return dict(start.session_start_info.hparams), finals


@pytest.mark.parametrize(
    ("plugin", "launcher"),
    [
        ("hydra_submitit_launcher", ["submitit_local", "hydra.launcher.timeout_min=5"]),
        ("hydra_ray_launcher", ["ray_local"]),
    ],
)
def test_two_jobs_with_a_launcher(plugin, launcher, table, tmp_path):
    pytest.importorskip(f"hydra_plugins.{plugin}")
    name, *options = launcher
    done = command(
        "train",
        "-m",
        f"hydra/launcher={name}",
        *options,
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        "method.strength=0.1,1.0",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "logger=none",
        *small_table(table),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("sweep/*/metrics.json"))) == 2


def test_optuna_searches_a_front_and_goes_on(table, tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweep = tmp_path / "sweep"
    monkeypatch.chdir(tmp_path)
    options = ["-m", "hydra/sweeper=pareto", "hydra.sweeper.n_trials=2", "trainer.max_epochs=1"]
    options += ["trainer.accelerator=cpu", "logger=none", f"hydra.sweep.dir={sweep}"]
    for _ in range(2):
        main([*options, "method.strength=tag(log,interval(0.03,3))", *small_table(table)])
    study = optuna.load_study(study_name="fairlightning", storage=f"sqlite:///{sweep}/study.db")
    assert len(study.trials) == 4
    found = {
        (trial.values[0], trial.values[1], trial.params["method.strength"])
        for trial in study.trials
    }
    runs = list(sweep.glob("*/metrics.json"))
    assert len(runs) == 4
    for path in runs:
        strength = OmegaConf.load(path.with_name("config.yaml")).method.strength
        accuracy, gap = trade_off(read_metrics(path), "demographic_parity", None)
        assert any(
            (accuracy, gap) == pytest.approx(values) and strength == pytest.approx(drawn)
            for *values, drawn in found
        )


def test_five_strengths_with_the_joblib_launcher_line_up_in_tensorboard(table, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = command(
        "train",
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        f"method.strength={','.join(map(str, STRENGTHS))}",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        *small_table(table),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(path.parent for path in tmp_path.glob("sweep/*/metrics.json"))
    assert len(runs) == len(STRENGTHS)
    metrics = set()
    for run, strength in zip(runs, STRENGTHS, strict=True):
        values, finals = hyperparameters(run)
        assert values["strength"].number_value == strength
        assert values["method"].string_value == "adversarial"
        assert values["seed"].number_value == 0
        metrics.add(frozenset(finals))
        for record in read_metrics(run / "metrics.json"):
            if (record.stage, record.metric, record.attribute) == ("test", "accuracy", None):
                assert finals["final/test/accuracy"] == pytest.approx(record.value, abs=1e-6)
    assert len(metrics) == 1  # the tab lines runs up only by metrics that all of them have
    assert "final/test/fairness/demographic_parity_difference/sex" in metrics.pop()
