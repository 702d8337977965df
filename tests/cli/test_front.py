"""`fairlightning front`: one training, its files, and the models that can be loaded from them."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_decision
from hydra import compose, initialize_config_dir
from matplotlib import image

from fairlightning.cli.build import build_data, build_front, build_network, conf_dir, load_run
from fairlightning.cli.collect import collect
from fairlightning.cli.front import front, kept_members, settled_config
from fairlightning.cli.front_results import hypervolume_line
from fairlightning.exceptions import ArgumentError
from fairlightning.front import Kept, ParetoCheckpoint
from fairlightning.metrics import Record
from fairlightning.module import FairModule
from fairlightning.verification import (
    Criterion,
    Front,
    FrontPoint,
    evaluate,
    read_front,
    read_predictions,
    write_front,
)

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
    names = [f"member={k},last" for k in range(3)]
    assert [point.id for point in made.points] == names
    assert made.baseline_id == names[0]


def test_a_second_run_in_the_same_folder_has_models_of_its_own(configured, tmp_path):
    run = tmp_path / "run"
    front(configured("trainer.max_epochs=1"))
    made = front(configured("trainer.max_epochs=1", "seed=1", "~callbacks.pareto"))
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in torch.load(run / made.baseline.model, weights_only=True).items():
        assert torch.equal(value, last[f"network.module.{name}"][0]), name
    files = {path.stem for path in (run / "members").glob("*.pt")}
    assert files == {point.id for point in made.points}


def test_the_baseline_is_the_plain_member_after_the_last_step(configured, tmp_path):
    config = configured()
    data = build_data(config)
    settled = settled_config(config, data)
    module = build_front(settled, data)
    keeper = ParetoCheckpoint(tmp_path, {"val/accuracy": "max"})
    trainer = SimpleNamespace(callbacks=[keeper], current_epoch=1)
    path = tmp_path / "member=0,epoch=0.pt"
    keeper.kept = [Kept(0, 0, {}, path)]
    torch.save(module.export(1).state_dict(), path)  # after half of the epoch, other weights
    with torch.no_grad():
        module.network.module.get_parameter(next(iter(torch.load(path))))[0] += 1
    members, baseline = kept_members(trainer, module, settled, tmp_path)
    assert len(members) == 2
    saved, state = torch.load(baseline.path), module.export(0).state_dict()
    assert all(torch.equal(saved[name], value) for name, value in state.items())
    keeper.kept = [Kept(0, 0, {}, baseline.path)]  # the same model is no second one
    assert kept_members(trainer, module, settled, tmp_path) == ([baseline], baseline)


def test_one_network_conditioned_on_every_strength(configured, tmp_path):
    made = front(configured("conditioned=true", "~callbacks.pareto", "trainer.max_epochs=6"))
    assert [point.settings["strength"] for point in made.points] == [0.0, 1.0, 4.0]
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    for point, position in zip(made.points, (0.0, None, 1.0), strict=True):
        module, _ = load_run(tmp_path / "run", point.id)
        assert type(module) is FairModule
        if position is not None:  # on the line, its ends are known without its scale
            for name, weight in module.network.state_dict().items():
                start, slope = (state[f"network.{part}.{name}"] for part in ("start", "slope"))
                assert torch.allclose(weight, start + position * slope, atol=1e-6), name


def test_a_conditioned_front_keeps_the_best_of_all_epochs(configured, tmp_path):
    made = front(configured("conditioned=true", "method=[parity,adversarial]"))
    kept = {path.stem for path in (tmp_path / "run" / "members").glob("*.pt")}
    assert {point.id for point in made.points} == kept
    assert made.baseline.settings == {"strength": 0.0}


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
    (tmp_path / "again" / "checkpoints" / "last.ckpt").unlink()
    done = front(configured(*options, "resume=continue", f"run_dir={tmp_path}/again"))
    assert done == again  # read, not trained anew


def test_the_members_of_another_front_are_not_taken_over(configured, tmp_path):
    front(configured("trainer.max_epochs=1"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(
        ArgumentError, match=r"\[0.0, 2.0\], and \[0.0, 1.0, 4.0\] in the checkpoint"
    ):
        front(configured(f"resume={last}", "strengths=[0,2]", f"run_dir={tmp_path}/again"))


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


def test_the_reference_that_was_given_is_kept(configured):
    gap = "val/fairness/treatment_equality_difference/sex"
    also = "also=[treatment_equality_difference/sex]"
    config = configured(also, f"callbacks.pareto.reference={{{gap}:2.5}}")
    assert settled_config(config, build_data(config)).callbacks.pareto.reference == {gap: 2.5}


def test_the_corner_of_the_hypervolume_is_told_in_the_units_of_each_criterion():
    criteria = [Criterion("accuracy"), Criterion("brier"), Criterion("auroc")]
    values = {"accuracy": 0.8, "brier": 0.2, "auroc": 0.7}
    records = [
        Record(stage, metric, None, None, value, None, None, 100)
        for stage in ("val", "test")
        for metric, value in values.items()
    ]
    plain = FrontPoint("plain", {}, tuple(records), "", "")
    line = hypervolume_line(Front("", tuple(criteria), (plain,), "plain"))
    assert "up to accuracy 0.750, Brier score 0.200, AUROC 0.700;" in line
    assert "Brier score, AUROC no worse than the plain model's" in line


@pytest.fixture
def simplex(composed):
    """A front over weights of accuracy, fairness and interpretability."""
    options = ("method=multi_objective", "simplex=2", "also=[complexity,brier]", "logger=none")
    return composed(*options, "optimizer.learning_rate=0.01", command="front")


def test_weights_on_a_simplex_and_further_criteria(simplex, tmp_path):
    settled = settled_config(simplex, build_data(simplex))
    assert settled.strengths.task == [0.5, 0.5, 1.0]  # none without the task
    assert settled.strengths.fairness == [0.0, 0.5, 0.0]
    made = front(simplex)
    assert [c.metric for c in made.criteria][2:] == ["complexity", "brier"]
    assert made.baseline.settings == {"task": 1.0, "fairness": 0.0, "interpretability": 0.0}
    for point in made.points:
        weights = torch.load(tmp_path / "run" / point.model, weights_only=True).items()
        norm = sum(w.square().sum().item() for n, w in weights if w.ndim > 1)
        assert point.record(made.criteria[2], "test").value == pytest.approx(norm, rel=1e-5)
    assert "brier" in (tmp_path / "run" / "front.html").read_text()


def test_further_models_around_the_chosen_one(configured, tmp_path):
    first = front(configured("~callbacks.pareto"))
    run = tmp_path / "run"
    around = (f"around={run}", "strengths=null", "k=4", f"run_dir={tmp_path / 'more'}")
    config = configured(*around)
    more = replace(first, criteria=(*first.criteria, Criterion("brier")))
    write_front(run / "front.json", more)
    with pytest.raises(ArgumentError, match=r"around: found 3 criteria and no decision.json"):
        settled_config(config, build_data(config))
    write_front(run / "front.json", first)
    decide = partial(write_decision, run, first)
    decide(first.points[0])
    with pytest.raises(ArgumentError, match="no λ above 0"):
        settled_config(config, build_data(config))
    point = next(p for p in first.points if p.settings["strength"] == 1.0)
    decide(point)
    strengths = settled_config(config, build_data(config)).strengths
    assert strengths[0] == 0 and len(strengths) == 4
    assert all(0.25 < strength < 4 and strength != 1 for strength in strengths[1:])
    made = front(config)
    assert {p.settings["strength"] for p in made.points} <= set(strengths)
    both = collect(tmp_path, output=tmp_path / "both")
    assert len(both.points) == len(first.points) + len(made.points)
    other = configured(*around, "seed=1")
    with pytest.raises(ArgumentError, match=r"seed other than that of .*run"):
        settled_config(other, build_data(other))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("simplex=3", "strengths, simplex: found all of them"),
        ("also=[complexity]", "a penalty on complexity among them"),
        ("also=[demographic_parity_difference/sex]", "twice"),
        ("also=[brier/age]", "also: found 'age'"),
        ("also=[selection_rate]", "of which one end is better"),
        ("method=constrained", "'constrained': found RateConstraint"),
        ("method=erm", "one without an objective"),
        ("combination=upgrad", "GradientAggregation"),
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
