"""Samplings put groups into the shares that they promise, on every rank and after a resume."""

from itertools import chain
from unittest.mock import patch

import pytest
import torch

from fairlightning.convex import reweigh
from fairlightning.data import Balanced, Batch, BatchLoader, FairBatch, reweighing
from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.groups import GroupSpec

GROUPS = GroupSpec({"sex": ["f", "m"]})


@pytest.fixture(scope="module")
def adult_rows(adult_data):
    """2,000 rows of Adult in which every tenth sex is unknown."""
    batch = adult_data.batch("train").take(slice(2000))
    sensitive = batch.sensitive[:, :1].clone()
    sensitive[::10] = -1
    return batch._replace(sensitive=sensitive)


def epoch(data, sampling, world=1, rank=0, size=64, number=0):
    loader = BatchLoader(data, size, shuffle=True, drop_last=True, seed=5, sampling=sampling)
    loader.set_epoch(number)
    with patch("fairlightning.data.loader.rank_and_world", lambda: (rank, world)):
        return list(loader)


@pytest.mark.parametrize("label", [False, True])
def test_every_rank_sees_balanced_batches(adult_rows, label):
    whole = adult_rows.sensitive[:, 0], adult_rows.target
    unknown = (whole[0] < 0).double().mean()
    rates = [whole[1][whole[0] == g].double().mean() for g in (0, 1)]
    parts = [epoch(adult_rows, Balanced(GROUPS, label=label), 2, rank) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 2000 // 128
    for batch in parts[0] + parts[1]:
        sex, y = batch.sensitive[:, 0], batch.target
        wanted = 64 * (1 - unknown) / 2
        for g in (0, 1):
            # Each of the two labels of a group may be off by one row.
            assert abs((sex == g).sum() - wanted) <= 2
            rate = 0.5 if label else rates[g]
            assert abs((y[sex == g] == 1).sum() - rate * wanted) <= 2
    seen = torch.cat([batch.index for batch in parts[0] + parts[1]])
    women = seen[torch.isin(seen, adult_rows.index[whole[0] == 0])]
    times = women.unique(return_counts=True)[1]
    # All women come, each about as often as another; men who fit.
    assert len(times) == (whole[0] == 0).sum() or label
    assert label or times.max() - times.min() <= 2


def test_the_order_follows_from_seed_and_epoch(adult_rows):
    def rows(number):
        return [b.index.tolist() for b in epoch(adult_rows, Balanced(GROUPS), number=number)]

    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert rows(2) == rows(2) != rows(3)
    assert torch.equal(state, torch.get_rng_state())
    both = [set(chain(*rows(number))) for number in (2, 3)]
    assert both[0] - both[1]  # men who are left out of one epoch are in another


def test_reweighing_is_that_of_kamiran_and_calders(adult_rows):
    y, sex = adult_rows.target, adult_rows.sensitive[:, 0]
    given = 0.5 + torch.rand(len(y), generator=torch.Generator().manual_seed(0)).double()
    found = reweighing(y, sex[:, None], GROUPS, weight=given)
    known = sex >= 0
    total = given[known].sum()
    for g in (0, 1):
        for label in (0, 1):
            cell = (sex == g) & (y == label)
            share = given[sex == g].sum() * given[known & (y == label)].sum() / total
            expected = given[cell] * share / given[cell].sum()
            torch.testing.assert_close(found[cell], expected)
    assert torch.equal(found[~known], given[~known])
    one = known.nonzero()[:, 0]
    convex = reweigh(y[one], sex[one][:, None], GROUPS, keep_groups=True, weight=given[one])
    torch.testing.assert_close(found[one], convex.weight, rtol=1e-4, atol=1e-4)


def test_reweighing_names_a_group_of_one_label():
    y, sex = torch.tensor([0, 1, 0, 0]), torch.tensor([[0], [0], [1], [1]])
    with pytest.raises(DataError, match="one label only in sex=m"):
        reweighing(y, sex, GROUPS)


@pytest.mark.parametrize("target", [torch.tensor([0, 1, 2]), torch.tensor([0.5, 1.0, 0.0])])
def test_labels_other_than_0_and_1_are_refused(target):
    sex = torch.tensor([[0], [1], [1]])
    with pytest.raises(ArgumentError, match="target: found labels from 0"):
        reweighing(target, sex, GROUPS)
    data = Batch(target, target, sex, None, torch.arange(3))
    for sampling in (Balanced(GROUPS), FairBatch(GROUPS)):
        with pytest.raises(ArgumentError, match="target: found labels from 0"):
            sampling.order(data, torch.Generator())


def test_groups_have_equal_parts_where_one_has_a_single_label():
    sex, y = torch.arange(200) % 2, torch.arange(200) // 2 % 2
    y = y * sex
    data = Batch(y, y, sex[:, None], None, torch.arange(200))
    order = Balanced(GROUPS, label=True).order(data, torch.Generator().manual_seed(0))
    assert sex[order].bincount().tolist() == [100, 100]
    assert y[order].sum() == 50


def observed(sampling, data, logits):
    """An epoch whose batches have the given logits."""
    sampling.order(data, torch.Generator().manual_seed(0))
    for rows in torch.arange(len(data.target)).split(300):
        part = data.take(rows)
        sampling.observe(sampling.sums(logits[rows, None], part.target, part.sensitive))
    sampling.begin(sampling._epoch + 1)
    return sampling.within_labels()


def test_shares_move_to_the_group_with_the_larger_loss(adult_rows):
    y, sex = adult_rows.target, adult_rows.sensitive[:, 0]
    start = torch.stack(
        [torch.stack([((sex == g) & (y == c)).sum() for g in (0, 1)]) for c in (0, 1)]
    ).double()
    start = start / start.sum(1, keepdim=True)
    # Women of label 1 have the larger loss, men of label 0 by less.
    logits = torch.where(y == 1, torch.where(sex == 0, -2.0, 2.0), torch.where(sex == 1, 1.0, 0.5))
    for criterion in ("equal_opportunity", "equalized_odds"):
        moved = observed(FairBatch(GROUPS, criterion=criterion, step=0.1), adult_rows, logits)
        torch.testing.assert_close(moved[1], start[1] + torch.tensor([0.1, -0.1]).double())
        torch.testing.assert_close(moved[0], start[0])
    logits = torch.where(y == 1, 0.0, torch.where(sex == 1, 4.0, -4.0))
    moved = observed(FairBatch(GROUPS, criterion="equalized_odds", step=0.1), adult_rows, logits)
    torch.testing.assert_close(moved[0], start[0] + torch.tensor([-0.1, 0.1]).double())


def test_demographic_parity_favours_the_group_that_is_selected_less(adult_rows):
    start = observed(FairBatch(GROUPS, step=1e-9), adult_rows, torch.zeros(2000))
    for least, logits in ((0, adult_rows.target.float()), (1, -adult_rows.target.float())):
        moved = observed(FairBatch(GROUPS, step=0.05), adult_rows, logits) - start
        expected = torch.full((2, 2), -0.05, dtype=torch.float64)
        expected[1, least] = expected[0, 1 - least] = 0.05
        torch.testing.assert_close(moved, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("third", [False, True])
def test_labels_keep_their_shares_where_a_group_has_no_row_of_one(third):
    groups = GroupSpec({"g": ["a", "b", "c"]})
    g = torch.arange(600) % (3 if third else 2)
    y = ((torch.arange(600) // 6) % 2) * (g > 0)
    data = Batch(y, y, g[:, None], None, torch.arange(600))
    start = observed(FairBatch(groups, step=1e-9), data, g.float())
    moved = observed(FairBatch(groups, step=0.05), data, g.float())
    torch.testing.assert_close(moved.sum(1), torch.ones(2, dtype=torch.float64))
    # The worst-off group has no row of label 1, so that the next one gains, if there is a third.
    wanted = [0, 0.05, -0.05] if third else [0, 0, 0]
    torch.testing.assert_close((moved - start)[1], torch.tensor(wanted).double(), atol=1e-8, rtol=0)


def test_a_group_keeps_a_tenth_of_its_share(adult_rows):
    start = observed(FairBatch(GROUPS, step=1e-9), adult_rows, torch.zeros(2000))
    sampling = FairBatch(GROUPS, criterion="equal_opportunity", step=0.4)
    for _ in range(3):
        shares = observed(sampling, adult_rows, adult_rows.sensitive[:, 0].float())
    least = start[1, 1].item() / 10
    assert shares[1].tolist() == pytest.approx([1 - least, least], abs=1e-7)


def test_the_epoch_has_the_shares_that_moved(adult_rows):
    sampling = FairBatch(GROUPS, criterion="equal_opportunity", step=0.3)
    y, sex = adult_rows.target, adult_rows.sensitive[:, 0]
    logits = torch.where(sex == 0, -1.0, 1.0)
    moved = observed(sampling, adult_rows, logits)
    batches = epoch(adult_rows, sampling, number=1)
    women = sum(((b.sensitive[:, 0] == 0) & (b.target == 1)).sum() for b in batches)
    known = sum(((b.sensitive[:, 0] >= 0) & (b.target == 1)).sum() for b in batches)
    assert women / known == pytest.approx(moved[1, 0].item(), abs=0.02)
    assert abs(moved[1, 0] - ((sex == 0) & (y == 1)).sum() / ((sex >= 0) & (y == 1)).sum()) > 0.29
