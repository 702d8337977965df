"""Constraints under the Trainer: steps, accumulation, validation, resume, two processes."""

import math
from contextlib import nullcontext
from datetime import timedelta

import lightning as L
import pytest
import torch
from helpers import GROUPS, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner
from torch import nn

from fairlightning.callbacks import (
    FairnessMonitor,
    FeasibleCheckpoint,
    LambdaRamp,
    MultiplierUpdate,
    ResumeRNG,
)
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError, FairnessWarning, SetupError
from fairlightning.mixins import ConstraintMixin, ParityMixin
from fairlightning.objectives import BoundedGroupLoss, GroupDRO

PARITY = dict(criterion="demographic_parity", epsilon=0.02, attributes=["sex"], memory=200.0)


class Constrained(ConstraintMixin, ParityMixin, L.LightningModule):
    """A user's module with a constraint, and a penalty beside it."""

    def __init__(self, dropout=0.0, rate=1e-2, **constraints):
        super().__init__(
            groups=GROUPS,
            constraints=constraints or {"gap": PARITY},
            parity=dict(attributes=["race"], weight=0.1),
        )
        self.net = Net(dropout)
        self.rate = rate

    def training_step(self, batch, batch_idx):
        logits, _ = self.net(batch.inputs)
        task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], batch.target.to(logits))
        return self.fair_loss(task, logits=logits, target=batch.target, sensitive=batch.sensitive)

    validation_step = test_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameter_groups(self.rate), momentum=0.9)


def state(module):
    return {k: v.clone() for k, v in module.fairness.objectives["gap"].state_dict().items()}


@pytest.mark.parametrize("inside", [False, True], ids=["cast", "made in bfloat16"])
def test_a_network_in_bfloat16_has_the_multipliers_of_one_in_float32(tmp_path, inside):
    found = []
    for precision in ("32-true", "bf16-true"):
        torch.manual_seed(0)
        trainer = quiet_trainer(
            tmp_path, callbacks=[MultiplierUpdate()], precision=precision, max_epochs=40
        )
        with trainer.init_module() if inside else nullcontext():
            module = Constrained(gap=PARITY | dict(memory=10_000.0))
        trainer.fit(module, *loaders())
        found.append(module.fairness.objectives["gap"])
    exact, cast = found
    assert cast.memory[-1, -1].item() == pytest.approx(exact.memory[-1, -1].item())
    assert cast.multiplier.item() == pytest.approx(exact.multiplier.item(), rel=0.1)
    assert cast.multiplier > 0.05


def test_multipliers_move_once_per_optimizer_step_and_the_ramp_leaves_them(tmp_path):
    torch.manual_seed(0)
    module = Constrained()
    logger = CSVLogger(tmp_path, name="", version="")
    callbacks = [FairnessMonitor(table=False), LambdaRamp(), MultiplierUpdate()]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, logger=logger, log_every_n_steps=4)
    trainer.fit(module, *loaders())
    constraint = module.fairness.objectives["gap"]
    assert constraint.multiplier > 0
    assert constraint.weight == 1.0
    assert constraint.memory[3, -1].item() == pytest.approx(
        sum(32 * math.exp(-32 * k / 200) for k in range(16)), rel=1e-5
    )
    logged = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    tags = {f"constraints/gap/{kind}" for kind in ("value", "bound", "multiplier")}
    assert tags | {"val/constraints/gap/value", "val/constraints/gap/violation"} <= set(logged)
    assert "train/lambda/parity" in logged and "train/lambda/gap" not in logged
    value = trainer.callback_metrics["val/constraints/gap/value"]
    measured = trainer.callback_metrics["val/fairness/demographic_parity_difference/sex"]
    assert value.item() == pytest.approx(measured.item(), abs=1e-6)


def test_accumulated_batches_are_one_step_and_validation_changes_nothing(tmp_path):
    found = []
    data = make_batch(256)
    for size, pieces, validation in ((64, 1, None), (16, 4, None), (64, 1, make_batch(100, 9))):
        torch.manual_seed(0)
        module = Constrained(rate=0.0).double()
        joined = data._replace(inputs=(data.inputs[0].double(), data.inputs[1]))
        trainer = quiet_trainer(
            tmp_path, callbacks=[MultiplierUpdate()], accumulate_grad_batches=pieces
        )
        loader = None
        if validation is not None:
            validation = validation._replace(inputs=(validation.inputs[0].double(), data.inputs[1]))
            loader = BatchLoader(validation, 50)
        trainer.fit(module, BatchLoader(joined, size), loader)
        found.append(state(module))
    for other in found[1:]:
        for name, value in found[0].items():
            assert torch.allclose(other[name], value, atol=1e-12), name
    assert found[0]["multipliers.value"].max() > 0


class Skipping(Constrained):
    """Skips a step whose gradients are not finite, as a gradient scaler does."""

    def on_before_optimizer_step(self, optimizer):
        if not all(p.grad.isfinite().all() for p in self.net.parameters()):
            optimizer.zero_grad()


def test_a_step_that_is_not_finite_leaves_no_trace(tmp_path):
    batch = make_batch(96)
    batch.inputs[0][40] = torch.nan  # in the second of three steps
    rows = torch.arange(96)
    found = []
    for kept in (rows, rows[rows // 32 != 1]):
        torch.manual_seed(0)
        module = Skipping()
        module.fairness.add("loss", BoundedGroupLoss(module.fairness.groups, zeta=0.3))
        module.fairness.add("worst", GroupDRO(module.fairness.groups))
        trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[MultiplierUpdate()])
        with nullcontext() if found else pytest.warns(FairnessWarning, match="step 2 .*finite"):
            trainer.fit(module, BatchLoader(batch.take(kept), 32))
        found.append(module.state_dict())
    for name, value in found[1].items():
        assert torch.equal(found[0][name], value), name
    assert found[0]["fairness.objectives.gap.multipliers.value"].max() > 0


def run(folder, ckpt_path=None):
    torch.manual_seed(3 if ckpt_path is None else 99)
    module = Constrained(dropout=0.3)
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    feasible = FeasibleCheckpoint(dirpath=folder.parent / "chosen", filename="best")
    # The monitor comes first: it takes the observation away.
    callbacks = [FairnessMonitor(table=False), MultiplierUpdate(), LambdaRamp(), ResumeRNG()]
    trainer = quiet_trainer(
        folder,
        max_epochs=3,
        callbacks=[*callbacks, feasible, saver],
        enable_checkpointing=True,
    )
    trainer.fit(module, *loaders(), ckpt_path=ckpt_path)
    return module.state_dict(), feasible.verdict


@pytest.mark.parametrize("stop", [1, 5, 8, 11, 16, 23])
def test_multipliers_and_running_rates_resume_bit_for_bit(tmp_path, stop):
    whole, verdict = run(tmp_path / "whole")
    resumed, again = run(tmp_path / "resumed", tmp_path / "whole" / f"step={stop}.ckpt")
    assert {"memory", "multipliers.value", "multipliers.error"} <= {
        name.removeprefix("fairness.objectives.gap.") for name in whole
    }
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert whole["fairness.objectives.gap.multipliers.value"].max() > 0
    if stop not in (8, 16):  # the epoch's last step: Lightning goes on without its validation
        assert again == verdict


class Saving(Constrained):
    def on_train_end(self):
        folder = self.trainer.default_root_dir
        torch.save(self.state_dict(), f"{folder}/{self.trainer.global_rank}.pt")


@pytest.mark.parametrize("kind", ["mixed", "one rank only", "unknown on a rank"])
def test_two_processes_keep_the_multipliers_of_one(tmp_path, kind):
    data = make_batch(64, seed=4)
    sensitive = data.sensitive.clone()
    if kind == "one rank only":
        # Rows go to the ranks in turn.
        sensitive[:, 0] = torch.arange(64) % 2
    elif kind == "unknown on a rank":
        sensitive[1::2] = -1
    data = data._replace(sensitive=sensitive, inputs=(data.inputs[0].double(), data.inputs[1]))
    found = {}
    for devices in (1, 2):
        torch.manual_seed(0)
        root = tmp_path / str(devices)
        root.mkdir()
        trainer = quiet_trainer(
            root,
            max_epochs=6,
            devices=devices,
            strategy="auto" if devices == 1 else "ddp_fork",
            callbacks=[MultiplierUpdate(), LambdaRamp()],
        )
        trainer.fit(Saving(rate=0.1).double(), BatchLoader(data, 64 // devices))
        found[devices] = [torch.load(root / f"{rank}.pt") for rank in range(devices)]
    (alone,), pair = found[1], found[2]
    assert alone["fairness.objectives.gap.multipliers.value"].max() > 0
    for name, value in alone.items():
        assert torch.equal(pair[0][name], pair[1][name]), name
        assert torch.allclose(pair[0][name], value, atol=1e-10), name


class Watch(L.Callback):
    """What validation found in each epoch."""

    def __init__(self):
        self.epochs = []

    def on_validation_end(self, trainer, pl_module):
        metrics = trainer.callback_metrics
        self.epochs.append(
            tuple(
                metrics[name].item()
                for name in ("val/constraints/gap/value", "val/loss/task", "val/accuracy")
            )
        )


def leaky(rows, seed):
    """Rows whose features tell the sex."""
    batch = make_batch(rows, seed)
    x = batch.inputs[0].clone()
    x[:, 1] += 2 * batch.sensitive[:, 0]
    return batch._replace(inputs=(x, batch.inputs[1]))


def fit_feasible(tmp_path, epsilon, capsys, **options):
    torch.manual_seed(0)
    module = Constrained(rate=0.1, gap=PARITY | dict(epsilon=epsilon, memory=1_000.0))
    watch = Watch()
    checkpoint = FeasibleCheckpoint(dirpath=tmp_path / "kept", filename="best", **options)
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=8,
        callbacks=[FairnessMonitor(["val"], table=False), MultiplierUpdate(), watch, checkpoint],
        enable_checkpointing=True,
    )
    train = BatchLoader(leaky(2_000, 1), 100, shuffle=True, seed=1)
    trainer.fit(module, train, BatchLoader(leaky(2_000, 9), 500))
    return watch.epochs, checkpoint, capsys.readouterr().out


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_feasible_epoch_is_kept(tmp_path, capsys, mode):
    options = {} if mode == "min" else dict(objective="val/accuracy", objective_mode="max")
    epochs, checkpoint, printed = fit_feasible(tmp_path, 0.12, capsys, **options)
    met = [epoch for epoch, (value, _, _) in enumerate(epochs) if value <= 0.12]
    assert 0 < len(met) < len(epochs)
    if mode == "min":
        best = min(met, key=lambda epoch: epochs[epoch][1])
        assert best != min(range(len(epochs)), key=lambda epoch: epochs[epoch][1])
    else:
        best = max(met, key=lambda epoch: epochs[epoch][2])
    assert checkpoint.verdict["epoch"] == best and checkpoint.verdict["feasible"]
    assert checkpoint.best_model_path.endswith("best.ckpt")
    assert torch.load(checkpoint.best_model_path, weights_only=True)["epoch"] == best
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["best.ckpt"]
    assert "No epoch met" not in printed


def test_the_verdict_is_that_of_the_best_of_several_files(tmp_path, capsys):
    epochs, checkpoint, _ = fit_feasible(tmp_path, 0.12, capsys, save_top_k=3, save_last=True)
    best = torch.load(checkpoint.best_model_path, weights_only=True)["epoch"]
    assert best < len(epochs) - 1 and checkpoint.verdict["epoch"] == best
    assert checkpoint.verdict["constraints"]["gap"]["value"] == epochs[best][0]
    again = FeasibleCheckpoint(dirpath=tmp_path / "kept", filename="best")
    again.setup(quiet_trainer(tmp_path), nn.Module(), "fit")
    saved = torch.load(checkpoint.last_model_path, weights_only=True)["callbacks"]
    (state,) = [value for key, value in saved.items() if key.startswith("FeasibleCheckpoint")]
    again.load_state_dict(state)
    assert again.verdict == checkpoint.verdict
    assert len(state["verdicts"]) <= 4


def test_weights_that_were_not_validated_are_neither_kept_nor_certified(tmp_path):
    for option in ({"every_n_train_steps": 3}, {"train_time_interval": timedelta(0)}):
        with pytest.raises(ArgumentError, match="after a validation"):
            FeasibleCheckpoint(**option)
    checkpoint = FeasibleCheckpoint(
        dirpath=tmp_path, filename="{epoch}", save_on_train_epoch_end=True, save_top_k=-1
    )
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=5,
        check_val_every_n_epoch=2,
        callbacks=[FairnessMonitor(table=False), MultiplierUpdate(), checkpoint],
        enable_checkpointing=True,
    )
    trainer.fit(Constrained(), *loaders())
    assert len([*tmp_path.glob("*.ckpt")]) == 2
    assert checkpoint.verdict["epoch"] in (1, 3)


def test_infeasible_constraint_says_so_and_keeps_the_least_violating(tmp_path, capsys):
    # No classifier selects everybody with label 1 in every group and hardly anybody without.
    torch.manual_seed(0)
    both = dict(
        gap=dict(rate="true_positive_rate", at_least=0.99, attributes=["sex"], memory=200.0),
        low=dict(rate="false_positive_rate", at_most=0.01, attributes=["sex"], memory=200.0),
    )
    module = Constrained(**both)
    checkpoint = FeasibleCheckpoint(dirpath=tmp_path / "kept", filename="best")
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=4,
        callbacks=[FairnessMonitor(["val"], table=False), MultiplierUpdate(), checkpoint],
        enable_checkpointing=True,
    )
    trainer.fit(module, *loaders())
    verdict = checkpoint.verdict
    assert not verdict["feasible"]
    worst = max(found["violation"] for found in verdict["constraints"].values())
    assert worst > 0 and checkpoint.best_model_score.item() == pytest.approx(1 + worst)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["least_violating.ckpt"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "No epoch met the constraints on validation" in printed
    assert "least_violating.ckpt" in printed


@pytest.mark.filterwarnings("ignore:.*have the score NaN")
def test_a_violation_that_is_not_a_number_is_not_known_to_be_met(tmp_path, capsys):
    module = Constrained(gap=PARITY | dict(epsilon=0.9))
    module.fairness.add("loss", BoundedGroupLoss(module.fairness.groups, zeta=9.0))
    checkpoint = FeasibleCheckpoint(dirpath=tmp_path, filename="best")
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=1,
        callbacks=[FairnessMonitor(["val"], table=False), MultiplierUpdate(), checkpoint],
        enable_checkpointing=True,
    )
    missing = make_batch(100, seed=9)
    missing.inputs[0][7] = torch.nan
    trainer.fit(module, loaders()[0], BatchLoader(missing, 50))
    assert not checkpoint.verdict["feasible"]
    assert checkpoint.verdict["constraints"]["loss"]["violation"] is None
    assert "loss cannot be estimated" in " ".join(capsys.readouterr().out.split())


def test_what_is_missing_or_mistaken_has_a_named_error(tmp_path):
    with pytest.raises(SetupError, match="MultiplierUpdate"):
        quiet_trainer(tmp_path).fit(Constrained(), *loaders())
    with pytest.raises(SetupError, match="FairnessMonitor"):
        quiet_trainer(
            tmp_path,
            callbacks=[MultiplierUpdate(), FeasibleCheckpoint(dirpath=tmp_path)],
            enable_checkpointing=True,
        ).fit(Constrained(), *loaders())
    with pytest.raises(ArgumentError, match="did you mean 'val/loss/task'"):
        quiet_trainer(
            tmp_path,
            callbacks=[
                FairnessMonitor(table=False),
                MultiplierUpdate(),
                FeasibleCheckpoint(dirpath=tmp_path, objective="val/loss/tasks"),
            ],
            enable_checkpointing=True,
        ).fit(Constrained(gap=PARITY | dict(epsilon=0.0)), *loaders())
    with pytest.raises(ArgumentError, match="objective_mode: found 'maximum'"):
        FeasibleCheckpoint(objective_mode="maximum")
    with pytest.raises(ArgumentError, match="multipliers weigh a constraint"):
        quiet_trainer(tmp_path, callbacks=[LambdaRamp(objectives=["gap"])]).fit(
            Constrained(), *loaders()
        )

    class Nothing(ConstraintMixin, L.LightningModule):
        pass

    with pytest.raises(ArgumentError, match="at least one constraint"):
        Nothing(groups=GROUPS)


def test_a_learning_rate_can_be_searched_with_constraints(tmp_path):
    callbacks = [MultiplierUpdate(), FairnessMonitor(table=False)]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks)
    module = Constrained()
    before = state(module)
    found = Tuner(trainer).lr_find(module, *loaders(), num_training=8, attr_name="rate")
    assert len(found.results["loss"]) == 8
    assert all(torch.equal(value, before[name]) for name, value in state(module).items())
    trainer.fit(module, *loaders())
    assert any(not torch.equal(value, before[name]) for name, value in state(module).items())


class Frozen(Constrained):
    """Puts itself into evaluation mode, as one does to fix running statistics."""

    def training_step(self, batch, batch_idx):
        self.eval()
        return super().training_step(batch, batch_idx)


def test_training_constraints_in_evaluation_mode_has_a_named_error(tmp_path):
    trainer = quiet_trainer(tmp_path, callbacks=[MultiplierUpdate()])
    with pytest.raises(SetupError, match=r"evaluation mode.*self\.fairness\.train\(\)"):
        trainer.fit(Frozen(), *loaders())
