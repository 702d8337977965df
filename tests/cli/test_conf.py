"""Every file of the configuration works."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from fairlightning.cli.build import build_data, build_module, build_trainer, conf_dir
from fairlightning.cli.front import settled_config
from fairlightning.cli.train import train
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec

GROUPS = sorted(path for path in conf_dir().iterdir() if path.is_dir())
FILES = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in GROUPS}


# They need a representation, multipliers, or parameters to weigh.
BEYOND_TREES = {
    "adversarial",
    "bounded_group_loss",
    "constrained",
    "group_dro",
    "multi_objective",
}


def each(group):
    return pytest.mark.parametrize("name", FILES[group])


def test_every_group_is_tested_here():
    assert set(FILES) == {
        "callbacks",
        "combination",
        "dataset",
        "experiment",
        "hydra",
        "logger",
        "method",
        "model",
        "optimizer",
        "schedule",
        "trainer",
    }


@pytest.mark.parametrize("model", FILES["model"])
@pytest.mark.parametrize("method", FILES["method"])
def test_every_method_trains_every_model(composed, model, method):
    one_epoch = ["logger=none", "trainer.max_epochs=1"]
    config = composed(f"model={model}", f"method={method}", *one_epoch)
    if "convex" in config.method and not config.method.objectives and model != "linear":
        with pytest.raises(ArgumentError, match="pass model=linear"):
            train(config)
        return
    if model == "boosted_trees" and method in BEYOND_TREES:
        with pytest.raises(ArgumentError, match="boosted trees have no representation"):
            train(config)
        return
    records = train(config)
    assert {r.stage for r in records} == {"val", "test"}
    assert all(r.value is not None for r in records if r.metric == "accuracy")


@each("schedule")
def test_schedule(composed, name):
    schedule = instantiate(composed(f"schedule={name}").schedule)
    assert schedule(1.0) == pytest.approx(1.0)
    assert schedule(0.0) == pytest.approx(1.0 if name == "constant" else 0.1)


@each("optimizer")
def test_optimizer(composed, name):
    config = composed(f"optimizer={name}", "logger=none", "callbacks=none")
    data = build_data(config)
    module = build_module(config, data)
    trainer = build_trainer(config)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3 * 5


@each("combination")
def test_every_combination_trains(composed, name):
    config = composed(f"combination={name}", "method=parity", "logger=none", "trainer.max_epochs=1")
    if "aggregator" in config.combination:
        pytest.importorskip("torchjd")
    if name == "nash_mtl":
        pytest.importorskip("ecos")
    records = train(config)
    assert all(r.value is not None for r in records if r.metric == "accuracy")


@each("callbacks")
def test_callbacks(composed, name):
    command = "front" if name == "front" else "train"
    config = composed(f"callbacks={name}", "logger=none", command=command)
    if name == "front":
        config = settled_config(config, build_data(config))
    names = {type(callback).__name__ for callback in build_trainer(config).callbacks}
    assert ("LambdaRamp" in names) == (name != "none")
    assert ("ParetoCheckpoint" in names) == (name == "front")


@each("logger")
def test_logger(composed, name):
    trainer = build_trainer(composed(f"logger={name}"))
    assert len(trainer.loggers) == (name != "none")


@each("trainer")
def test_trainer(composed, name):
    config = composed(f"trainer={name}", "logger=none")
    if name == "gpu" and not torch.cuda.is_available():
        config.trainer.accelerator = "cpu"
    if name == "ddp":
        config.trainer.devices = 1
    assert build_trainer(config).max_epochs == 3


@each("dataset")
def test_dataset(composed, name):
    # The fixture's own overrides fit `table` alone.
    file = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
    config = composed()
    if name != "table":
        config.dataset = file
    assert set(file) - {"_target_"} <= set(config.dataset)
    data = build_data(config)
    assert isinstance(data.groups, GroupSpec)
    assert len(data.batch("train").target) > 100


@each("experiment")
def test_experiment_runs_one_epoch(name, tmp_path):
    overrides = [f"experiment={name}", f"run_dir={tmp_path}", "logger=none"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[*overrides, "trainer.max_epochs=1"])
    config.trainer.enable_progress_bar = False
    assert train(config)


@pytest.mark.parametrize(
    "choice", [f"{file.parent.name}={file.stem}" for file in conf_dir().glob("hydra/*/*.yaml")]
)
def test_launchers_and_sweepers_have_what_their_plugins_know(choice):
    """Their plugins bring a schema, against which Hydra checks the files."""
    plugin = {"slurm": "submitit_launcher", "ray_local": "ray_launcher", "pareto": "optuna_sweeper"}
    pytest.importorskip(f"hydra_plugins.hydra_{plugin[choice.partition('=')[2]]}")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[f"hydra/{choice}"], return_hydra_config=True)
    part = config.hydra[choice.partition("=")[0]]
    assert get_class(part._target_).__module__.startswith("hydra_plugins.")
