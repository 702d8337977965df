import numpy as np
import pytest
import torch

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.groups import GroupSpec
from fairlightning.metrics import gap_verdict

GROUPS = GroupSpec({"sex": ["F", "M"], "race": ["a", "b"]})


def table(**cells):
    """Counts `[[TN, FP], [FN, TP]]` by "sex race"; cells not named stay empty."""
    counts = torch.zeros(3, 3, 2, 2, dtype=torch.long)
    for name, entries in cells.items():
        counts["FM".index(name[0]), "ab".index(name[1])] = torch.tensor(entries).view(2, 2)
    return ConfusionTable.of_counts(counts.view(9, 2, 2))


FAIR = dict(Fa=[700, 100, 100, 100], Ma=[700, 105, 95, 100], Mb=[700, 95, 105, 100])


def test_the_three_answers():
    unfair = table(**{**FAIR, "Fa": [800, 0, 190, 10]})
    few = table(Fa=[40, 6, 7, 7], Ma=[40, 7, 6, 7])
    assert gap_verdict(table(**FAIR), GROUPS, ["sex"], "demographic_parity", 0.1).verdict == "met"
    assert gap_verdict(unfair, GROUPS, ["sex"], "demographic_parity", 0.1).verdict == "not met"
    found = gap_verdict(few, GROUPS, ["sex"], "demographic_parity", 0.1)
    assert found.verdict == "not enough evidence"
    assert found.interval.low <= found.gap.value <= found.interval.high


def test_a_small_group_is_named_and_decides_nothing():
    small = table(**FAIR, Fb=[0, 12, 0, 3])
    found = gap_verdict(small, GROUPS, ["sex", "race"], "demographic_parity", 0.1)
    assert found.verdict == "met"
    assert found.left_out == {"sex=F & race=b": 15}
    assert "Says nothing of groups with too few rows: sex=F & race=b (15)" in str(found)
    counted = gap_verdict(small, GROUPS, ["sex", "race"], "demographic_parity", 0.1, min_support=10)
    assert counted.verdict == "not met"
    absent = gap_verdict(table(**FAIR), GROUPS, ["sex", "race"], "demographic_parity", 0.1)
    assert absent.absent == ("sex=F & race=b",)
    assert absent.left_out == {}


def test_support_is_that_of_the_rate_in_question():
    # Plenty of rows, but six positives only.
    positives = table(**{**FAIR, "Fa": [900, 94, 3, 3]})
    found = gap_verdict(positives, GROUPS, ["sex"], "equal_opportunity", 0.1)
    assert found.left_out == {"sex=F": 6}
    assert found.verdict == "not enough evidence"
    assert "not estimable" in str(found)
    odds = gap_verdict(positives, GROUPS, ["sex"], "equalized_odds_sum", 0.1)
    assert odds.left_out == {"sex=F": 6}
    assert gap_verdict(positives, GROUPS, ["sex"], "demographic_parity", 0.2).left_out == {}


def test_met_is_rarely_said_at_the_tolerance():
    random = np.random.default_rng(0)
    said = 0
    for _ in range(400):
        cells = {}
        for name, rate in (("Fa", 0.3), ("Ma", 0.2), ("Mb", 0.2)):
            selected = random.binomial(200, rate)
            cells[name] = [200 - selected, selected, 0, 0]
        found = gap_verdict(table(**cells), GROUPS, ["sex"], "demographic_parity", 0.1)
        said += found.verdict == "met"
    assert said <= 20


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ArgumentError, match="criterion"):
        gap_verdict(table(**FAIR), GROUPS, ["sex"], "treatment_equality", 0.1)
    with pytest.raises(ArgumentError, match="min_support"):
        gap_verdict(table(**FAIR), GROUPS, ["sex"], "demographic_parity", 0.1, min_support=0)
    with pytest.raises(ArgumentError, match="tolerance"):
        gap_verdict(table(**FAIR), GROUPS, ["sex"], "demographic_parity", -0.1)
    lost = table(**FAIR)._replace(undecided=torch.tensor(3))
    with pytest.raises(ArgumentError, match="3 rows whose score is NaN"):
        gap_verdict(lost, GROUPS, ["sex"], "demographic_parity", 0.1)
