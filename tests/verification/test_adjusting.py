import numpy as np
import pandas as pd
import pytest

from fairlightning.exceptions import DataError
from fairlightning.verification import evaluate
from fairlightning.verification.adjusting import adjust_scores


@pytest.fixture(scope="module")
def frame():
    """Predictions whose scores are lower for one group at the same chance of label 1."""
    random = np.random.default_rng(0)
    rows = 6000
    sex = random.choice(["f", "m"], rows)
    chance = random.random(rows)
    return pd.DataFrame(
        {
            "score": np.where(sex == "f", 0.7, 1.0) * chance,
            "target": (random.random(rows) < chance).astype(int),
            "sex": sex,
            "split": random.choice(["val", "test"], rows),
        }
    )


def figures(frame):
    return {(r.stage, r.metric): r.value for r in evaluate(frame, ["sex"]) if r.attribute == "sex"}


@pytest.mark.parametrize("shared", [False, True])
def test_decisions_after_moving_are_those_of_the_thresholds(frame, shared):
    moved, found, names = adjust_scores(frame, ["sex"], epsilon=0.02, shared=shared)
    assert names == ["sex=f", "sex=m"]
    cuts = dict(zip(names, found.threshold.tolist(), strict=True))
    direct = frame.score >= frame.sex.map(lambda value: cuts[f"sex={value}"])
    assert (direct == (moved.score >= 0.5)).all()
    assert moved.score.between(0, 1).all()
    after = figures(moved)
    assert after["val", "equal_opportunity_difference"] == pytest.approx(found.gap, abs=1e-12)
    assert found.gap <= 0.02 + 1e-12
    # On rows that had no part in the choice.
    before = figures(frame)["test", "equal_opportunity_difference"]
    assert after["test", "equal_opportunity_difference"] < before / 2
    for value in ("f", "m"):
        rows = frame.sex == value
        order = moved.score[rows].rank().corr(frame.score[rows].rank())
        assert order == pytest.approx(1)


def test_thresholds_are_not_chosen_on_test_rows(frame):
    with pytest.raises(DataError, match="no validation rows, but test"):
        adjust_scores(frame[frame.split == "test"], ["sex"], epsilon=0.02)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("score", 54.5, "score column 'score': found 54.5"),
        ("score", np.nan, "expected 0 to 1"),
        ("target", 2, "expected 0 or 1"),
        ("target", "yes", "found 'yes'"),
        ("mass", -1, "expected 0 or more"),
    ],
)
def test_what_cannot_be_used_is_refused(frame, column, value, words):
    wrong = frame.assign(mass=1).astype({column: object} if isinstance(value, str) else {})
    wrong.loc[7, column] = value
    with pytest.raises(DataError, match=words):
        adjust_scores(wrong, ["sex"], epsilon=0.02, weight="mass")
