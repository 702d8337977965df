"""`fairlightning front`: one training, its files, and the models that can be loaded from them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from matplotlib import image

from fairlightning.cli import main
from fairlightning.cli.build import build_data, build_network, conf_dir, load_run
from fairlightning.cli.front import front, settled_config
from fairlightning.exceptions import ArgumentError
from fairlightning.module import FairModule
from fairlightning.verification import evaluate, read_front, read_predictions

STRENGTHS = "strengths=[0,1,4]"


@pytest.fixture
def configured(composed):
    """Compose a short front on the small table."""

    def make(*overrides):
        learning = ("optimizer.learning_rate=0.01", "logger=none")
        return composed(STRENGTHS, *learning, *overrides, command="front")

    return make


def test_what_a_front_leaves_behind(configured, tmp_path, capsys):
    made = front(configured("trainer.max_epochs=4"))
    run = tmp_path / "run"
    assert read_front(run / "front.json") == made
    assert image.imread(run / "front.png").std() > 0
    assert "<svg" in (run / "front.svg").read_text()
    assert made.title.encode() in (run / "front.html").read_bytes()
    assert made.baseline.settings == {"strength": 0.0}
    assert {point.settings["strength"] for point in made.points} <= {0.0, 1.0, 4.0}
    assert made.limit.stage == "test"
    said = capsys.readouterr().out
    for words in ("Hypervolume", "load_run(", "plain", "●"):
        assert words in said

    frame = read_predictions(run / "predictions.parquet")
    assert set(frame["member"]) == {point.id for point in made.points}
    for point in made.points:
        own = evaluate(frame[frame["member"] == point.id], {"sex": ["f", "m"]})
        assert tuple(own) == point.records


def test_members_are_plain_networks_that_load(configured, tmp_path, table):
    made = front(configured())
    run = tmp_path / "run"
    frame = read_predictions(run / "predictions.parquet")
    for point in made.points:
        state = torch.load(run / point.model, weights_only=True)
        config = configured()
        network = build_network(config, build_data(config))
        network.load_state_dict(state)
        module, data = load_run(run, point.id)
        assert isinstance(module, FairModule)
        assert all(torch.equal(state[name], v) for name, v in module.network.state_dict().items())
        own = frame[frame["member"] == point.id]
        rows = pd.read_csv(table).iloc[own["row"]].drop(columns=["label", "sex"])
        with torch.no_grad():
            scores = torch.sigmoid(module(data.encode(rows)).squeeze(1).double())
        assert scores.tolist() == pytest.approx(own["score"].tolist(), abs=1e-6)
    with pytest.raises(ArgumentError, match="one of member="):
        load_run(run)


def test_without_pareto_checkpoint_the_members_of_the_last_epoch_are_the_front(configured):
    made = front(configured("~callbacks.pareto"))
    names = [f"member={k},epoch=2" for k in range(3)]
    assert [point.id for point in made.points] == names
    assert made.baseline_id == names[0]


def test_a_killed_front_resumes_to_the_same_models(configured, tmp_path):
    options = ("method=adversarial", "model.dropout=0.2")
    whole = front(configured(*options))
    crash = "+callbacks.crash._target_=helpers.CrashInEpochTwo"
    killed = f"run_dir={tmp_path}/killed"
    with pytest.raises(RuntimeError, match="power cut"):
        front(configured(*options, crash, killed))
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    again = front(configured(*options, f"resume={last}", f"run_dir={tmp_path}/again"))
    assert [point.records for point in again.points] == [point.records for point in whole.points]
    for point in whole.points:
        one, other = (torch.load(tmp_path / d / point.model) for d in ("run", "again"))
        assert all(torch.equal(one[name], other[name]) for name in one)
    # The command for runs does the same for fronts, in the folder itself.
    assert main(["resume", str(tmp_path / "killed")]) == 1 or (
        read_front(tmp_path / "killed" / "front.json").points[0].records == whole.points[0].records
    )


def test_the_default_grid_and_the_first_attribute(composed):
    config = composed("k=5", command="front")
    settled = settled_config(config, build_data(config))
    assert settled.strengths[0] == 0
    ratios = np.array(settled.strengths[2:]) / np.array(settled.strengths[1:-1])
    assert ratios == pytest.approx(np.full(3, 100 ** (1 / 3)), rel=1e-3)
    assert settled.attributes == ["sex"]
    assert settled.callbacks.pareto.criteria == {
        "val/accuracy": "max",
        "val/fairness/demographic_parity_difference/sex": "min",
    }
    assert config.attributes is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method=constrained", "'constrained': found RateConstraint"),
        ("method=projection", "'projection': found ProjectionPenalty"),
        ("method=erm", "one without an objective"),
        ("combination=smooth_chebyshev", "SmoothChebyshev"),
        ("method.strength=2", "each member has a strength of its own"),
        ("strengths=[0,0]", "none twice"),
        ("strengths=[0,-1]", "each 0 or more"),
        ("attributes=[age]", "attributes: found 'age'"),
    ],
)
def test_what_a_front_cannot_take_is_named(configured, override, message):
    with pytest.raises(ArgumentError, match=message):
        front(configured(override))


def test_one_epoch_on_adult(tmp_path):
    overrides = [f"run_dir={tmp_path}", "logger=none", "k=3", "trainer.max_epochs=1"]
    overrides += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("front", overrides=overrides)
    made = front(config)
    assert made.criteria[1].attribute == "sex"
    assert made.costs("test").shape[1] == 2
    assert (tmp_path / "members" / f"{made.baseline_id}.pt").is_file()
