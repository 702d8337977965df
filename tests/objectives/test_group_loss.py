"""Group DRO, bounded group loss and calibration within groups, by known answers."""

import math

import numpy as np
import pytest
import torch
from helpers import quiet_trainer
from torch.nn import functional as F

from fairlightning.callbacks import MultiplierUpdate
from fairlightning.data import Batch, BatchLoader
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.score_figures import calibration_error
from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupCounts
from fairlightning.models import MLP
from fairlightning.module import FairModule
from fairlightning.objectives import BoundedGroupLoss, CalibrationPenalty, GroupDRO, Step

SEX = GroupSpec({"sex": ["F", "M"]})


def two_groups(first, second, unknown=0):
    logits = torch.tensor([first, second, *[0.0] * unknown], dtype=torch.float64)[:, None]
    group = torch.tensor([0, 1, *[-1] * unknown])[:, None]
    return Step(logits, torch.ones(2 + unknown, dtype=torch.long), group)


def test_weights_of_groups_follow_the_exponentiated_gradient():
    objective = GroupDRO(SEX, step_size=0.1).double()
    batch = two_groups(0.0, 3.0)
    high, low = F.softplus(-batch.logits[:, 0])
    assert torch.allclose(objective(batch).value, torch.zeros((), dtype=torch.float64))
    for step in range(1, 6):
        objective.update(objective.sums(batch))
        q = objective.group_weights
        assert torch.allclose(q[0] / q[1], torch.exp(0.1 * step * (high - low)))
    assert torch.allclose(objective(batch).value, q[0] * high + q[1] * low - (high + low) / 2)
    before = q.clone()
    only = Step(batch.logits[:1], batch.target[:1], batch.sensitive[:1])
    objective.update(objective.sums(only))
    assert torch.equal(objective.group_weights, before)  # nobody to compare with
    # Rows of unknown group keep their part of the task loss: 2 of 4 rows are robust.
    mixed = two_groups(0.0, 3.0, unknown=2)
    task = F.softplus(-mixed.logits[:, 0]).mean()
    robust = (q * torch.stack([high, low])).sum()
    assert torch.allclose(task + objective(mixed).value, (robust + math.log(2)) / 2)


def test_bounded_group_loss_is_that_of_the_worst_group():
    constraint = BoundedGroupLoss(SEX, zeta=0.4, margin=0.1, memory=None).double()
    batch = two_groups(0.0, 3.0)
    constraint.update(constraint.sums(batch))
    strict = constraint.strict()
    assert strict.violation.tolist() == pytest.approx([math.log(2) - 0.3, 0.0486 - 0.3], abs=1e-4)
    assert strict.value.item() == pytest.approx(math.log(2))
    assert constraint.multipliers.value[0] > 0 == constraint.multipliers.value[1]
    with pytest.raises(ArgumentError, match="zeta"):
        BoundedGroupLoss(SEX, zeta=0.1, margin=0.1)


def test_calibration_error_is_that_of_the_metric_where_scores_lie_on_centres():
    generator = np.random.default_rng(0)
    centre = generator.integers(1, 9, 400) / 9
    logits = torch.tensor(np.log(centre / (1 - centre)))[:, None]
    target = torch.tensor(generator.random(400) < centre**2).long()
    group = torch.tensor(generator.integers(0, 2, 400))[:, None]
    found = CalibrationPenalty(SEX, bins=10, power=1, debiased=False)(Step(logits, target, group))
    by_group = []
    for g in range(2):
        inside = group[:, 0].numpy() == g
        error = 0.0
        for value in np.unique(centre):
            at = inside & (centre == value)
            error += at.sum() / inside.sum() * abs(value - target.numpy()[at].mean())
        by_group.append(error)
    assert found.value.item() == pytest.approx(np.mean(by_group))
    # One bin for each centre: the metric of the monitor says the same.
    metric = GroupCounts(SEX, score_bins=9)
    metric.update(logits[:, 0] + 1e-6, target, group)
    table = metric.compute().scores.partition(SEX, ("sex",))
    theirs = calibration_error(table.moments, table.rows).rate
    assert theirs.tolist() == pytest.approx(by_group, abs=1e-5)


def test_debiased_calibration_error_of_calibrated_scores_is_zero_in_the_mean():
    random = torch.Generator().manual_seed(0)
    found = {True: [], False: []}
    for _ in range(400):
        p = torch.rand(64, 1, generator=random, dtype=torch.float64)
        target = (torch.rand(64, generator=random) < p[:, 0]).long()
        batch = Step(p.logit(), target, (torch.arange(64) % 2)[:, None])
        for debiased, values in found.items():
            values.append(CalibrationPenalty(SEX, debiased=debiased)(batch).value.item())
    means = {debiased: np.mean(values) for debiased, values in found.items()}
    error = np.std(found[True]) / 20
    assert abs(means[True]) < 3 * error
    assert means[False] > 20 * error


def test_descent_calibrates_each_group():
    random = torch.Generator().manual_seed(0)
    truth = 1.5 * torch.randn(6000, 1, generator=random)
    target = (torch.rand(6000, generator=random) < truth.sigmoid()[:, 0]).long()
    group = (torch.rand(6000, generator=random) < 0.3).long()[:, None]
    # Scores that are too sure for one group and too high for the other.
    scores = torch.where(group == 0, 3 * truth, truth + 1)
    scale, shift = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    penalty, error = CalibrationPenalty(SEX), CalibrationPenalty(SEX, power=1, debiased=False)

    def mended(rows):
        code = group[rows]
        return Step(scale[code] * scores[rows] + shift[code], target[rows], code)

    everyone = torch.arange(6000)
    before = error(mended(everyone)).value.item()
    optimizer = torch.optim.Adam([scale, shift], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(mended(torch.randint(0, 6000, (512,), generator=random))).value.backward()
        optimizer.step()
    assert error(mended(everyone)).value.item() < before / 3
    assert scale.tolist() == pytest.approx([1 / 3, 1.0], abs=0.2)
    assert shift.tolist() == pytest.approx([0.0, -1.0], abs=0.25)


def harder_for_some(rows=3000):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 2, generator=random)
    group = (torch.rand(rows, generator=random) < 0.15).long()
    # What predicts the label of the many misleads on the few.
    signal = torch.where(group == 1, x[:, 1] - x[:, 0], x[:, 0] + 0.3 * x[:, 1])
    target = (signal + 0.3 * torch.randn(rows, generator=random) > 0).long()
    empty = torch.zeros(rows, 0, dtype=torch.long)
    return Batch((x, empty), target, group[:, None], None, torch.arange(rows))


def losses_by_group(module, data):
    with torch.no_grad():
        losses = F.binary_cross_entropy_with_logits(
            module(data.inputs)[:, 0], data.target.float(), reduction="none"
        )
    return [losses[data.sensitive[:, 0] == g].mean().item() for g in range(2)]


def test_training_lowers_the_worst_group_and_meets_the_bound(tmp_path):
    data = harder_for_some()
    made = {
        "erm": {},
        "dro": {"group_dro": GroupDRO(SEX, step_size=0.05)},
        "bound": {"bounded": BoundedGroupLoss(SEX, zeta=0.7)},
    }
    found = {}
    for name, objectives in made.items():
        torch.manual_seed(0)
        module = FairModule(MLP(2, [], hidden=()), SEX, objectives=objectives, learning_rate=0.02)
        trainer = quiet_trainer(tmp_path, max_epochs=12, callbacks=[MultiplierUpdate()])
        trainer.fit(module, BatchLoader(data, 256, shuffle=True, drop_last=True))
        found[name] = losses_by_group(module, data)
    assert made["dro"]["group_dro"].group_weights[1] > 2 * 0.15  # more than its share of rows
    assert found["erm"][1] > 1.0 > found["erm"][0]
    assert max(found["dro"]) < 0.7
    assert max(found["bound"]) < 0.71
    assert found["bound"][0] < found["dro"][0]  # no more is asked of the many than the bound
    module = FairModule(MLP(2, [], hidden=()), SEX, objectives={"group_dro": GroupDRO(SEX)})
    with pytest.raises(SetupError, match="group_dro, and nothing that moves"):
        quiet_trainer(tmp_path, max_epochs=1).fit(module, BatchLoader(data, 256))
