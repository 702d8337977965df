"""`verification.json`: what is written is read again; what is malformed is named."""

import json
from dataclasses import replace

import pytest

from fairlightning.exceptions import DataError
from fairlightning.verification import read_verification, write_verification
from fairlightning.verification.results import (
    Checklist,
    ChecklistItem,
    ComparisonRow,
    Curve,
    CurvePoint,
    Estimate,
    Finding,
    GroupRow,
    LambdaSensitivity,
    Reading,
    Reproducibility,
    Run,
    SensitivityPoint,
    Spread,
    SuccessCriterion,
    Verification,
)

METRICS = ("runs/seed=0/baseline/metrics.json", "runs/seed=0/intervention/metrics.json")


def example():
    reading = Reading(0.85, {"sex": 0.17}, None, {"sex": None})
    point = CurvePoint(0.1, "noise of 0.1 standard deviations", reading, reading, 9000)
    curve = Curve("feature_noise", "noise", "standard deviations", (point,), None, METRICS)
    one, other = Spread(0.17, None, (0.17,)), Spread(0.06, None, (0.06,))
    estimate = Estimate(-0.11, -0.13, -0.09)
    finding = Finding("sex", "met", 0.17, 0.06, Estimate(0.64, 0.55, 0.73), 9000)
    return Verification(
        title="adult, MLP, adversarial",
        dataset="adult",
        model="MLP",
        method="adversarial",
        criterion="demographic_parity",
        attributes=("sex",),
        threshold=0.5,
        seeds=(0,),
        verdict="not enough evidence",
        summary=("One training cannot tell how another would turn out.",),
        runs=(Run(0, "baseline", "runs/seed=0/baseline"),),
        criteria=(
            SuccessCriterion(
                "gap", "gap", "met", "", 0.15, "improvement", (finding,), 0.95, METRICS
            ),
        ),
        comparison=(
            ComparisonRow(
                "demographic_parity_difference",
                "sex",
                None,
                one,
                other,
                estimate,
                -0.65,
                True,
                3000,
            ),
        ),
        groups=(
            GroupRow(
                "sex",
                "sex=Female",
                "selection_rate",
                one,
                other,
                estimate,
                0.1,
                0.03,
                estimate,
                estimate,
                (3000,),
                3000,
                False,
                False,
                METRICS,
            ),
        ),
        sensitivity=LambdaSensitivity(
            1.0, (SensitivityPoint(1.0, 0.84, {"sex": None}),), {"accuracy": -0.01}, None, METRICS
        ),
        drift=(curve, replace(curve, name="column", points=(), omitted="no column is named")),
        thresholds=curve,
        reproducibility=Reproducibility(
            True, 0, 0.0, METRICS, "fairlightning verify", None, {"torch": "2.13"}, {}, {}, "c.yaml"
        ),
        checklist=Checklist(
            (ChecklistItem(1, "baseline", True, "evidence", "measured", METRICS),), 1.0, 0.8, True
        ),
    )


def test_written_and_read_again(tmp_path):
    path = tmp_path / "verification.json"
    write_verification(path, example())
    assert read_verification(path) == example()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c["criteria"][0]["findings"][0]["estimate"].update(low="x"), r"\[0\]\.estimate"),
        (lambda c: c.update(verdict="passed"), "verdict"),
        (lambda c: c["runs"][0].pop("seed"), "seed"),
        (lambda c: c.update(seeds=[True]), r"seeds\[0\]"),
        (lambda c: c.update(version=0), "version"),
    ],
)
def test_the_malformed_entry_is_named(tmp_path, change, named):
    path = tmp_path / "verification.json"
    write_verification(path, example())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=named):
        read_verification(path)
