"""`method=constrained` from the command line to the files of a run."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from fairlightning.cli.build import conf_dir, load_run
from fairlightning.cli.train import train

TARGET = "fairlightning.objectives.RateConstraint.build"


def figures(records, stage):
    return {(r.metric, r.attribute, r.group): r.value for r in records if r.stage == stage}


def on_adult(tmp_path, constraints, *overrides):
    """Train on Adult with constraints of one's own, as a method file would name them."""
    fixed = [
        f"run_dir={tmp_path}",
        "logger=none",
        "trainer.enable_progress_bar=false",
        "trainer.max_epochs=10",
        "method=erm",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[*fixed, *overrides])
    with open_dict(config):
        config.method.objectives = {
            name: {"_target_": TARGET, **options} for name, options in constraints.items()
        }
    return train(config), json.loads((tmp_path / "feasibility.json").read_text())


def test_four_fifths_rule_is_reached_on_adult(tmp_path):
    rule = dict(rate="selection_rate", ratio=0.8, margin=0.05, attributes=["sex"])
    records, verdict = on_adult(tmp_path, {"four_fifths": rule})
    assert verdict["feasible"] and verdict["checkpoint"] == "best.ckpt"
    on_validation, on_test = figures(records, "val"), figures(records, "test")
    key = ("demographic_parity_ratio", "sex", None)
    found = verdict["constraints"]["four_fifths"]
    assert found["value"] == pytest.approx(on_validation[key], abs=1e-4)
    assert on_validation[key] >= 0.85
    assert on_test[key] >= 0.8  # the plain network: 0.3
    assert on_test["accuracy", None, None] > 0.82


def test_true_positive_rate_of_every_group_is_reached_on_adult(tmp_path):
    rule = dict(rate="true_positive_rate", at_least=0.8, margin=0.02, attributes=["sex"])
    records, verdict = on_adult(tmp_path, {"tpr": rule})
    assert verdict["feasible"]
    for stage, least in (("val", 0.82), ("test", 0.78)):
        found = figures(records, stage)
        for sex in ("Female", "Male"):
            assert (
                found["true_positive_rate", "sex", f"sex={sex}"] >= least
            )  # the plain network: 0.55
    assert figures(records, "test")["accuracy", None, None] > 0.78


def test_run_folder_tells_what_was_met_and_methods_merge(composed, tmp_path):
    overrides = ("method=[constrained,adversarial]", "epsilon=0.3")
    config = composed(*overrides, "method.objectives.constrained.margin=0.0", "logger=csv")
    assert set(config.method.objectives) == {"constrained", "adversarial"}
    records = train(config)
    run = tmp_path / "run"
    verdict = json.loads((run / "feasibility.json").read_text())
    found = verdict["constraints"]["constrained"]
    assert found["bound"] == 0.3
    measured = figures(records, "val")["demographic_parity_difference", "sex", None]
    assert found["value"] == pytest.approx(measured, abs=1e-6)
    assert verdict["feasible"] == (measured <= 0.3)
    header = (run / "metrics.csv").read_text().splitlines()[0]
    assert "val/constraints/constrained/value" in header and "train/lambda/adversarial" in header
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state["fairness.objectives.constrained.memory"][3, -1] > 0


def test_infeasible_run_says_so_and_its_model_can_be_loaded(composed, tmp_path, capsys):
    config = composed("method=erm", "logger=none")
    with open_dict(config):
        config.method.objectives = {
            "tpr": dict(_target_=TARGET, rate="true_positive_rate", at_least=1.0),
            "fpr": dict(_target_=TARGET, rate="false_positive_rate", at_most=0.0),
        }
    train(config)
    verdict = json.loads((tmp_path / "run" / "feasibility.json").read_text())
    assert not verdict["feasible"] and verdict["checkpoint"] == "least_violating.ckpt"
    assert "No epoch met the constraints on validation" in " ".join(capsys.readouterr().out.split())
    module, _ = load_run(tmp_path / "run")
    kept = torch.load(tmp_path / "run/checkpoints/least_violating.ckpt", weights_only=True)
    assert kept["epoch"] == verdict["epoch"]
    for name, value in module.state_dict().items():
        assert torch.equal(value, kept["state_dict"][name]), name


def test_run_without_constraints_has_no_verdict(composed, tmp_path):
    train(composed("method=parity", "logger=none"))
    assert not (tmp_path / "run" / "feasibility.json").exists()
