"""A decision is read with the front that it was made on, and with no other.

That the page saves such files is tested in `tests/report/test_front_html.py`.
"""

import json
from datetime import timedelta

import pytest
from helpers import decision_entry

from fairlightning.exceptions import DataError
from fairlightning.metrics import Record
from fairlightning.verification import (
    Criterion,
    Front,
    FrontPoint,
    read_decision,
    read_front,
    write_front,
)

GAP = "demographic_parity_difference"
CRITERIA = (Criterion("accuracy"), Criterion(GAP, "sex"))


def point(name, accuracy, gap):
    records = tuple(
        Record(stage, metric, attribute, None, value, None, None, 100)
        for stage in ("val", "test")
        for metric, attribute, value in (("accuracy", None, accuracy), (GAP, "sex", gap))
    )
    return FrontPoint(name, {}, records, f"{name}.pt", "load it")


@pytest.fixture
def front(tmp_path):
    points = (point("a", 0.8, 0.2), point("b", 0.7, 0.0))
    write_front(tmp_path / "front.json", Front("t", CRITERIA, points))
    return tmp_path / "front.json"


@pytest.fixture
def entry(front):
    return decision_entry(front.parent, read_front(front), point("b", 0.7, 0.0))


def read(entry, front):
    path = front.with_name("decision.json")
    path.write_text(json.dumps(entry), encoding="utf-8")
    return read_decision(path, front)


def test_decision_names_the_model_of_the_front(entry, front):
    decision = read(entry, front)
    assert decision.point == point("b", 0.7, 0.0)
    assert decision.front.title == "t"
    assert (decision.how, decision.reason, decision.by) == ("manual", "no gap at all", "Ann")
    assert decision.time.utcoffset() == timedelta(0)


def test_decision_on_another_front_is_refused(entry, front):
    front.write_text(front.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"SHA-256.*decide anew"):
        read(entry, front)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"version": 2}, "version 2"),
        ({"chosen": {"id": "c"}}, "the model 'c'"),
        ({"values": {"val": [], "test": []}}, "other figures of b on val"),
        ({"reason": " "}, "without how, reason or name"),
        ({"by": ""}, "without how, reason or name"),
        ({"how": "dice"}, "without how, reason or name"),
        ({"time": "yesterday"}, "cannot be read"),
        ({"weights": None, "values": None}, "cannot be read"),
    ],
)
def test_decision_that_was_changed_is_refused(entry, front, change, found):
    with pytest.raises(DataError, match=found):
        read(entry | change, front)


def test_files_that_are_missing_or_no_json_are_named(entry, front):
    with pytest.raises(DataError, match=r"decision\.json.*no such file"):
        read_decision(front.with_name("decision.json"), front)
    front.with_name("decision.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"decision\.json.*cannot be read"):
        read_decision(front.with_name("decision.json"), front)
