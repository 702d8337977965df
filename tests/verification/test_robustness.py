"""Shifts change what they say and nothing else; curves are what the metrics say of the rows."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.groups import GroupSpec
from fairlightning.metrics import Record
from fairlightning.verification import Criterion, Front, FrontPoint, evaluate
from fairlightning.verification.checklist import Evidence, Statement, checklist, read_statements
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Pair
from fairlightning.verification.protocol import criteria_evidence
from fairlightning.verification.results import Curve, SuccessCriterion
from fairlightning.verification.robustness import (
    lambda_sensitivity,
    mean_curves,
    shift_curves,
    threshold_curve,
)
from fairlightning.verification.shifts import Rows, ShiftSettings, shifts

SPEC = GroupSpec({"sex": ["f", "m"]})


@pytest.fixture(scope="module")
def case():
    """Rows with a numeric and a categorical feature, and two models that read them."""
    random = np.random.default_rng(0)
    size = 2000
    frame = pd.DataFrame(
        {"x": random.normal(size=size), "job": random.choice(["a", "b"], size), "year": 2020}
    )
    frame.loc[:499, "year"] = 2021
    sex = random.integers(0, 2, size)
    target = frame["x"].to_numpy() + sex > random.normal(size=size)

    def model(shift):
        def predict(rows):
            x = rows["x"].fillna(0).to_numpy(float) + 0.5 * (rows["job"] == "a").to_numpy()
            return 1 / (1 + np.exp(-(x + shift)))

        return predict

    models = [model(0.0), model(0.5)]
    scores = np.stack([predict(frame) for predict in models])
    codes = torch.tensor(sex)[:, None]
    pair = Pair(np.arange(size), target, codes, np.ones(size), scores)
    material = Material((pair,), (pair,), SPEC, "demographic_parity", ("sex",))
    rows = Rows(frame, target, sex, np.ones(size), ("x",), ("job",), 0)
    return rows, pair, models, material


def test_every_shift_changes_what_it_says(case):
    rows = case[0]
    found = {s.name: s for s in shifts(rows, ShiftSettings(column="year"))}
    of = {name: {c.label: c for c in s.conditions} for name, s in found.items()}
    flipped = of["label_noise"]["10 % flipped"].target
    assert np.mean(flipped != rows.target) == pytest.approx(0.1, abs=0.03)
    missing = of["missing_values"]["20 % missing"].frame
    assert missing[["x", "job"]].isna().mean().to_numpy() == pytest.approx(0.2, abs=0.04)
    assert missing["year"].equals(rows.frame["year"])
    noise = of["feature_noise"]["noise of 0.5 deviations"].frame["x"] - rows.frame["x"]
    assert noise.std() == pytest.approx(0.5 * rows.frame["x"].std(), rel=0.1)
    corrupted = of["feature_corruption"]["40 % of other rows"].frame["x"]
    assert np.mean(corrupted != rows.frame["x"]) == pytest.approx(0.4, abs=0.05)
    assert set(corrupted) <= set(rows.frame["x"])
    tilted = of["covariate_shift"]["weights exp(1 z)"].weight
    assert abs(np.corrcoef(np.log(tilted), rows.frame["x"])[0, 1]) > 0.99
    even = of["group_shift"]["100 % of the way"].weight
    assert np.bincount(rows.cells, even)[0] == pytest.approx(np.bincount(rows.cells, even)[1])
    assert of["column_shift"]["year=2021"].weight.sum() == 500
    for shift in found.values():
        strengths = [c.strength for c in shift.conditions]
        assert strengths == sorted(strengths)
    again = {s.name: s for s in shifts(rows, ShiftSettings())}
    assert again["column_shift"].omitted
    pd.testing.assert_frame_equal(missing, again["missing_values"].conditions[3].frame)


def test_curves_say_what_the_metrics_say(case):
    rows, pair, models, material = case
    settings = ShiftSettings(column="year", noise=(0.5,), missing=(0.3,))
    plain = shift_curves(rows, pair, models, material, settings)
    curves = {curve.name: curve for curve in mean_curves([plain, plain], ["a.json"])}
    frame = pd.DataFrame({"score": pair.scores[1], "target": pair.target.astype(int)})
    frame["sex"] = np.where(pair.sensitive[:, 0] == 1, "m", "f")

    def expected(part):
        found = {(r.metric, r.attribute, r.group): r.value for r in evaluate(part, SPEC)}
        return found["accuracy", None, None], found["demographic_parity_difference", "sex", None]

    last = curves["column_shift"].points[-1]
    assert last.label == "year=2021"
    reading = last.intervention
    assert (reading.accuracy, reading.gaps["sex"]) == pytest.approx(expected(frame[:500]))
    assert reading.accuracy_deviation == 0
    assert last.support == 500
    clean, noisy = curves["feature_noise"].points
    assert (clean.baseline.accuracy > noisy.baseline.accuracy) and noisy.strength == 0.5
    middle = next(p for p in threshold_curve(material).points if p.strength == 0.5)
    assert middle.intervention.accuracy == pytest.approx(expected(frame)[0])


def column_points(case, columns, name="year"):
    """Points of the curve over a column, of seeds whose test rows have the given values of it."""
    rows, pair, models, material = case
    table = pd.concat([rows.frame.assign(**{name: values}) for values in columns])
    settings = ShiftSettings(column=name, noise=(), missing=(), corruption=(), label_noise=())
    by_seed = [
        shift_curves(replace(rows, frame=frame, table=table), pair, models, material, settings)
        for frame in (rows.frame.assign(**{name: values}) for values in columns)
    ]
    return next(c for c in mean_curves(by_seed, []) if c.name == "column_shift").points[1:]


def test_seeds_of_different_rows_have_the_bins_of_the_whole_table(case):
    random = np.random.default_rng(1)
    points = column_points(case, [random.normal(size=2000) * 10 for _ in range(3)], "income")
    assert len(points) == 5
    assert all(p.baseline.accuracy is not None and p.support > 300 for p in points)
    ends = [float(p.label.split("(")[1].split(",")[0]) for p in points]
    assert ends == sorted(ends) and ends[0] < 0 < ends[-1]


@pytest.mark.parametrize("kind", [int, float, str])
def test_numbers_come_in_their_order_and_an_absent_one_moves_no_other(case, kind):
    months = np.random.default_rng(1).integers(1, 13, 2000)
    first = pd.Series(months).map(kind)
    second = pd.Series(np.where(months == 2, 3, months)).map(kind)
    points = column_points(case, [first, second], "month")
    assert [p.label for p in points] == [f"month={m}" for m in range(1, 13)]
    assert [p.strength for p in points] == list(range(1, 13))
    assert [p.label for p in points if p.baseline.accuracy is None] == ["month=2"]


def test_without_a_known_intersection_nothing_is_balanced(case):
    rows = replace(case[0], cells=np.full(2000, -1))
    found = {s.name: s for s in shifts(rows, ShiftSettings())}
    assert found["group_shift"].omitted == "no row has all sensitive attributes known"
    assert not found["group_shift"].conditions


def test_elasticity_of_a_power_law_is_its_exponent():
    criteria = (Criterion("accuracy"), Criterion("demographic_parity_difference", "sex"))

    def point(strength):
        figures = (("accuracy", None, 0.8), (criteria[1].metric, "sex", 0.1 * strength**-0.5))
        records = tuple(
            Record(stage, metric, attribute, None, value, None, None, 9)
            for stage in ("val", "test")
            for metric, attribute, value in figures
        )
        return FrontPoint(f"{strength}", {"strength": strength}, records, "m", "")

    front = Front("f", criteria, tuple(point(s) for s in (8.0, 1.0, 2.0, 4.0)))
    found = lambda_sensitivity(front, 2.0, "front.json")
    assert found.elasticity == pytest.approx({"accuracy": 0.0, "gap of sex": -0.5})
    assert [p.strength for p in found.points] == [1.0, 2.0, 4.0, 8.0]


def test_the_checklist_takes_evidence_or_a_signature(tmp_path):
    path = tmp_path / "statements.yaml"
    path.write_text("- {item: 3, name: A. B., date: 2026-01-31, statement: By law.}\n")
    shown = {n: Evidence(n != 8, "seen", ("a.json",)) for n in range(4, 12)}
    found = checklist(shown, read_statements(path), source="statements.yaml")
    assert [item.number for item in found.items if not item.ticked] == [1, 2, 8]
    assert not found.passed
    third = found.items[2]
    assert (third.by, third.person, third.date) == ("statement", "A. B.", "2026-01-31")
    assert third.sources == ("statements.yaml",)
    signed = {8: Statement(8, "C", date(2026, 1, 1), "Accepted.")}
    more = checklist({**shown, 1: shown[4]}, {**read_statements(path), **signed})
    assert more.passed
    assert "the run: seen" in more.items[7].evidence


@pytest.mark.parametrize(
    ("verdict", "points", "said"),
    [
        ("met", (None,), "label noise; groups: none harmed"),
        ("met", (), "none; groups: none harmed"),
        ("not enough evidence", (None,), "not enough evidence that none is harmed; few rows"),
    ],
)
def test_robustness_is_ticked_with_a_curve_and_no_group_in_doubt(verdict, points, said):
    note = "few rows" if verdict != "met" else ""
    criterion = SuccessCriterion("stability", "t", verdict, note, None, "f", (), 0.9, ("p",))
    curve = Curve("label_noise", "Labels flipped", "share", points, None, ("r.json",))
    empty = replace(curve, name="column_shift", points=())
    item = criteria_evidence([criterion] * 4, [curve, empty])[9]
    assert item.holds == (verdict == "met" and bool(points))
    assert item.text.endswith(said)
    assert item.sources == (("r.json", "p") if points else ("p",))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: 1", "no list"),
        ("- {item: 12, name: A, date: 2026-01-31, statement: x}", "entry 1"),
        ("- {item: 1, name: A, date: soon, statement: x}", "date 'soon'"),
        ("- {item: 1, name: ' ', date: 2026-01-31, statement: x}", "entry 1"),
        ("- {item: 1, name: A, statement: x}", "entry 1"),
    ],
)
def test_a_statement_without_signature_is_refused(tmp_path, text, named):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(DataError, match=named):
        read_statements(tmp_path / "s.yaml")


def test_settings_out_of_range_are_refused(case):
    with pytest.raises(ArgumentError, match=r"shift\.missing"):
        ShiftSettings(missing=(1.5,))
    with pytest.raises(ArgumentError, match="year"):
        list(shifts(case[0], ShiftSettings(column="region")))
