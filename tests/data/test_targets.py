"""Targets of several classes and amounts, and continuous sensitive attributes."""

import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.data import BatchLoader
from fairlightning.data.bins import quantile_bins
from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.functional.tasks import Task


def test_classes_keep_their_order_and_share_of_every_split(module, table):
    data = module(
        target="job", positive=None, task="multiclass", classes=["cook", "nurse", "clerk"]
    )
    data.setup()
    assert data.task.classes == ("cook", "nurse", "clerk")
    assert data.task.outputs == 3
    for split in ("train", "validation", "test"):
        batch, frame = data.batch(split), data.frame(split)
        assert np.array(data.task.classes)[batch.target].tolist() == frame["job"].tolist()
        share = (batch.target == 0).double().mean().item()
        assert share == pytest.approx((table["job"] == "cook").mean(), abs=0.02)
    facts = data.describe()
    assert facts["task"] == "multiclass"
    assert sum(facts["shares"].values()) == pytest.approx(1)
    group = facts["groups"]["sex"]["sex=f"]
    rows = table[table["sex"] == "f"]
    assert group["shares"]["clerk"] == pytest.approx((rows["job"] == "clerk").mean())
    assert "task: multiclass" in data.report()
    numbers = module(
        source=table.assign(label=[2, 10, 1, 9] * 100), positive=None, task="multiclass"
    )
    numbers.setup()
    assert numbers.task.classes == ("1", "2", "9", "10")
    listed = module(
        source=table.assign(label=[2.0, 10.0, 1.0, 9.0] * 100),
        positive=None,
        task="ordinal",
        classes=[1.0, 2.0, 9.0, 10.0],
    )
    listed.setup()
    assert listed.task.classes == ("1", "2", "9", "10")


def test_ordinal_classes_go_from_low_to_high(module):
    steps = ["clerk", "cook", "nurse"]
    data = module(target="job", positive=None, task="ordinal", classes=steps)
    data.setup()
    assert data.task == Task("multiclass", tuple(steps), ordered=True) and data.task.outputs == 3
    assert data.describe()["task"] == data.task.name == "ordinal"
    unordered = module(target="job", positive=None, task="ordinal")
    with pytest.raises(DataError, match=r"classes: found nothing.*from low to high"):
        unordered.setup()
    with pytest.raises(ArgumentError, match="an order of classes alone"):
        Task("binary", ordered=True)


def test_amounts_are_learned_about_from_the_training_rows(module, table):
    data = module(target="hours", positive=None, task="regression")
    data.setup()
    train = data.frame("train")["hours"].to_numpy()
    assert data.batch("train").target.dtype == torch.float32
    assert data.task.center == pytest.approx(train.mean(), rel=1e-5)
    assert data.task.scale == pytest.approx(train.std(), rel=1e-5)
    means = [data.batch(split).target.mean().item() for split in ("train", "validation", "test")]
    assert np.ptp(means) < 1.5  # splits are stratified by quarters: chance alone gives more
    facts = data.describe()
    assert facts["mean"] == pytest.approx(table["hours"].mean(), rel=1e-5)
    assert facts["groups"]["race"]["race=a"]["mean"] == pytest.approx(
        table.loc[table["race"] == "a", "hours"].mean(), rel=1e-5
    )
    assert "mean 4" in data.report()


def test_continuous_attributes_have_values_and_bins(module, table):
    table = table.assign(age=table["age"].where(table.index % 10 > 0).astype(float))
    data = module(source=table, sensitive=["sex", "age"], continuous={"age": 3})
    data.setup()
    batch, frame = data.batch("train"), data.frame("train")
    age = frame["age"].to_numpy()
    expected = (age - np.nanmean(age)) / np.nanstd(age)
    assert np.allclose(batch.continuous[:, 0], expected, atol=1e-5, equal_nan=True)
    assert data.groups.continuous == ("age",)
    names, binned = quantile_bins(table["age"], 3)
    assert data.groups.to_dict()["age"] == names
    codes = [names.index(b) if isinstance(b, str) else -1 for b in binned.loc[frame.index]]
    assert batch.sensitive[:, 1].tolist() == codes
    rows = np.bincount(np.array(codes) + 1)[1:]
    assert rows.min() > 0.8 * rows.max()
    assert "age" not in data.feature_names
    picked = next(iter(BatchLoader(batch, 32, shuffle=True)))
    where = {index: k for k, index in enumerate(batch.index.tolist())}
    at = [where[index] for index in picked.index.tolist()]
    assert torch.equal(picked.continuous.nan_to_num(9.0), batch.continuous[at].nan_to_num(9.0))
    facts = data.describe()
    assert facts["continuous"] == ["age"]
    assert facts["unlisted_sensitive"] == {}
    assert facts["unknown_sensitive"]["age"] == 40
    with pytest.raises(DataError, match="found 1 bins of 4"):
        quantile_bins(pd.Series([0] * 8 + [1, 2], name="x"))


def test_amounts_that_float32_cannot_tell_apart_are_refused(module, table):
    source = table.assign(hours=1.7e9 + 20 * table["hours"])  # steps of 128, at a deviation of 200
    with pytest.raises(DataError, match=r"target 'hours': .* float32 .* subtract an offset"):
        module(source=source, target="hours", positive=None, task="regression").setup()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (dict(target="job", positive=None, task="multiclass", classes=["cook", "nurse"]), "clerk"),
        (dict(task="multiclass", positive=None), "two classes are task='binary'"),
        (dict(target="hours", task="regression"), "positive: found 'yes'"),
        (dict(classes=["no", "yes"]), "classes: found"),
        (dict(target="job", positive=None, task="regression"), "are no numbers"),
        (dict(sensitive=["sex", "race"], continuous=["race"]), "are no numbers"),
    ],
)
def test_what_does_not_fit_is_named(module, arguments, part):
    with pytest.raises(DataError) as caught:
        module(**arguments).setup()
    assert part in str(caught.value)
    with pytest.raises(ArgumentError, match="continuous: found 'age'"):
        module(continuous=["age"])
