"""`model=linear method=constrained` from the command line."""

import json

import pytest
import torch
from helpers import command, small_table
from omegaconf import OmegaConf

from fairlightning.cli.build import build_data, build_module, load_run
from fairlightning.cli.train import train
from fairlightning.convex.linear import LinearBatch, fit_linear
from fairlightning.convex_module import ConvexModule
from fairlightning.exceptions import ArgumentError
from fairlightning.module import FairModule
from fairlightning.verification import read_metrics, read_predictions

LINEAR = ("model=linear", "method=constrained", "trainer.max_epochs=60")


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "hinge"])
def test_a_run_is_solved_and_proved(composed, tmp_path, loss):
    config = composed(*LINEAR, f"method.convex.module.loss={loss}", "epsilon_logit=0.1")
    records = train(config)
    run = tmp_path / "run"
    proof = json.loads((run / "certificate.json").read_text())
    assert proof["status"] == "optimal"
    assert proof["duality_gap"] <= 1e-8 * proof["objective"]
    (value,) = proof["constraints"]
    assert value["name"] == "demographic_parity/sex"
    assert value["unit"] == "logit gap"
    assert value["value"] == pytest.approx(0.1, abs=1e-7)
    assert value["lower"] is None
    assert read_metrics(run / "metrics.json") == records
    assert OmegaConf.load(run / "config.yaml").epsilon_logit == 0.1

    module, data = load_run(run)
    batch = data.batch("train")
    x = module.network.encoder(batch.inputs)
    expected = fit_linear(
        LinearBatch(x, batch.target, batch.sensitive),
        groups=data.groups,
        constraints=[dict(epsilon_logit=0.1)],
        loss=loss,
    )
    assert proof["objective"] == pytest.approx(expected.objective, rel=1e-7)
    assert isinstance(module, ConvexModule)
    assert module.result().objective == proof["objective"]
    frame = read_predictions(run / "predictions.parquet")
    rows = data.batch("test")
    scores = torch.sigmoid(expected.decision(module.network.encoder(rows.inputs)))
    assert frame[frame.split == "test"].score.tolist() == pytest.approx(scores.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("status", "override"),
    [("running", "trainer.max_epochs=3"), ("stalled", "method.convex.module.tolerance=1e-30")],
)
def test_what_is_certified_is_what_predicts_without_a_proof_too(
    composed, tmp_path, status, override
):
    train(composed(*LINEAR, "logger=none", override))
    run = tmp_path / "run"
    module, data = load_run(run)
    assert json.loads((run / "certificate.json").read_text())["status"] == status
    assert module.result().status == status
    frame = read_predictions(run / "predictions.parquet")
    x = module.network.encoder(data.batch("test").inputs)
    certified = torch.sigmoid(module.result().decision(x)).tolist()
    assert frame[frame.split == "test"].score.tolist() == pytest.approx(certified, abs=1e-6)
    assert module.network(data.batch("test").inputs)[0].sigmoid().squeeze(-1).tolist() == (
        pytest.approx(certified, abs=1e-6)
    )


def test_networks_and_other_methods_are_not_mistaken_for_linear_models(composed):
    config = composed("method=erm", "model=linear")
    assert type(build_module(config, build_data(config))) is FairModule
    config = composed("method=[constrained,adversarial]", "model=linear")
    with pytest.raises(ArgumentError, match="adversarial beside a convex program"):
        build_module(config, build_data(config))


@pytest.mark.parametrize(
    ("model", "key", "instead"),
    [
        ("linear", "epsilon", "epsilon_logit"),
        ("linear", "method.objectives.constrained.margin", "method.convex.module"),
        ("mlp", "epsilon_logit", "epsilon"),
        ("mlp", "method.convex.module.l2", "method.objectives.constrained"),
    ],
)
def test_a_key_that_the_model_does_not_read_is_refused(table, tmp_path, model, key, instead):
    chosen = (f"model={model}", "method=constrained", f"{key}=0.1")
    done = command("train", *chosen, *small_table(table), cwd=tmp_path)
    assert done.returncode == 2
    assert f"{key}: found a value" in done.stderr and f"expected {instead}, which" in done.stderr


def test_all_of_it_from_the_shell(table, tmp_path):
    done = command(
        "train",
        "model=linear",
        "method=constrained",
        "criterion=equalized_odds",
        *small_table(table),
        "trainer.enable_progress_bar=false",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "optimal after" in done.stdout
    assert "equalized_odds/sex/label=1: logit gap" in done.stdout
    assert "Results" in done.stdout
