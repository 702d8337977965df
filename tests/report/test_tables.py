import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import FairnessMetrics
from fairlightning.report import comparison_table, is_shown, metrics_table
from fairlightning.verification import compare, evaluate

RACES = ["Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other [mixed]", "White"]
AGES = ["under 25", "25 to 34", "35 to 44", "45 to 64", "65 and over"]


def frame(rows=6000, seed=0, lift=1.0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["Female", "Male", None], rows, p=[0.3, 0.69, 0.01])
    target = rng.integers(0, 2, rows)
    noise = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "score": 1 / (1 + np.exp(-(target - 0.5 + noise + lift * (sex == "Male")))),
            "target": target,
            "sex": sex,
            "race": rng.choice(RACES, rows, p=[0.002, 0.03, 0.1, 0.008, 0.86]),
            "age": rng.choice(AGES, rows),
        }
    )


def printed(renderable):
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def cells(text, name):
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split()


def test_all_figures_are_shown():
    records = evaluate(frame(), ["sex", "race"])
    text = printed(metrics_table(records, "test"))
    assert "6,000 rows" in text
    for record in records:
        if record.value is not None and record.metric != "support" and is_shown(record.key):
            assert f"{record.value:.3f}" in text
            if record.group is None:
                assert f"{record.low:.3f} to {record.high:.3f}" in text
    rates = {r.metric: r for r in records if r.group == "sex=Female"}
    row = cells(text, "Female ")
    assert row[1] == f"{rates['selection_rate'].support:,}"
    assert row[2] == f"{rates['true_positive_rate'].support:,}"
    assert row[-1] == f"{rates['accuracy'].value:.3f}"
    unknown = next(r for r in records if r.group == "sex=unknown")
    assert cells(text, "unknown") == ["unknown", str(unknown.support)]
    assert "Other [mixed]" in text


def test_fifty_intersections_fit():
    text = printed(metrics_table(evaluate(frame(), ["sex", "race", "age"]), "test"))
    assert max(map(len, text.splitlines())) <= 100
    assert "Female & Asian-Pac-Islander" in text


def test_worst_groups_come_first_small_ones_later():
    text = printed(metrics_table(evaluate(frame(), ["sex", "race"]), "test"))
    section = [line for line in text.split("sex & race")[-1].splitlines() if " & " in line]
    values = [line.rsplit(maxsplit=6)[-5:] for line in section]
    large = [abs(float(v[1].replace("−", "-"))) for v in values if "†" not in v[0]]
    assert large == sorted(large, reverse=True)
    small = ["†" in v[0] for v in values]
    assert small == sorted(small)
    assert any(small)
    assert "† over fewer than 30 rows" in text


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_what_is_not_estimable_is_a_dash():
    text = printed(metrics_table(FairnessMetrics({"sex": ["F", "M"]}, "val").records(), "val"))
    assert "nan" not in text.lower()
    assert cells(text, "F ") == ["F", "0", "0", *["–"] * 5]
    assert "†" not in text


def test_comparisons_read_without_colour():
    changed = frame(lift=0.0).assign(target=frame()["target"])
    comparison = compare(evaluate(frame(), "sex"), evaluate(changed, "sex"))
    text = printed(comparison_table(comparison.rows, "test"))
    row = next(r for r in comparison.rows if r.key.metric == "demographic_parity_difference")
    line = cells(text, "demographic-parity difference")
    assert line[2:] == [
        f"{row.baseline:.3f}",
        f"{row.intervention:.3f}",
        f"−{-row.change:.3f}",
        f"−{-100 * row.relative:.0f}",
        "better",
    ]
    assert max(map(len, text.splitlines())) <= 100
    back = compare(evaluate(changed, "sex"), evaluate(frame(), "sex"))
    text = printed(comparison_table(back.rows, "test"))
    assert cells(text, "demographic-parity difference")[-1] == "worse"


def test_other_stages_are_refused():
    records = evaluate(frame(), "sex")
    with pytest.raises(ArgumentError, match="one of test"):
        metrics_table(records, "val")
    with pytest.raises(ArgumentError, match="one of test"):
        comparison_table(compare(records, records).rows, "val")
