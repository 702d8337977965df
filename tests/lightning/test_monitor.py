"""FairnessMonitor beyond counting: tasks, modules without our mixins, figures, layouts."""

import re

import lightning as L
import pandas as pd
import pytest
import torch
from helpers import GROUPS, Both, loaders, make_batch, quiet_trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch import nn

from fairlightning.callbacks import FairnessMonitor
from fairlightning.data import BatchLoader
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.metrics import INTERVALS, FairnessMetrics

SEX = "val/groups/selection_rate/sex=F"


class Plain(L.LightningModule):
    """A user's module that knows nothing of fairness."""

    outputs = 1

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, self.outputs)

    def task_loss(self, found, batch):
        return nn.functional.binary_cross_entropy_with_logits(found[:, 0], batch.target.float())

    def training_step(self, batch, batch_idx):
        return self.task_loss(self.net(batch.inputs[0]), batch)

    def validation_step(self, batch, batch_idx):
        return {"found": self.net(batch.inputs[0])}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Classes(Plain):
    outputs = 3

    def task_loss(self, found, batch):
        return nn.functional.cross_entropy(found, batch.target)


class Amounts(Plain):
    def task_loss(self, found, batch):
        return nn.functional.mse_loss(found[:, 0], batch.target)


def extract(module, outputs, batch):
    return {
        "logits": outputs["found"],
        "target": batch.target,
        "sensitive": batch.sensitive,
        "weight": batch.weight,
    }


def with_target(target, rows=256):
    batch = make_batch(rows, seed=9)
    return batch._replace(target=target(batch))


def fit(tmp_path, module, monitor, validation=None, **options):
    train = BatchLoader(validation or make_batch(256), 32)
    trainer = quiet_trainer(tmp_path, callbacks=[monitor], **options)
    trainer.fit(module, train, BatchLoader(validation or make_batch(100, seed=9), 50))
    return trainer


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def test_a_module_without_mixins_is_monitored_through_extract(tmp_path):
    module = Plain()
    monitor = FairnessMonitor(["val"], groups=GROUPS, extract=extract, table=False)
    trainer = fit(tmp_path, module, monitor)
    expected = FairnessMetrics(GROUPS, "val")
    batch = make_batch(100, seed=9)
    for rows in (slice(0, 50), slice(50, 100)):
        with torch.no_grad():
            logits = module.net(batch.inputs[0][rows])
        expected.update(logits, batch.target[rows], batch.sensitive[rows])
    assert monitor.records["val"] == expected.records(intervals=INTERVALS)
    assert SEX in trainer.callback_metrics
    assert not any("/loss/" in name for name in trainer.callback_metrics)


def test_without_groups_or_extract_it_says_what_is_missing(tmp_path):
    with pytest.raises(SetupError, match="without a fairness module"):
        fit(tmp_path, Plain(), FairnessMonitor(["val"], extract=extract))
    with pytest.raises(SetupError, match="fairness mixins"):
        fit(tmp_path, Plain(), FairnessMonitor(["val"], groups=GROUPS))


def test_several_classes(tmp_path):
    batch = with_target(lambda b: (b.inputs[0][:, 0] > 0).long() + (b.inputs[0][:, 1] > 0))
    monitor = FairnessMonitor(["val"], groups=GROUPS, extract=extract, table=True)
    module = Classes()
    fit(tmp_path, module, monitor, batch, max_epochs=3)
    found = {r.key[1:]: r for r in monitor.records["val"]}
    with torch.no_grad():
        decision = module.net(batch.inputs[0]).argmax(1)
    female = batch.sensitive[:, 0] == 0
    rate = (decision[female] == 2).double().mean().item()
    record = found["class_2_selection_rate", "sex", "sex=F"]
    assert record.value == pytest.approx(rate)
    assert record.low <= rate <= record.high
    assert record.low < record.high
    gaps = [
        abs((decision[female] == c).double().mean() - (decision[~female] == c).double().mean())
        for c in range(3)
    ]
    parity = found["demographic_parity_difference", "sex", None]
    assert parity.value == pytest.approx(max(gaps).item())
    assert parity.low <= parity.value <= parity.high
    right = (decision == batch.target).double()
    assert found["accuracy", None, None].value == pytest.approx(right.mean().item())
    worst = min(right[female].mean(), right[~female].mean()).item()
    assert found["worst_group_accuracy", "sex", None].value == pytest.approx(worst)


def test_amounts(tmp_path):
    batch = with_target(lambda b: 100 * b.inputs[0][:, 0] + 50 * b.sensitive[:, 0])
    monitor = FairnessMonitor(["val"], groups=GROUPS, extract=extract, table=True)
    module = Amounts()
    fit(tmp_path, module, monitor, batch)
    found = {r.key[1:]: r for r in monitor.records["val"]}
    with torch.no_grad():
        residual = (module.net(batch.inputs[0])[:, 0] - batch.target).double()
    female = batch.sensitive[:, 0] == 0
    means = [residual[female].mean().item(), residual[~female].mean().item()]
    assert found["mean_residual", "sex", "sex=F"].value == pytest.approx(means[0])
    gap = found["mean_residual_difference", "sex", None]
    assert gap.value == pytest.approx(abs(means[0] - means[1]))
    assert gap.low < 50 < gap.high
    errors = [residual[female].abs().mean().item(), residual[~female].abs().mean().item()]
    assert found["worst_group_mean_absolute_error", "sex", None].value == pytest.approx(max(errors))


def test_the_task_can_be_told_and_is_checked(tmp_path):
    batch = with_target(lambda b: b.inputs[0][:, 0].round().clamp(0, 3).long())
    with pytest.raises(ArgumentError, match="integer targets from 0 to"):
        fit(tmp_path, Amounts(), FairnessMonitor(["val"], groups=GROUPS, extract=extract), batch)
    monitor = FairnessMonitor(["val"], task="multiclass", groups=GROUPS, extract=extract)
    with pytest.raises(ArgumentError, match="'multiclass' with 1 output"):
        fit(tmp_path, Plain(), monitor)
    with pytest.raises(ArgumentError, match="did you mean 'regression'"):
        FairnessMonitor(task="regresion")
    with pytest.raises(ArgumentError, match="every_n_epochs"):
        FairnessMonitor(every_n_epochs=0)
    with pytest.raises(ArgumentError, match="group_metrics"):
        FairnessMonitor(group_metrics=["selection"])


def test_counts_every_n_epochs_and_in_the_last_but_losses_always(tmp_path):
    logger = CSVLogger(tmp_path, "log", "")
    monitor = FairnessMonitor(["val"], table=False, every_n_epochs=2)
    trainer = quiet_trainer(tmp_path, callbacks=[monitor], max_epochs=5, logger=logger)
    trainer.fit(Both(), *loaders())
    logger.save()
    table = pd.read_csv(f"{logger.log_dir}/metrics.csv")
    assert table[table[SEX].notna()].epoch.tolist() == [1, 3, 4]
    assert table[table["val/loss/total"].notna()].epoch.tolist() == [0, 1, 2, 3, 4]


def test_tensorboard_gets_scalars_figures_and_a_layout(tmp_path):
    board, csv = TensorBoardLogger(tmp_path, "", ""), CSVLogger(tmp_path, "csv", "")
    monitor = FairnessMonitor(["val"], table=False, figures_every_n_epochs=2)
    trainer = quiet_trainer(tmp_path, callbacks=[monitor], max_epochs=3, logger=[board, csv])
    module = Both()
    trainer.fit(module, *loaders())
    found = events(board.log_dir)
    tags = found.Tags()
    images = {
        "val/figures/gaps",
        "val/figures/rates/sex",
        "val/figures/rates/race",
        "val/figures/rates/sex & race",
        "val/figures/selection_rate/sex & race",
        "val/figures/scores/sex",
        "val/figures/scores/race",
        "val/figures/calibration/sex",
        "val/figures/calibration/race",
    }
    assert set(tags["images"]) == images
    steps = [image.step for image in found.Images("val/figures/rates/sex")]
    assert steps == [16, 24]  # epochs 2 and 3, the last
    assert len(found.Scalars(SEX)) == 3
    content = found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout = layout_pb2.Layout.FromString(content)
    charts = {chart.title: chart.multiline.tag for chart in layout.category[0].chart}
    assert layout.category[0].title == "val"
    names = charts["selection rate by sex"]
    assert len(names) == 2
    assert all(any(re.match(name, tag) for tag in tags["scalars"]) for name in names)
    trainer.test(module, BatchLoader(make_batch(100, seed=9), 50), verbose=False)
    assert "test" not in monitor.records


def test_intervals_are_there_once_training_has_ended(tmp_path):
    monitor = FairnessMonitor(table=False)
    trainer = quiet_trainer(tmp_path, callbacks=[monitor])
    trainer.fit(Both(), *loaders())
    accuracy = next(r for r in monitor.records["val"] if r.metric == "accuracy")
    assert accuracy.low < accuracy.value < accuracy.high


def test_no_figure_is_drawn_for_nobody(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "fairlightning.callbacks.pictures.rates_figure", lambda *a, **k: drawn.append(a)
    )
    monitor = FairnessMonitor(["val"], table=False, figures_every_n_epochs=1)
    fit(tmp_path, Both(), monitor, logger=CSVLogger(tmp_path))
    assert drawn == []
