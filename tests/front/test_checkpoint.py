"""What a run keeps are the models that no other beats, whatever happens on the way."""

import lightning as L
import pandas as pd
import pytest
import torch
from helpers import GROUPS, CrashInEpochTwo, Net, loaders, make_batch, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from fairlightning.callbacks import FairnessMonitor, LambdaRamp, ResumeRNG
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError, FairnessWarning, SetupError
from fairlightning.front import FrontModule, FrontMonitor, ParetoCheckpoint
from fairlightning.front.criteria import Criteria
from fairlightning.functional.pareto import bounded_front, hypervolume, nondominated
from fairlightning.groups import GroupSpec
from fairlightning.module import FairModule
from fairlightning.objectives import ParityPenalty

SPEC = GroupSpec(GROUPS)
ACCURACY = "val/accuracy"
GAP = "val/fairness/demographic_parity_difference/sex"
AMOUNT = "val/fairness/mean_prediction_difference/sex"
TWO = {ACCURACY: "max", GAP: "min"}
STRENGTH = (0.0, 0.3, 1.0, 3.0)


class Journal(L.Callback):
    """Every model of every epoch: its values and weights."""

    def __init__(self, names=tuple(TWO)):
        self.names, self.models = names, []

    def on_validation_end(self, trainer, pl_module):
        if trainer.sanity_checking:
            return
        front = isinstance(pl_module, FrontModule)
        for k in range(pl_module.members) if front else [None]:
            suffix = f"/member={k}" if front else ""
            values = [float(trainer.callback_metrics[name + suffix]) for name in self.names]
            network = pl_module.export(k) if front else pl_module.network
            state = {name: value.clone() for name, value in network.state_dict().items()}
            self.models.append(((trainer.current_epoch, k), values, state))


def front(dropout=0.0):
    parity = {"parity": ParityPenalty(SPEC, attributes=["sex"])}
    return FrontModule(Net(dropout), SPEC, strength=STRENGTH, objectives=parity, learning_rate=0.02)


def fit(folder, callbacks, module=None, **options):
    module = module or front()
    monitor = FrontMonitor() if isinstance(module, FrontModule) else FairnessMonitor(table=False)
    trainer = quiet_trainer(folder, callbacks=[monitor, *callbacks], **options)
    trainer.fit(module, *loaders(), ckpt_path=options.pop("ckpt_path", None))
    return trainer, module


def costs(models):
    return [[1 - accuracy, gap] for _, (accuracy, gap), _ in models]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_keeps_the_front_over_epochs_and_members_after_the_ramp(tmp_path):
    kept, journal = ParetoCheckpoint(tmp_path / "members", TWO, keep=50), Journal()
    callbacks = [LambdaRamp(until=0.5), kept, journal]
    _, module = fit(tmp_path, callbacks, max_epochs=6, num_sanity_val_steps=1)
    settled = [model for model in journal.models if model[0][0] >= 2]
    assert len(settled) == 16  # λ is final at the validation of the third of six epochs
    front = [m for m, best in zip(settled, nondominated(costs(settled)), strict=True) if best]
    expected = {tuple(values): (key, state) for key, values, state in reversed(front)}
    assert {tuple(model.values.values()) for model in kept.kept} == set(expected)
    assert len(kept.kept) == len(expected)
    assert files(tmp_path / "members") == sorted(model.path.name for model in kept.kept)
    network = module.export(0)
    for model in kept.kept:
        key, state = expected[tuple(model.values.values())]
        assert (model.epoch, model.member) == key
        assert model.path.name == f"member={model.member},epoch={model.epoch}.pt"
        loaded = torch.load(model.path, weights_only=True)
        assert all(torch.equal(loaded[name], value) for name, value in state.items())
        network.load_state_dict(loaded)
        rows = make_batch(100, seed=9)
        right = ((network(rows.inputs)[0][:, 0] >= 0) == rows.target).float().mean().item()
        assert right == pytest.approx(model.values[ACCURACY], abs=1e-6)


@pytest.mark.parametrize("keep", [1, 3])
def test_number_and_files_are_bounded_at_every_moment(tmp_path, keep):
    class Count(L.Callback):
        most = 0

        def on_train_batch_start(self, trainer, *_):
            if (tmp_path / "m").exists():
                self.most = max(self.most, len(list((tmp_path / "m").iterdir())))

    kept, journal, count = (
        ParetoCheckpoint(tmp_path / "m", TWO, keep=keep, from_start=True),
        Journal(),
        Count(),
    )
    fit(tmp_path, [kept, journal, count], max_epochs=6)
    rows = bounded_front(costs(journal.models), keep, [1.0, 1.0])
    assert [(m.epoch, m.member) for m in kept.kept] == [journal.models[row][0] for row in rows]
    assert files(tmp_path / "m") == sorted(m.path.name for m in kept.kept)
    assert 1 <= count.most <= keep


def test_single_models_and_several_validations_of_an_epoch(tmp_path):
    kept = ParetoCheckpoint(tmp_path / "m", {ACCURACY: "max", GAP: "max"}, from_start=True)
    module = FairModule(Net(), SPEC, learning_rate=0.05)
    journal = Journal()
    fit(tmp_path, [kept, journal], module, max_epochs=4, val_check_interval=0.5)
    assert len(journal.models) == 8
    names = {model.path.name for model in kept.kept}
    assert len(names) == len(kept.kept) and set(files(tmp_path / "m")) == names
    states = {tuple(values): state for _, values, state in reversed(journal.models)}
    for model in kept.kept:
        assert model.member is None and model.path.name.startswith(f"epoch={model.epoch}")
        loaded = torch.load(model.path, weights_only=True)
        expected = states[tuple(model.values.values())]
        assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    fresh = Net()
    fresh.load_state_dict(loaded)


def test_hypervolume_is_logged_and_never_falls(tmp_path):
    logger = CSVLogger(tmp_path, "log", "")
    journal = Journal()
    kept = ParetoCheckpoint(tmp_path / "m", TWO, keep=2, from_start=True, reference={GAP: 0.9})
    trainer, _ = fit(tmp_path, [kept, journal], max_epochs=5, logger=logger)
    logger.save()
    table = pd.read_csv(tmp_path / "log" / "metrics.csv")
    volumes = table["val/front/hypervolume"].dropna().tolist()
    assert len(volumes) == 5
    first = hypervolume(costs(journal.models[:4]), [1.0, 0.9])
    assert volumes[0] == pytest.approx(first, abs=1e-6)
    assert trainer.progress_bar_metrics["val/front/hypervolume"] == pytest.approx(volumes[-1])
    assert float(trainer.callback_metrics["val/front/hypervolume"]) == pytest.approx(volumes[-1])
    assert volumes[-1] <= hypervolume(costs(journal.models), [1.0, 0.9]) + 1e-6


def test_tensorboard_gets_a_picture_every_few_epochs_and_at_the_end(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, "log", "")
    kept = ParetoCheckpoint(tmp_path / "m", TWO, from_start=True, figures_every_n_epochs=2)
    one = ParetoCheckpoint(tmp_path / "1", {ACCURACY: "max"}, from_start=True)
    fit(tmp_path, [kept, one], max_epochs=3, logger=logger)
    found = EventAccumulator(str(tmp_path / "log"), size_guidance={"images": 0}).Reload()
    assert [image.step for image in found.Images("val/figures/front")] == [16, 24]
    assert "val/front/hypervolume" in found.Tags()["scalars"]


def run(folder, ckpt_path=None, crash=False):
    torch.manual_seed(3 if ckpt_path is None else 99)
    kept = ParetoCheckpoint(folder / "members", TWO, keep=4, from_start=True)
    saver = ModelCheckpoint(folder, every_n_train_steps=9, save_top_k=-1, filename="{step}")
    trainer = quiet_trainer(
        folder,
        max_epochs=4,
        callbacks=[FrontMonitor(), kept, ResumeRNG(), saver, *[CrashInEpochTwo()] * crash],
        enable_checkpointing=True,
    )
    trainer.fit(front(dropout=0.3), *loaders(), ckpt_path=ckpt_path)
    return kept.kept


def test_a_crashed_run_keeps_what_it_would_have_kept(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "crashed", crash=True)
    # Older than the crash: files that it names may have been removed since.
    state = tmp_path / "crashed" / "step=9.ckpt"
    elsewhere = run(tmp_path / "elsewhere", state)
    resumed = run(tmp_path / "crashed", state)
    for found in (elsewhere, resumed):
        assert [model[:3] for model in found] == [model[:3] for model in whole]
        for model, expected in zip(found, whole, strict=True):
            one, two = (torch.load(m.path, weights_only=True) for m in (model, expected))
            assert all(torch.equal(one[name], value) for name, value in two.items())
    assert files(tmp_path / "crashed" / "members") == files(tmp_path / "whole" / "members")
    assert files(tmp_path / "elsewhere" / "members") == files(tmp_path / "whole" / "members")


def test_a_file_that_is_gone_is_not_shown_as_kept(tmp_path):
    class Remove(L.Callback):
        def on_train_end(self, trainer, pl_module):
            (path := kept.kept[0].path).unlink()
            self.path = path

    kept, remove = ParetoCheckpoint(tmp_path / "m", TWO, from_start=True), Remove()
    with pytest.warns(FairnessWarning, match="not there any more"):
        fit(tmp_path, [remove, kept], max_epochs=1)
    assert remove.path not in {model.path for model in kept.kept}


class SingleGroup(L.Callback):
    """From the second epoch on validation has no rows of a group, so that there is no gap."""

    def on_validation_batch_start(self, trainer, pl_module, batch, *_):
        if trainer.current_epoch >= 1:
            batch.sensitive[:, 0] = 0


def test_models_without_a_criterion_are_left_out_by_name(tmp_path):
    kept = ParetoCheckpoint(tmp_path / "m", TWO, from_start=True)
    # The figure of the first epoch, which the Trainer goes on showing, is not taken for a new one.
    with pytest.warns(FairnessWarning, match=f"no finite value of {GAP}/member=") as found:
        fit(tmp_path, [SingleGroup(), kept], max_epochs=3)
    said = [str(warning.message) for warning in found]
    for k in range(4):
        for epoch in (1, 2):
            assert sum(f"member={k} in epoch {epoch};" in text for text in said) == 1
    assert {model.epoch for model in kept.kept} == {0}


def test_epochs_that_the_monitor_does_not_count_are_left_out(tmp_path):
    kept = ParetoCheckpoint(tmp_path / "m", TWO, from_start=True)
    monitor = FairnessMonitor(table=False, every_n_epochs=2)
    trainer = quiet_trainer(tmp_path, callbacks=[monitor, kept], max_epochs=6)
    trainer.fit(FairModule(Net(), SPEC, learning_rate=0.05), *loaders())
    assert {model.epoch for model in kept.kept} <= {1, 3, 5}
    trainer.validate(trainer.lightning_module, BatchLoader(make_batch(50), 50), verbose=False)
    assert {model.epoch for model in kept.kept} <= {1, 3, 5}


def test_nothing_kept_is_said(tmp_path):
    kept = ParetoCheckpoint(tmp_path / "m", TWO)
    with pytest.warns(FairnessWarning, match="no model was kept"):
        fit(tmp_path, [LambdaRamp(total_steps=1000), kept], max_epochs=1)
    assert not kept.kept and not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(criteria={}), "criteria: found none"),
        (dict(criteria={ACCURACY: "up"}), "criteria.*'up'"),
        (dict(criteria={"val/loss/task": "min"}), "reference: found none for 'val/loss/task'"),
        (dict(criteria={AMOUNT: "min"}), f"reference: found none for '{AMOUNT}'"),
        (dict(criteria=TWO, reference={"val/acc": 0.5}), "did you mean 'val/accuracy'"),
        (dict(criteria=TWO, reference={GAP: float("inf")}), "reference.*inf"),
        (dict(criteria=TWO, keep=0), "keep: found 0"),
        (dict(criteria=TWO, figures_every_n_epochs=-1), "figures_every_n_epochs: found -1"),
    ],
)
def test_mistakes_have_named_errors(tmp_path, options, words):
    with pytest.raises(ArgumentError, match=words):
        ParetoCheckpoint(tmp_path, **options)


def test_unknown_figures_and_modules_are_named(tmp_path):
    typo = ParetoCheckpoint(tmp_path, {ACCURACY: "max", GAP.replace("sex", "sexx"): "min"})
    with pytest.raises(ArgumentError, match=r"did you mean 'val/fairness/.*sex'"):
        fit(tmp_path, [typo])
    mean = ParetoCheckpoint(tmp_path, {"val/loss/total": "min"}, reference={"val/loss/total": 9})
    fit(tmp_path, [mean])

    class Bare(L.LightningModule):
        pass

    with pytest.raises(SetupError, match="Bare without a network"):
        typo.setup(quiet_trainer(tmp_path), Bare(), "fit")


def test_costs_of_criteria():
    criteria = Criteria.of(TWO, {ACCURACY: 0.8})
    assert criteria.costs([{ACCURACY: 0.9, GAP: 0.1}]).tolist() == [[-0.9, 0.1]]
    assert criteria.corner.tolist() == [-0.8, 1.0]


def kept_by(devices, root):
    root.mkdir()
    torch.manual_seed(0)
    batch = make_batch(64, seed=4)

    class Record(L.Callback):
        def on_fit_end(self, trainer, pl_module):
            torch.save([tuple(m[:3]) for m in kept.kept], root / f"{trainer.global_rank}.pt")

    kept = ParetoCheckpoint(root / "members", TWO, from_start=True)
    trainer = quiet_trainer(
        root,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp_fork",
        callbacks=[FrontMonitor(), kept, Record()],
    )
    module = front().double()
    batch = batch._replace(inputs=(batch.inputs[0].double(), batch.inputs[1]))
    trainer.fit(module, BatchLoader(batch, 64 // devices), BatchLoader(batch, 64 // devices))
    return [torch.load(root / f"{rank}.pt") for rank in range(devices)]


def test_two_ranks_keep_what_one_process_keeps(tmp_path):
    (alone,) = kept_by(1, tmp_path / "1")
    one, two = kept_by(2, tmp_path / "2")
    assert one == two and len(one) > 0
    assert [model[:2] for model in one] == [model[:2] for model in alone]
    assert files(tmp_path / "1" / "members") == files(tmp_path / "2" / "members")
