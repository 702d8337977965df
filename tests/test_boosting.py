import builtins
import copy
import pickle

import lightgbm
import numpy as np
import pytest
import torch

from fairlightning.boosting import BoostedTrees, check_objectives, derivatives
from fairlightning.data import adult
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.objectives import Fairness, ParityPenalty
from fairlightning.objectives.base import Step


@pytest.fixture(scope="module")
def data():
    whole = adult(sensitive={"sex": ["Female", "Male"]})
    whole.setup()
    rows = whole.frame("train").sample(2000, random_state=0)
    module = adult(source=rows, sensitive={"sex": ["Female", "Male"]})
    module.setup()
    return module


def objectives(data, strength, criterion="demographic_parity"):
    fairness = Fairness(data.groups, strength=strength)
    fairness.add("parity", ParityPenalty(data.groups, criterion=criterion))
    return fairness


def trees(data, **options):
    options = {"rounds": 20, "ramp": 0.2, **options}
    return BoostedTrees(data.num_numeric, data.cardinalities, **options)


def fitted(data, strength, **options):
    fairness = objectives(data, strength)
    return trees(data, **options).fit(fairness, data.batch("train"), data.batch("validation"))


@pytest.mark.parametrize("criterion", ["demographic_parity", "equal_opportunity"])
def test_the_gradient_is_that_of_the_loss(data, criterion):
    batch = data.batch("train")
    fairness = objectives(data, 2.0, criterion)
    score = np.random.default_rng(0).normal(size=len(batch.target))

    def loss(score):
        logits = torch.tensor(score)
        step = Step(logits, batch.target, batch.sensitive)
        rows = torch.nn.functional.softplus(logits) - batch.target * logits
        return fairness(rows.mean(), step).item()

    gradient, curvature = derivatives(fairness, score, batch)
    assert (curvature > 0).all()
    for row in range(5):
        move = np.zeros_like(score)
        move[row] = 1e-3
        difference = (loss(score + move) - loss(score - move)) / 2e-3
        assert gradient[row] == pytest.approx(difference * len(score), abs=1e-4)


def test_without_a_penalty_it_is_lightgbm(data):
    model = fitted(data, 0.0, patience=20)
    batch = data.batch("train")
    inputs = torch.cat([part.double() for part in batch.inputs], 1).numpy()
    columns = list(range(data.num_numeric, inputs.shape[1]))
    known = lightgbm.Dataset(inputs, batch.target.numpy(), categorical_feature=columns)
    own = lightgbm.train({**model.params, "objective": "binary"}, known, model.best_round)
    ours = model.predict_proba(batch.inputs)[:, 1]
    assert np.abs(ours - own.predict(inputs)).max() < 1e-3


def test_the_unit_of_the_row_weights_does_not_matter(data):
    batch, validation = data.batch("train"), data.batch("validation")
    weight = 0.5 + torch.rand(len(batch.target), generator=torch.Generator().manual_seed(0))
    scores = [
        trees(data, rounds=5).fit(
            objectives(data, 1.0), batch._replace(weight=weight * unit), validation
        )(batch.inputs)[0]
        for unit in (1.0, 2.0**-14)
    ]
    assert scores[0].unique().numel() > 10
    torch.testing.assert_close(*scores)


def test_the_gap_falls_with_the_strength(data):
    batch = data.batch("train")
    gaps = []
    for strength in (0.0, 0.5, 2.0):
        score = fitted(data, strength).predict_proba(batch.inputs)[:, 1]
        sex = batch.sensitive[:, 0].numpy()
        gaps.append(abs(score[sex == 0].mean() - score[sex == 1].mean()))
    assert gaps[0] > gaps[1] > gaps[2]


def test_saved_trees_predict_the_same(data, tmp_path):
    model = fitted(data, 0.5)
    torch.save(model.state_dict(), tmp_path / "trees.pt")
    again = trees(data)
    again.load_state_dict(torch.load(tmp_path / "trees.pt", weights_only=True))
    inputs = data.batch("test").inputs
    assert torch.equal(model(inputs)[0], again(inputs)[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_predict_the_same(data, copied):
    inputs = data.batch("test").inputs
    model = fitted(data, 2.0)
    assert torch.equal(copied(model)(inputs)[0], model(inputs)[0])
    again = copied(trees(data)).fit(
        objectives(data, 2.0), data.batch("train"), data.batch("validation")
    )
    assert torch.equal(again(inputs)[0], model(inputs)[0])


def test_refusals(data, monkeypatch):
    with pytest.raises(SetupError, match="call fit"):
        trees(data)(data.batch("test").inputs)
    for name, value in (("rounds", 0), ("num_leaves", 1), ("min_child_samples", -1)):
        with pytest.raises(ArgumentError, match=f"{name}: found {value}"):
            trees(data, **{name: value})
    train = data.batch("train")
    weightless = train._replace(weight=torch.zeros(len(train.target)))
    with pytest.raises(ArgumentError, match="not both labels"):
        trees(data).fit(objectives(data, 0.0), weightless, data.batch("validation"))
    with pytest.raises(ArgumentError, match="adversarial"):
        trees(data).sizes["representation"]
    with pytest.raises(ArgumentError, match="one strength"):
        check_objectives(Fairness(data.groups, strength=[0.0, 1.0]))
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "lightgbm":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SetupError, match=r"fairlightning\[trees\]"):
        trees(data)
