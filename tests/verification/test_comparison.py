import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.metrics import Record
from fairlightning.report import comparison_table
from fairlightning.verification import compare, evaluate


def record(metric, value, attribute=None, group=None, support=100, stage="test"):
    return Record(stage, metric, attribute, group, value, None, None, support)


def run(parity, opportunity, accuracy, stage="test", support=100):
    return [
        record("accuracy", accuracy, stage=stage),
        record("demographic_parity_difference", parity, "sex", stage=stage, support=support),
        record("equal_opportunity_difference", opportunity, "sex", stage=stage, support=support),
        record("selection_rate", 0.3, "sex", "sex=Female", stage=stage),
    ]


BASELINE = run(0.182, 0.064, 0.854)


def test_what_got_worse_is_said_beside_what_got_better():
    comparison = compare(BASELINE, run(0.087, 0.152, 0.851))
    rows = {row.key.metric: row for row in comparison.rows}
    assert rows["demographic_parity_difference"].change == pytest.approx(-0.095)
    assert rows["demographic_parity_difference"].relative == pytest.approx(-0.522, abs=1e-3)
    assert [rows[m].better for m in rows] == [False, True, False, None]
    assert [row.key.metric for row in comparison.worse("test")] == ["equal_opportunity_difference"]
    assert comparison.summary() == (
        "sex: demographic-parity difference fell from 0.182 to 0.087 (−52 %); "
        "equal-opportunity difference rose from 0.064 to 0.152 (+138 %).\n"
        "Overall: accuracy 0.854 → 0.851 (−0.3 points).\n"
        "Caution, this got worse: equal-opportunity difference (sex)."
    )


def test_what_does_not_show_is_no_change():
    comparison = compare(BASELINE, run(0.1821, 0.0, 0.854))
    assert comparison.rows[1].better is None
    assert "stayed at 0.182" in comparison.summary()
    assert "fell from 0.064 to 0.000 (−100 %)" in comparison.summary()
    assert "No fairness criterion got worse." in comparison.summary()
    # Nothing can be said in per cent of 0.
    assert "rose from 0.000 to 0.100;" in compare(run(0.0, 0, 1), run(0.1, 0, 1)).summary()


def test_what_is_not_estimable_is_said():
    comparison = compare(run(None, None, 0.9, support=0), run(0.2, None, 0.9))
    row = comparison.rows[1]
    assert (row.change, row.relative, row.better) == (None, None, None)
    assert "demographic-parity difference not estimable → 0.200" in comparison.summary()
    assert "can be estimated" in comparison.summary()


def test_figures_of_few_rows_are_marked():
    text = compare(run(0.1, 0.1, 0.9, support=7), run(0.2, 0.1, 0.9, support=7)).summary()
    assert "Beware: a group rests on 7 rows." in text
    # The support of a gap may hang on the decisions, and so differ between two runs.
    gap = [record("predictive_parity_difference", 0.2, "sex", support=n) for n in (400, 2)]
    comparison = compare(gap[:1], gap[1:])
    assert "Beware: a group rests on 2 rows." in comparison.summary()
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(comparison_table(comparison.rows, "test"))
    (line,) = (text for text in console.file.getvalue().splitlines() if "parity diff" in text)
    assert line.split()[2:4] == ["0.200", "0.200†"]


def test_points_are_said_of_shares_alone():
    errors = [[record("mean_absolute_error", value)] for value in (794.0, 952.5)]
    assert "error 794.000 → 952.500 (+158.500)." in compare(*errors).summary()
    assert (
        "(+10.0 points)" in compare([record("accuracy", 0.8)], [record("accuracy", 0.9)]).summary()
    )


def test_common_stages_are_compared():
    both = [*run(0.3, 0.3, 0.8, stage="val"), *BASELINE]
    comparison = compare(both, BASELINE)
    assert comparison.stages == ("test",)
    with pytest.raises(ArgumentError, match="stage"):
        comparison.summary("val")
    assert compare(both, both).stages == ("val", "test")


def frame(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "score": rng.random(rows),
            "target": rng.integers(0, 2, rows),
            "sex": rng.choice(["Female", "Male"], rows),
        }
    )


def test_the_same_rows_compare_whatever_is_decided():
    table = frame()
    # With nobody selected the ratio and the F1 of one run are not estimable: the rows are the same.
    nobody = table.assign(score=0.0, target=0)
    comparison = compare(evaluate(table.assign(target=0), "sex"), evaluate(nobody, "sex"))
    assert any(row.baseline is not None and row.intervention is None for row in comparison.rows)


def test_other_rows_are_refused():
    baseline = evaluate(frame(), "sex")
    others = {
        "fewer": evaluate(frame().iloc[:-1], "sex"),
        "labels": evaluate(frame().assign(target=1 - frame()["target"]), "sex"),
        "drawn anew": evaluate(frame(seed=1), "sex"),
    }
    for records in others.values():
        with pytest.raises(DataError, match="same rows"):
            compare(baseline, records)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "stages none"),
        (run(0.1, 0.1, 0.9, stage="val"), "stages val"),
        (BASELINE[:-1], "1 figures missing, the first test selection rate of sex=Female"),
        ([*BASELINE, BASELINE[0]], "test accuracy twice"),
        ([*BASELINE, record("f1", 0.2)], "baseline.*missing"),
    ],
)
def test_runs_that_do_not_match_are_refused(records, words):
    with pytest.raises(DataError, match=words):
        compare(BASELINE, records)
