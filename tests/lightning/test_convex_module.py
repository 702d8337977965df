"""A convex program under the Trainer is the plain function: logged, resumed and sharded."""

import pytest
import torch
from helpers import GROUPS, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fairlightning.callbacks import FairnessMonitor
from fairlightning.convex.constraints import LogitParity
from fairlightning.convex.linear import LinearBatch, fit_linear
from fairlightning.convex_module import ConvexModule
from fairlightning.data import BatchLoader
from fairlightning.exceptions import SetupError
from fairlightning.models import Linear

ROWS = 400
ASKED = [
    LogitParity("equalized_odds", epsilon_logit=0.1),
    LogitParity(penalty=0.1, attributes=["race"]),
]


def data():
    batch = make_batch(ROWS, seed=2)
    return batch._replace(weight=torch.linspace(0, 2, ROWS))


def module(loss="logistic", **options):
    torch.manual_seed(0)
    given = dict(constraints=ASKED, loss=loss, l2=1e-3, tolerance=1e-7)
    return ConvexModule(Linear(5, []), GROUPS, **(given | options))


def plain(loss="logistic"):
    batch = data()
    rows = LinearBatch(batch.inputs[0], batch.target, batch.sensitive, batch.weight)
    return fit_linear([rows], groups=GROUPS, constraints=ASKED, loss=loss, l2=1e-3, tolerance=1e-7)


def fit(root, model, *, ckpt_path=None, train=None, **options):
    monitor = FairnessMonitor(table=False)
    settings = dict(max_epochs=100, callbacks=[monitor, *options.pop("callbacks", [])])
    trainer = quiet_trainer(root, **(settings | options))
    train = train or BatchLoader(data(), 90)
    trainer.fit(model, train, BatchLoader(make_batch(100, seed=9), 50), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "hinge"])
def test_the_trainer_reaches_what_the_function_reaches(tmp_path, loss):
    model, expected = module(loss), plain(loss)
    trainer = fit(tmp_path, model)
    result = model.result()
    assert result.status == "optimal"
    assert trainer.current_epoch == result.passes
    assert result.objective == pytest.approx(expected.objective, rel=1e-6)
    assert result.passes < 60
    # What it predicts with is the certified solution, in float32.
    logits = model((data().inputs[0], None)).squeeze(1)
    assert torch.allclose(logits.double(), result.decision(data().inputs[0]), atol=1e-5)
    logged = trainer.callback_metrics
    assert logged["convex/relative_gap"] <= 1e-7
    assert logged["constraints/equalized_odds/sex/label=1/bound"] == pytest.approx(0.1)
    for value in result.constraints:
        assert logged[f"constraints/{value.name}/value"] == pytest.approx(value.value, abs=1e-6)
        assert logged[f"constraints/{value.name}/multiplier"] == pytest.approx(
            value.multiplier, abs=1e-6
        )
    assert "val/fairness/demographic_parity_difference/sex" in logged
    assert "val/loss/total" in logged


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("stop", [1, 2, -1])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, loss, stop):
    whole = module(loss)
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_epochs=1, filename="{epoch}")
    fit(tmp_path, whole, callbacks=[saver], enable_checkpointing=True)
    stop = stop % (whole.result().passes + 1)
    assert stop < whole.result().passes or stop > 2
    again = module(loss)
    fit(tmp_path, again, ckpt_path=tmp_path / f"epoch={stop - 1}.ckpt")
    assert again.result().history == whole.result().history
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_a_run_resumes_within_a_pass(tmp_path):
    whole = module()
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_train_steps=None, every_n_epochs=1)
    fit(tmp_path, whole, callbacks=[saver], enable_checkpointing=True)
    solver = module().solver
    batch = data()
    halves = [slice(0, 150), slice(150, ROWS)]
    done = False
    while not done:
        for part in halves:
            rows = (batch.inputs[0], batch.target, batch.sensitive, batch.weight)
            solver.add(*(column[part] for column in rows))
            other = module().solver
            other.load_state_dict(solver.state_dict())
            solver = other
        done = solver.finish_pass()
    assert solver.objective_value == pytest.approx(whole.result().objective, rel=1e-9)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_two_processes_reach_the_same(tmp_path, loss):
    one = module(loss)
    fit(tmp_path, one)
    two = module(loss)
    saver = ModelCheckpoint(tmp_path / "two", filename="end", save_last=False)
    fit(
        tmp_path,
        two,
        devices=2,
        strategy="ddp_fork",
        callbacks=[saver],
        enable_checkpointing=True,
    )
    state = torch.load(tmp_path / "two" / "end.ckpt", weights_only=True)["state_dict"]
    solved = state["_extra_state"]
    assert solved["status"] == "optimal"
    assert solved["objective_value"] == pytest.approx(one.result().objective, rel=1e-7)
    theta = torch.cat([state["network.output.weight"][0], state["network.output.bias"]])
    assert torch.allclose(theta.double(), torch.tensor(one.result().theta), atol=1e-4)


def test_a_loader_that_drops_rows_is_refused(tmp_path):
    shuffled = BatchLoader(data(), 90, shuffle=True, drop_last=True)
    with pytest.raises(SetupError, match="other rows than in the first pass"):
        fit(tmp_path, module(), train=shuffled)
