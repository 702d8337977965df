import math
import re
from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import GROUPS, Both, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset

from fairlightning.callbacks import (
    FairnessMonitor,
    LambdaRamp,
    SettledCheckpoint,
    SettledEarlyStopping,
)
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError, FairnessWarning, SetupError
from fairlightning.functional import parity_gap, rates_from_sums
from fairlightning.functional.schedules import constant, cosine
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty


class Tracking(Both):
    """Remembers the λ that was in force in every training step."""

    def training_step(self, batch, batch_idx):
        weights = [o.weight.item() for _, o in self.fairness.items()]
        self.__dict__.setdefault("seen", []).append(weights)
        return super().training_step(batch, batch_idx)


def fit(tmp_path, module=None, data=None, ckpt_path=None, **options):
    trainer = quiet_trainer(tmp_path, **options)
    module = module or Tracking()
    trainer.fit(module, *(data or loaders()), ckpt_path=ckpt_path)
    return trainer, module


def logged(logger, name):
    """Rows of the logger's file that hold a figure."""
    logger.save()
    table = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    return table[table[name].notna()].to_dict("records")


def test_ramp_goes_from_a_tenth_to_all_by_the_share_of_steps(tmp_path):
    module = Tracking(parity=dict(weight=2.0), strength=3.0)
    _, module = fit(tmp_path, module, max_epochs=5, callbacks=[LambdaRamp(until=0.5)])
    parity = [weights[0] for weights in module.seen]
    assert len(parity) == 40
    for step, found in enumerate(parity):
        assert found == pytest.approx(6 * (0.1 + 0.9 * min(step / 20, 1.0)), rel=1e-5)


def test_ramp_counts_optimizer_steps_under_accumulation(tmp_path):
    ramp = LambdaRamp(until=1.0)
    _, module = fit(tmp_path, max_epochs=2, accumulate_grad_batches=4, callbacks=[ramp])
    parity = [weights[0] for weights in module.seen]
    expected = [0.1 + 0.9 * (batch // 4) / 4 for batch in range(16)]
    assert parity == pytest.approx(expected)
    assert ramp.steps == 4
    assert ramp.finished


def test_ramp_by_epoch(tmp_path):
    _, module = fit(tmp_path, max_epochs=4, callbacks=[LambdaRamp(every="epoch", until=1.0)])
    parity = [weights[0] for weights in module.seen]
    for epoch in range(4):
        part = parity[8 * epoch : 8 * epoch + 8]
        assert part == pytest.approx([0.1 + 0.9 * epoch / 3] * 8)


@pytest.mark.parametrize(
    "options",
    [
        dict(max_epochs=5),
        dict(max_epochs=2),
        dict(max_epochs=9, max_steps=20),
        dict(max_epochs=3, accumulate_grad_batches=3),
        dict(max_epochs=3, accumulate_grad_batches=99),
    ],
)
@pytest.mark.parametrize("until", [1.0, 0.6])
def test_ramp_by_epoch_ends_with_the_start_of_the_last_one(tmp_path, until, options):
    ramp = LambdaRamp(every="epoch", until=until)
    best = SettledCheckpoint(tmp_path, filename="{epoch}")
    _, module = fit(tmp_path, callbacks=[ramp, best], enable_checkpointing=True, **options)
    assert ramp.finished
    assert module.seen[0][0] == pytest.approx(0.1)
    assert module.seen[-1][0] == 1.0
    assert best.best_model_path


def test_ramp_by_epoch_needs_two(tmp_path):
    with pytest.raises(ArgumentError, match="single epoch"):
        fit(tmp_path, max_epochs=1, callbacks=[LambdaRamp(every="epoch")])
    fit(tmp_path, fast_dev_run=True, callbacks=[LambdaRamp(every="epoch")])


class ByHand(Tracking):
    """Steps after every fourth batch, which the Trainer cannot know."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx) / 4)
        if batch_idx % 4 == 3:
            self.optimizers().step()
            self.optimizers().zero_grad()


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_a_ramp_that_has_not_ended_with_the_training_is_told(tmp_path, every):
    mend = "total_steps=12" + (", every='step'" if every == "epoch" else "")
    with pytest.warns(FairnessWarning, match=re.escape(f"LambdaRamp({mend})")):
        fit(tmp_path, ByHand(), max_epochs=6, callbacks=[LambdaRamp(every=every)])
    ramp = LambdaRamp(every=every, total_steps=12)
    fit(tmp_path, ByHand(), max_epochs=6, callbacks=[ramp])
    assert ramp.finished


def test_a_ramp_cut_short_on_purpose_is_not(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = True

    for options in (
        dict(callbacks=[LambdaRamp(), Stop()]),
        dict(callbacks=[LambdaRamp()], max_time=dict(seconds=0)),
        dict(callbacks=[LambdaRamp(total_steps=99)]),
        dict(callbacks=[LambdaRamp(total_steps=99)], max_steps=5),
        dict(callbacks=[LambdaRamp()], fast_dev_run=True),
        dict(callbacks=[LambdaRamp()], limit_train_batches=0),
    ):
        fit(tmp_path, **options)
        assert not options["callbacks"][0].finished or "fast_dev_run" in options


def test_two_ramps_side_by_side(tmp_path):
    ramps = [
        LambdaRamp(cosine, objectives=["adversarial"]),
        LambdaRamp(constant, objectives=["parity"]),
    ]
    assert len({ramp.state_key for ramp in ramps}) == 2
    _, module = fit(tmp_path, callbacks=ramps)
    assert {weights[0] for weights in module.seen} == {1.0}
    assert module.seen[0][1] == pytest.approx(0.1)


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("stop", [3, 8, 13, 21])
def test_ramp_resumes_at_any_step(tmp_path, every, stop):
    def run(folder, ckpt=None, **options):
        torch.manual_seed(0)
        saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
        return fit(
            folder,
            ckpt_path=ckpt,
            max_epochs=3,
            callbacks=[LambdaRamp(every=every), saver],
            enable_checkpointing=True,
            **options,
        )[1].seen

    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "resumed", tmp_path / "whole" / f"step={stop}.ckpt")
    assert resumed == whole[stop:]


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_the_next_training_begins_the_ramp_anew(tmp_path, every):
    ramp = LambdaRamp(every=every)
    _, first = fit(tmp_path, max_epochs=3, callbacks=[ramp])
    _, second = fit(tmp_path, max_epochs=3, callbacks=[ramp])
    assert second.seen == first.seen


def test_ramp_logs_lambda(tmp_path):
    logger = CSVLogger(tmp_path, "log", "")
    fit(tmp_path, max_epochs=3, logger=logger, log_every_n_steps=4, callbacks=[LambdaRamp()])
    rows = logged(logger, "fairness/lambda")
    assert [r["step"] for r in rows] == [4, 8, 12, 16, 20, 24]
    assert rows[-1]["fairness/lambda"] == rows[-1]["train/lambda/parity"] == 1.0
    assert rows[0]["train/lambda/adversarial"] == pytest.approx(0.1 + 0.9 * 3 / 14.4)


def test_ramp_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ArgumentError, match="until"):
        LambdaRamp(until=0)
    with pytest.raises(ArgumentError, match="did you mean 'parity'"):
        fit(tmp_path, callbacks=[LambdaRamp(objectives=["partiy"])])
    with pytest.raises(ArgumentError, match="total_steps"):
        fit(tmp_path, max_epochs=-1, callbacks=[LambdaRamp()])
    import lightning as L

    class Plain(L.LightningModule):
        def configure_optimizers(self):
            return None

        def training_step(self, batch, batch_idx):
            return None

    with pytest.raises(SetupError, match="fairness mixins"):
        fit(tmp_path, Plain(), callbacks=[LambdaRamp()])


class Stronger(Callback):
    """Assigns another strength at the end of every epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.fairness.strength = 4.0


@pytest.mark.parametrize("ramps", [[], [LambdaRamp(constant)], [LambdaRamp(every="epoch")]])
def test_a_strength_counts_from_the_next_step_on(tmp_path, ramps):
    logger = CSVLogger(tmp_path, "log", "")
    callbacks = [*ramps, Stronger()]
    options = dict(max_epochs=3, logger=logger, log_every_n_steps=8, callbacks=callbacks)
    _, module = fit(tmp_path, Tracking(parity=dict(weight=2.0)), **options)
    parity = [weights[0] for weights in module.seen]
    factor = 0.1 if ramps and ramps[0].every == "epoch" else 1.0
    assert parity[:8] == pytest.approx([2.0 * factor] * 8)
    assert parity[-8:] == [8.0] * 8
    if ramps:
        assert [r["train/lambda/parity"] for r in logged(logger, "train/lambda/parity")] == (
            pytest.approx([parity[7], parity[15], parity[23]])
        )


class Stream(IterableDataset):
    """Batches of a loader that does not know how many it has."""

    def __iter__(self):
        return iter(loaders()[0])


@pytest.mark.parametrize("options", [dict(max_epochs=3), dict(max_epochs=-1)])
def test_a_training_without_known_end_is_refused(tmp_path, options):
    def run(callbacks=(), scheduler=None, **more):
        made = FairModule(Net(), GROUPS, objectives={"parity": parity()}, scheduler=scheduler)
        data = DataLoader(Stream(), batch_size=None), None
        fit(tmp_path, made, data, callbacks=list(callbacks), **options, **more)

    told = []

    def scheduler(optimizer, steps):
        told.append(steps)
        return LambdaLR(optimizer, lambda step: 1.0)

    with pytest.raises(ArgumentError, match="total_steps: found a training without known end"):
        run([LambdaRamp()])
    with pytest.raises(SetupError, match="scheduler: found a training without known end"):
        run(scheduler=scheduler)
    run([ramp := LambdaRamp()], scheduler, max_steps=10)
    assert ramp.finished
    run([LambdaRamp()], scheduler, limit_train_batches=0)
    assert told == [10, 0]


def test_best_checkpoint_and_early_stopping_wait_for_the_ramp(tmp_path):
    class Worsening(Tracking):
        def validation_step(self, batch, batch_idx):
            self.log("worse", float(self.current_epoch))

    best = SettledCheckpoint(tmp_path, monitor="worse", filename="{epoch}")
    plain = ModelCheckpoint(tmp_path, monitor="worse", filename="plain-{epoch}")
    stop = SettledEarlyStopping("worse", patience=2)
    _trainer, _ = fit(
        tmp_path,
        Worsening(),
        max_epochs=10,
        enable_checkpointing=True,
        callbacks=[LambdaRamp(until=0.6), best, plain, stop],
    )
    assert plain.best_model_path.endswith("plain-epoch=0.ckpt")
    assert best.best_model_path.endswith("epoch=5.ckpt")
    assert stop.stopped_epoch == 7


def test_without_a_ramp_they_are_lightnings_own(tmp_path):
    best = SettledCheckpoint(tmp_path, monitor="val/loss/total", filename="{epoch}")
    fit(tmp_path, callbacks=[FairnessMonitor(table=False), best], enable_checkpointing=True)
    assert best.best_model_path


def test_monitor_equals_a_computation_by_hand(tmp_path):
    validation = make_batch(100, seed=9)
    monitor = FairnessMonitor(table=False)
    trainer, module = fit(tmp_path, callbacks=[monitor])
    figures = trainer.callback_metrics
    module.eval()
    with torch.no_grad():
        logits, _ = module.net(validation.inputs)
    decision = (logits[:, 0] >= 0).double()
    sex = validation.sensitive[:, 0]
    rates = [decision[sex == g].mean() for g in (0, 1)]
    assert figures["val/groups/selection_rate/sex=F"] == pytest.approx(rates[0].item())
    difference = abs(rates[0] - rates[1]).item()
    assert figures["val/fairness/demographic_parity_difference/sex"] == pytest.approx(difference)
    accuracy = (decision == validation.target).double().mean().item()
    assert figures["val/accuracy"] == pytest.approx(accuracy)
    assert any(k.startswith("val/groups/true_positive_rate/sex=M & race=") for k in figures)


def test_epoch_loss_is_that_of_all_rows_and_not_the_mean_of_batch_gaps(tmp_path):
    monitor = FairnessMonitor(table=False)
    validation = make_batch(100, seed=9)
    train = BatchLoader(make_batch(64), 32)
    module = FairModule(Net(), GROUPS, objectives={"parity": parity()})
    trainer = quiet_trainer(tmp_path, callbacks=[monitor])
    trainer.fit(module, train, BatchLoader(validation, 5))
    with torch.no_grad():
        logits, _ = module.network(validation.inputs)
        scores = torch.sigmoid(logits[:, 0]).double()
    sex = validation.sensitive[:, 0]
    total = torch.stack([scores[sex == g].sum() for g in (0, 1)])
    count = torch.stack([(sex == g).sum() for g in (0, 1)]).double()
    gap = parity_gap(rates_from_sums(total[None], count[None])).item()
    task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], validation.target.float())
    figures = trainer.callback_metrics
    assert figures["val/loss/parity"] == pytest.approx(gap, abs=1e-5)
    assert figures["val/loss/task"] == pytest.approx(task.item(), abs=1e-5)
    assert figures["val/loss/total"] == pytest.approx(task.item() + 2 * gap, abs=1e-5)


def parity():
    from fairlightning.groups import GroupSpec

    return ParityPenalty(GroupSpec(GROUPS), attributes=["sex"], weight=2.0)


def test_train_losses_are_averaged_and_written_every_n_steps(tmp_path):
    logger = CSVLogger(tmp_path, "log", "")
    monitor = FairnessMonitor(["train", "val"], table=False)
    fit(tmp_path, max_epochs=2, logger=logger, log_every_n_steps=5, callbacks=[monitor])
    rows = logged(logger, "train/loss/task")
    assert [r["step"] for r in rows] == [5, 8, 10, 15, 16]
    assert {"train/loss/total", "train/loss/adversarial", "train/loss/parity"} <= set(rows[0])
    assert len(logged(logger, "train/groups/accuracy/sex=F")) == 2


def test_figures_can_be_monitored(tmp_path):
    name = "val/fairness/demographic_parity_difference/sex"
    saver = ModelCheckpoint(tmp_path, monitor=name, filename="best")
    stop = EarlyStopping(name, patience=1)
    callbacks = [FairnessMonitor(table=False), saver, stop]
    fit(tmp_path, callbacks=callbacks, enable_checkpointing=True)
    assert math.isfinite(float(saver.best_model_score))


def test_table_is_printed_at_the_end(tmp_path, capsys):
    monitor = FairnessMonitor()
    trainer, module = fit(tmp_path, callbacks=[monitor])
    assert "sex" in capsys.readouterr().out
    trainer.test(module, BatchLoader(make_batch(100, seed=9), 50), verbose=False)
    assert "test" in capsys.readouterr().out
    assert {"val", "test"} <= set(monitor.records)


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_what_was_interrupted_is_not_counted_into_the_next(tmp_path, stage):
    class Failing(Both):
        broken = True

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if self.broken and batch_idx == 1:
                raise RuntimeError("power cut")
            return loss

        validation_step = test_step = training_step

    data = BatchLoader(make_batch(256), 32)
    found = {}
    for interrupted in (True, False):
        torch.manual_seed(0)
        module, monitor = Failing(), FairnessMonitor(["train", "val", "test"], table=False)
        state = deepcopy(module.state_dict())
        trainer = quiet_trainer(tmp_path, callbacks=[monitor], max_epochs=1, logger=False)
        run = {"train": trainer.fit, "val": trainer.validate, "test": trainer.test}[stage]
        if interrupted:
            with pytest.raises(RuntimeError, match="power cut"):
                run(module, data)
            module.load_state_dict(state)
        module.broken = False
        run(module, data)
        assert support(monitor.records[stage]) == 256
        found[interrupted] = monitor.records[stage], trainer.callback_metrics
    assert found[True] == found[False]


def test_the_sanity_check_leaves_no_records(tmp_path, capsys):
    monitor = FairnessMonitor()
    options = dict(num_sanity_val_steps=2, check_val_every_n_epoch=5)
    fit(tmp_path, callbacks=[monitor], **options)
    assert not monitor.records and "sex" not in capsys.readouterr().out
    fit(tmp_path, callbacks=[monitor], max_epochs=5, **options)
    assert support(monitor.records["val"]) == 100
    assert monitor.records["val"][0].low is not None


def test_a_step_without_fair_loss_is_named(tmp_path):
    class Silent(Both):
        def validation_step(self, batch, batch_idx):
            return None

    with pytest.raises(SetupError, match="validation_step of Silent without fair_loss"):
        fit(tmp_path, Silent(), callbacks=[FairnessMonitor()])
    fit(tmp_path, Silent(), callbacks=[FairnessMonitor(["test"])])


def test_training_without_fair_loss_is_named_only_where_it_is_watched(tmp_path):
    class Baseline(Both):
        def training_step(self, batch, batch_idx):
            logits, _ = self.net(batch.inputs)
            target = batch.target.float()
            return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target)

    monitor = FairnessMonitor(["val"], table=False)
    fit(tmp_path, Baseline(), callbacks=[monitor])
    assert "val" in monitor.records
    with pytest.raises(SetupError, match="training_step of Baseline without fair_loss"):
        fit(tmp_path, Baseline(), callbacks=[FairnessMonitor(["train"])])


def test_batches_that_training_skips_are_not_counted(tmp_path):
    class Skipping(Both):
        def training_step(self, batch, batch_idx):
            return None if batch_idx % 2 else super().training_step(batch, batch_idx)

    monitor = FairnessMonitor(["train", "val"], table=False)
    fit(tmp_path, Skipping(), callbacks=[monitor], logger=CSVLogger(tmp_path))
    assert support(monitor.records["train"]) == 128


def support(records):
    """Rows behind the accuracy of all groups together."""
    (found,) = [r.support for r in records if r.metric == "accuracy" and r.group is None]
    return found
