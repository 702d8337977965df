"""Intervals of figures of scores: do they hold the truth, whatever the scores are like?"""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fairlightning.groups import GroupSpec
from fairlightning.metrics import GroupCounts
from fairlightning.metrics.intervals import group_intervals

DRAWS = 60


def counted(logits, target, group, weight=None):
    spec = GroupSpec({"draw": [str(number) for number in range(int(group.max()) + 2)]})
    metric = GroupCounts(spec)
    metric.update(logits, target, group.unsqueeze(1), weight)
    return metric.compute().partition(spec, ("draw",))


def coverage(interval, truth):
    """Share of the draws; the last group has no rows."""
    return ((interval.low <= truth) & (truth <= interval.high))[:-1].double().mean().item()


@pytest.mark.parametrize(
    ("centre", "spread", "rows", "positive"),
    [(0.0, 1.0, 100, 0.5), (-5.0, 0.25, 1000, 0.1), (12.0, 0.02, 200, 0.5)],
)
def test_areas_hold_the_truth_wherever_the_logits_lie(centre, spread, rows, positive):
    rng = torch.Generator().manual_seed(0)
    group = torch.arange(DRAWS).repeat_interleave(rows)
    target = (torch.rand(len(group), generator=rng) < positive).long()
    noise = torch.randn(len(group), generator=rng, dtype=torch.float64)
    tables = counted(centre + spread * (noise + target), target, group)
    found = group_intervals(tables, num_resamples=400)
    for name in ("auroc", "auroc_bpsn", "auroc_bnsp"):
        assert coverage(found[name], norm.cdf(1 / np.sqrt(2))) >= 0.9
        value = tables.rates()[name].rate
        assert ((found[name].low <= value) & (value <= found[name].high))[:-1].all()


def test_areas_of_a_few_rows_far_from_the_others_are_known_as_if_alone():
    rng = torch.Generator().manual_seed(1)
    few, many = torch.randn(100, generator=rng) / 50 - 8, torch.randn(20_000, generator=rng)
    target = torch.randint(0, 2, (20_100,), generator=rng)
    logits = torch.cat([few, many]) + target / 10
    group = torch.tensor([0] * 100 + [1] * 20_000)
    together = group_intervals(counted(logits, target, group))["auroc"]
    alone = group_intervals(counted(logits[:100], target[:100], group[:100]))["auroc"]
    for limits, expected in zip(together, alone, strict=True):
        assert limits[0].item() == pytest.approx(expected[0].item(), abs=0.02)


def test_weights_of_other_groups_do_not_move_the_mixture():
    rng = torch.Generator().manual_seed(2)
    group = torch.randint(0, 3, (6000,), generator=rng)
    target = torch.randint(0, 2, (6000,), generator=rng)
    logits = torch.randn(6000, generator=rng) + target * (1 + 2.0 * (group == 1))
    tables = counted(logits, target, group, torch.where(group == 1, 20.0, 1.0))
    found, rates = group_intervals(tables), tables.rates()
    for name in ("auroc", "auroc_bpsn", "auroc_bnsp"):
        inside = (found[name].low < rates[name].rate) & (rates[name].rate < found[name].high)
        assert inside[:-1].all()


@pytest.mark.parametrize("rows", [10, 30])
@pytest.mark.parametrize("score", [0.05, None])
def test_brier_scores_hold_the_truth(score, rows):
    rng = np.random.default_rng(0)
    draws = 200
    scores = rng.beta(0.5, 3, draws * rows) if score is None else np.full(draws * rows, score)
    target = torch.tensor(rng.random(draws * rows) < scores).long()
    group = torch.arange(draws).repeat_interleave(rows)
    tables = counted(torch.logit(torch.tensor(scores)), target, group)
    found = group_intervals(tables, num_resamples=400)["brier"]
    # The mean of p(1 − p), as scores are calibrated; a Beta distribution's second moment.
    truth = 0.05 * 0.95 if score else 1 / 7 - (0.5 * 1.5) / (3.5 * 4.5)
    assert coverage(found, truth) >= 0.93
