"""The probe finds what is there, and nothing where nothing is."""

import json

import numpy as np
import pytest
import torch
from helpers import command
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from fairlightning.data import biased_digits
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec
from fairlightning.metrics.recovery import balanced_accuracy, label_alone
from fairlightning.objectives import Adversary, Fairness, Step
from fairlightning.verification import probe, read_metrics

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b", "c"]})


def rows(n=600, seed=0):
    random = torch.Generator().manual_seed(seed)
    sex = (torch.rand(n, generator=random) < 0.3).long()
    race = torch.randint(0, 3, (n,), generator=random)
    target = torch.randint(0, 2, (n,), generator=random)
    noise = torch.randn(n, 6, generator=random)
    return noise, target, torch.stack([sex, race], 1)


def one(found, attribute, source="representation"):
    return next(f for f in found if (f.attribute, f.source) == (attribute, source))


@pytest.mark.parametrize("classifier", ["kernel", "linear"])
def test_it_recovers_what_is_there_and_nothing_else(classifier):
    noise, target, sensitive = rows()
    told = noise.clone()
    told[:, 0] = 1e-3 * (sensitive[:, 0] + 0.2 * noise[:, 0])  # however small it is
    found = probe(
        {"representation": told, "logits": noise[:, 1:2]},
        target,
        sensitive,
        GROUPS,
        classifier=classifier,
    )
    assert [(f.attribute, f.source) for f in found] == [
        (name, source) for name in ("sex", "race") for source in ("representation", "logits")
    ]
    assert one(found, "sex").accuracy > 0.97
    for attribute, source, chance in (
        ("sex", "logits", 1 / 2),
        ("race", "representation", 1 / 3),
        ("race", "logits", 1 / 3),
    ):
        result = one(found, attribute, source)
        assert result.chance == pytest.approx(chance)
        assert result.low - 0.03 <= chance <= result.high + 0.03
        assert result.support == 600


def test_a_curved_trace_is_found_by_kernel_and_trees_but_not_by_a_line():
    noise, target, sensitive = rows(300)
    sensitive[:, 0] = (noise[:, 0].abs() > 0.67).long()
    sources = {"representation": noise[:, :2]}
    options = {"attributes": ["sex"], "folds": 2}
    curved, trees, straight = (
        probe(sources, target, sensitive, GROUPS, classifier=c, **options)[0].accuracy
        for c in ("kernel", "trees", "linear")
    )
    assert min(curved, trees) > 0.85
    assert straight < 0.65


def test_small_and_unknown_groups_are_left_out_by_name():
    noise, target, sensitive = rows(100)
    sensitive[:, 1] = sensitive[:, 1].clamp_max(1)
    sensitive[:3, 1] = 2
    sensitive[3:10, 1] = -1
    race = one(probe({"representation": noise}, target, sensitive, GROUPS), "race")
    assert race.left_out == {"c": 3, "unknown": 7}
    assert (race.support, race.chance) == (90, 0.5)
    sensitive[:, 1] = 0
    alone = one(probe({"representation": noise}, target, sensitive, GROUPS), "race")
    assert (alone.accuracy, alone.low, alone.record("test").value) == (None, None, None)
    with pytest.raises(ArgumentError, match="folds"):
        probe({"representation": noise}, target, sensitive, GROUPS, folds=1)


def test_figures_agree_with_scikit_learn_and_with_resampling():
    random = np.random.default_rng(0)
    truth = random.choice(3, 400, p=[0.6, 0.3, 0.1])
    guess = np.where(random.random(400) < 0.7, truth, random.choice(3, 400))
    accuracy, low, high = balanced_accuracy(guess, truth, np.arange(3))
    assert accuracy == pytest.approx(balanced_accuracy_score(truth, guess))
    again = [random.integers(0, 400, 400) for _ in range(300)]
    ends = np.quantile([balanced_accuracy_score(truth[i], guess[i]) for i in again], [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(ends), abs=0.02)
    # The label is the group, but for one in ten.
    target = np.where(np.arange(400) % 10 == 0, 1 - (truth > 0), truth > 0).astype(int)
    best = max(
        balanced_accuracy_score(truth, np.array([a, b])[target]) for a in range(3) for b in range(3)
    )
    assert label_alone(truth, target, np.arange(3)) == pytest.approx(best)


def trained(data, weight, steps=1500):
    """A network on pixels, with an adversary that sees its representation and the label."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 8), nn.ReLU())
    top, fairness = nn.Linear(8, 1), Fairness(data.groups)
    fairness.add(
        "adversarial",
        Adversary(
            data.groups,
            in_features=8,
            hidden=(64,),
            criterion="equalized_odds",
            standardise=True,
            weight=weight,
        ),
    )
    network = {"params": [*body.parameters(), *top.parameters()], "lr": 1e-3}
    groups = [network, *fairness.parameter_groups(1e-3)]
    # Without momentum, which lets the two players circle round each other.
    optimizer = torch.optim.AdamW(groups, betas=(0.0, 0.99), weight_decay=0.03, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    train = data.batch("train")
    for step in range(steps):
        fairness.set_factor("adversarial", min(1.0, 0.1 + 1.5 * step / steps))
        batch = train.take(torch.randint(len(train.index), (128,)))
        h = body(batch.inputs)
        logits = top(h)
        task = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], batch.target.float())
        loss = fairness(task, Step(logits, batch.target, batch.sensitive, h, checked=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    test = data.batch("test")
    with torch.no_grad():
        h = body(test.inputs)
        accuracy = ((top(h)[:, 0] > 0) == (test.target == 1)).double().mean().item()
    [found] = probe({"representation": h}, test.target, test.sensitive, data.groups)
    return accuracy, found.accuracy


def test_the_adversary_takes_ink_out_of_the_representation():
    # Whether nothing is left differs from seed to seed: docs/benchmarks.md.
    data = biased_digits(strength=0.4, test_fraction=0.3, val_fraction=0.1)
    data.setup()
    accuracy, ink = trained(data, weight=0.0)
    fair_accuracy, fair_ink = trained(data, weight=1.0)
    assert ink > 0.8
    assert fair_ink < ink - 0.15
    assert fair_accuracy > accuracy - 0.1


def test_the_command_writes_what_was_recovered(tmp_path):
    arguments = "train dataset=biased_digits dataset.batch_size=540 model=cnn method=erm probe=true"
    trainer = "logger=none trainer.max_epochs=1 trainer.enable_progress_bar=false run_dir=run"
    done = command(*arguments.split(), *trainer.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "guessed by a fresh classifier" in done.stdout
    rows = json.loads((tmp_path / "run" / "probe.json").read_text())
    assert [row["source"] for row in rows] == ["representation", "logits"]
    records = {r.metric: r for r in read_metrics(tmp_path / "run" / "metrics.json")}
    for row in rows:
        record = records[f"probe_{row['source']}"]
        assert record[2:] == ("colour", None, row["accuracy"], row["low"], row["high"], 359)
        assert row["chance"] == 0.5
