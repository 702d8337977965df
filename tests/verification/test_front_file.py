"""The file of a front: what is read is what was written, and what is wrong with it is named."""

import json

import numpy as np
import pytest

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.metrics import Record
from fairlightning.verification import (
    Criterion,
    Front,
    FrontLimit,
    FrontPoint,
    read_front,
    write_front,
)

GAP = "demographic_parity_difference"
CRITERIA = (Criterion("accuracy"), Criterion(GAP, "sex"))
# Accuracy and gap on val; on test both are 0.01 worse.
FIGURES = {"member=0": (0.85, 0.2), "member=1": (0.84, 0.1), "member=2": (0.83, 0.15)}


def records(accuracy, gap):
    made = []
    for stage, worse in (("val", 0.0), ("test", 0.01)):
        made.append(Record(stage, "accuracy", None, None, accuracy - worse, 0.8, 0.9, 100))
        made.append(Record(stage, GAP, "sex", None, gap + worse, 0.0, None, 40))
        made.append(Record(stage, "selection_rate", "sex", "sex=f", None, None, None, 0))
    return tuple(made)


def front(**changes):
    points = tuple(
        FrontPoint(name, {"strength": 0.1 * k}, records(*figures), f"{name}.pt", "load", k, 3)
        for k, (name, figures) in enumerate(FIGURES.items())
    )
    limit = FrontLimit(GAP, "sex", "test", ((0.85, 0.0), (0.86, 0.2)))
    options = dict(title="a", criteria=CRITERIA, points=points, baseline_id="member=0", limit=limit)
    return Front(**(options | changes))


def test_what_is_read_is_what_was_written(tmp_path):
    for made in (front(), front(limit=None, baseline_id=None)):
        write_front(tmp_path / "front.json", made)
        assert read_front(tmp_path / "front.json") == made


def test_costs_front_and_hypervolume():
    made = front()
    assert made.costs("val") == pytest.approx(np.array([[0.15, 0.2], [0.16, 0.1], [0.17, 0.15]]))
    assert made.costs("test")[0] == pytest.approx([0.16, 0.21])
    assert made.on_front("val").tolist() == [True, True, False]
    assert made.reference("val") == pytest.approx([0.2, 0.2])
    # (0.20 - 0.16) x (0.2 - 0.1); the baseline itself adds nothing to its own window.
    assert made.hypervolume("val") == pytest.approx(0.004)
    assert made.window_share("val") == pytest.approx(0.004 / (0.05 * 0.2))
    assert made.hypervolume("val", [0.17, 0.3]) == pytest.approx(0.02 * 0.1 + 0.01 * 0.1)
    assert made.baseline.id == "member=0"


def test_a_share_counts_the_models_chosen_on_validation_alone():
    lucky = FrontPoint(
        "lucky",
        {},
        tuple(
            r._replace(value={"accuracy": 0.9, GAP: 0.0}[r.metric])
            if r.stage == "test" and r.group is None
            else r
            for r in records(0.8, 0.3)
        ),
        "lucky.pt",
        "load",
    )
    made = front(points=(*front().points, lucky))
    assert made.window_share("test", chosen_on="val") == front().window_share("test")
    assert made.window_share("test") > 1


def test_a_front_that_cannot_be_used_is_refused():
    point = front().points[0]
    with pytest.raises(DataError, match="points: found 2, 1 of them different"):
        front(points=(point, point))
    with pytest.raises(DataError, match="baseline: found 'member=7'"):
        front(baseline_id="member=7")
    with pytest.raises(DataError, match="no record of accuracy of race on val"):
        front(criteria=(*CRITERIA, Criterion("accuracy", "race")))
    with pytest.raises(ArgumentError, match="one end is better"):
        Criterion("selection_rate")
    with pytest.raises(ArgumentError, match="against a baseline"):
        front(baseline_id=None).hypervolume("val")
    unknown = tuple(r._replace(value=None) for r in point.records)
    with pytest.raises(DataError, match="accuracy not estimable on val"):
        front(points=(FrontPoint("member=0", {}, unknown, "", ""),)).costs("val")
    with pytest.raises(DataError, match="a figure twice"):
        FrontPoint("a", {}, point.records * 2, "", "")


def drop(content, *path):
    for key in path[:-1]:
        content = content[key]
    del content[path[-1]]


def put(content, value, *path):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: put(c, 2, "version"), "version 2"),
        (lambda c: drop(c, "criteria"), "no 'criteria' in the file"),
        (lambda c: put(c, 1, "weights"), "an unknown 'weights' in the file"),
        (lambda c: put(c, "0.8", "points", 1, "records", 0, "value"), r"points\[1\].records\[0\]"),
        (lambda c: put(c, True, "points", 0, "member"), r"True at points\[0\].member"),
        (lambda c: put(c, [1], "points", 0, "settings", "seed"), r"points\[0\].settings.seed"),
        (lambda c: put(c, [0.1], "limit", "points", 1), r"1 numbers at limit.points\[1\]"),
        (lambda c: put(c, float("nan"), "points", 0, "records", 0, "value"), "NaN is no number"),
        (lambda c: put(c, "support", "criteria", 0, "metric"), "criterion: found 'support'"),
        (lambda c: put(c, "x", "baseline"), "baseline: found 'x'"),
    ],
)
def test_a_malformed_file_is_named_with_the_entry(tmp_path, spoil, message):
    path = tmp_path / "front.json"
    write_front(path, front())
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_front(path)
    assert str(path) in str(caught.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_front(tmp_path / "front.json")
    (tmp_path / "front.json").write_text("[1")
    with pytest.raises(DataError, match="no JSON"):
        read_front(tmp_path / "front.json")
    (tmp_path / "front.json").write_text("[1]")
    with pytest.raises(DataError, match=r"\[1\] at the file"):
        read_front(tmp_path / "front.json")
