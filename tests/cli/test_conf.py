"""Every file of the configuration works."""

from copy import deepcopy
from functools import lru_cache
from math import log

import pytest
import torch
from helpers import small_table, write_table
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from published_files import overrides

from fairlightning.boosting import check_objectives
from fairlightning.callbacks import MultiplierUpdate
from fairlightning.cli.build import build_data, build_module, build_trainer, conf_dir
from fairlightning.cli.front import settled_config
from fairlightning.cli.train import train
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec

GROUPS = sorted(path for path in conf_dir().iterdir() if path.is_dir())
FILES = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in GROUPS}


# They need a representation, multipliers, parameters to weigh, or to see rows a second time.
BEYOND_TREES = {
    "adversarial",
    "bounded_group_loss",
    "constrained",
    "contrastive",
    "counterfactual",
    "fairness_head",
    "group_dro",
    "multi_objective",
    "sensitive_gradient",
}


# Models for other inputs than tables, and the data sets that they are tested on.
NO_TABLES = {"cnn": "biased_digits", "rnn": "digit_rows", "transformer": "digit_rows"}

# They recode columns, or compare rows that are numbers, as pixels are.
FOR_TABLES = {"counterfactual"}
NOT_FOR_SEQUENCES = {"sensitive_gradient", "similarity"}


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
        "sampling",
        "schedule",
        "trainer",
    }


@lru_cache
def part(group, name):
    """A model or method as composed; composing everything for each pair would take longest."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[f"{group}={name}"])[group]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("matrix") / "table.csv")


@pytest.fixture(scope="module")
def base(rows):
    """A short run on the small table."""
    fixed = [
        "trainer.accelerator=cpu",
        "trainer.max_epochs=4",
        "+trainer.limit_val_batches=0",
        "+trainer.limit_train_batches=1.0",
    ]
    bare = ["enable_checkpointing", "enable_model_summary", "enable_progress_bar"]
    alone = ["callbacks=none", "logger=none", *(f"++trainer.{name}=false" for name in bare)]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=["run_dir=.", *small_table(rows), *fixed, *alone])


def losses(module, data):
    """Loss of the task, and the whole loss if a fixed λ weighs its parts."""
    module.eval()
    with torch.no_grad():
        module._loss(data.batch("train"))
    module.train()
    found = module.fairness.last.losses
    weighed = not any(objective.weighs_itself for _, objective in module.fairness.items())
    return [found.parts["task"].item(), *([found.total.item()] if weighed else [])]


@pytest.mark.parametrize("model", FILES["model"])
@pytest.mark.parametrize("method", FILES["method"])
def test_every_method_trains_every_model(base, model, method):
    pair = deepcopy(base)
    pair.model, pair.method = part("model", model), part("method", method)
    if model in NO_TABLES:
        pair.dataset = part("dataset", NO_TABLES[model])
        # An adversary of images keeps its network from learning anything in so few steps.
        pair.method.strength, pair.trainer.max_epochs = 0.0 if method == "adversarial" else 0.1, 8
        pair.optimizer.learning_rate, pair.trainer.limit_train_batches = 0.01, 3
    else:
        pair.dataset.include_sensitive = method == "counterfactual"
    data = build_data(pair)
    sequences = model in ("rnn", "transformer") and method in NOT_FOR_SEQUENCES
    if sequences or (model in NO_TABLES and method in FOR_TABLES):
        with pytest.raises(ArgumentError, match=r"expected .*a table"):
            build_trainer(pair).fit(build_module(pair, data), datamodule=data)
        return
    if "convex" in pair.method and not pair.method.objectives and model != "linear":
        with pytest.raises(ArgumentError, match="pass model=linear"):
            build_module(pair, data)
        return
    if method == "split_parity" and not model.startswith("soft_"):
        with pytest.raises(ArgumentError, match="pass model=soft_tree"):
            build_module(pair, data)
        return
    if model == "boosted_trees" and method in BEYOND_TREES:
        with pytest.raises(ArgumentError, match="boosted trees"):
            check_objectives(build_module(pair, data).fairness)
        return
    module = build_module(pair, data)
    if model == "boosted_trees":
        module.network.fit(module.fairness, data.batch("train"), data.batch("validation"))
        assert losses(module, data)[0] < log(2)
        return
    if (model, method) == ("linear", "contrastive"):
        with pytest.raises(ArgumentError, match="does not depend on the network's parameters"):
            build_trainer(pair).fit(module, datamodule=data)
        return
    before = losses(module, data)
    trainer = build_trainer(pair)
    trainer.callbacks.append(MultiplierUpdate())
    trainer.fit(module, datamodule=data)
    after = losses(module, data)
    assert all(new < old for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["biased_digits", "digit_rows"])
def test_digits_are_ten_classes_where_asked(composed, name):
    config = composed("dataset.target=digit", "dataset.task=multiclass", dataset=name)
    assert build_data(config).task.outputs == 10


def test_a_model_for_other_inputs_is_refused(composed):
    config = composed("model=cnn")
    with pytest.raises(ArgumentError, match=r"found CNN for tables.*pass model=mlp"):
        train(config)
    config = composed("model=ensemble", dataset="biased_digits")
    with pytest.raises(ArgumentError, match=r"found MLP for images.*pass model=cnn"):
        train(config)


@each("sampling")
def test_every_sampling_trains(composed, name):
    config = composed(f"sampling={name}", "method=erm", "logger=none", "trainer.max_epochs=2")
    records = train(config)
    assert all(r.value is not None for r in records if r.metric == "accuracy")
    config = composed(f"sampling={name}", "model=boosted_trees", "method=parity", "logger=none")
    if config.sampling.order:
        with pytest.raises(ArgumentError, match="pass sampling=reweighing"):
            train(config)


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
def test_dataset(composed, tmp_path, name):
    # The fixture's own overrides fit `table` alone.
    file = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
    config = composed()
    if name != "table":
        config.dataset = OmegaConf.merge(file, overrides(name, tmp_path / "files"))
    assert set(file) - {"_target_"} <= set(config.dataset)
    data = build_data(config)
    assert isinstance(data.groups, GroupSpec)
    assert len(data.batch("train").target) > 20


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
