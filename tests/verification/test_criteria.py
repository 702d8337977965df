"""Criteria on drawn predictions, whose answer is known, and the estimates that they rest on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fairlightning.exceptions import ArgumentError, DataError
from fairlightning.groups import GroupSpec
from fairlightning.verification.criteria import (
    accuracy_criterion,
    gap_criterion,
    reproducibility_criterion,
    stability_criterion,
)
from fairlightning.verification.group_rows import group_rows
from fairlightning.verification.limits import Contrast, gap_family
from fairlightning.verification.material import Bounds, Material
from fairlightning.verification.paired import Pair, group_estimates, overall_estimates

SPEC = GroupSpec({"sex": ["f", "m"], "race": ["a", "b", "c"]})
BOUNDS = Bounds()


def drawn(rates, rows=5000, seeds=3, share=None, base=0.3, seed=0):
    """Predictions of test and validation whose selection rates by cell, (2, 6), are known."""
    random = np.random.default_rng(seed)
    rates = np.asarray(rates, float)
    cell = random.choice(6, rows * 4, p=share)
    label = random.random(rows * 4) < base
    own = random.random(rows * 4)
    stages = {"test": [], "val": []}
    for _ in range(seeds):
        order = random.permutation(rows * 4)
        for number, pairs in enumerate(stages.values()):
            chosen = order[number * rows : (number + 1) * rows]
            # Nine of ten decisions hang on the row alone: models and seeds mostly agree.
            fresh = random.random((2, rows))
            uniform = np.where(random.random((2, rows)) < 0.9, own[chosen], fresh)
            scores = np.where(uniform < rates[:, cell[chosen]], 0.8, 0.2)
            codes = torch.tensor(np.stack(np.unravel_index(cell[chosen], (2, 3)), 1))
            pairs.append(Pair(chosen, label[chosen], codes, np.ones(rows), scores))
    return Material(
        tuple(stages["test"]), tuple(stages["val"]), SPEC, "demographic_parity", ("sex",)
    )


FAR = [0.1, 0.1, 0.1, 0.3, 0.3, 0.3]
NEAR = [0.2, 0.2, 0.2, 0.25, 0.25, 0.25]


def test_a_gap_that_fell_by_three_quarters_is_met_and_named_rows_are_left_out():
    found = gap_criterion(drawn([FAR, NEAR]), BOUNDS)
    (sex,) = found.findings
    assert found.verdict == "met"
    assert found.note == ""
    assert sex.baseline == pytest.approx(0.2, abs=0.02)
    assert sex.estimate.low < 0.75 < sex.estimate.high
    share = [0.005, 0.3, 0.195, 0.2, 0.2, 0.1]
    rare = replace(drawn([FAR, NEAR], 1000, share=share), attributes=("race",))
    (race,) = gap_criterion(rare, Bounds(min_support=500)).findings
    assert race.note.startswith("Says nothing of groups with too few rows: race=a (")
    assert race.support > 500


@pytest.mark.parametrize("stages", [("validation",), ("test",), ("validation", "test")])
def test_a_group_without_rows_does_not_hide_the_others(stages):
    far, near = [0.1, 0.3, 0.2] * 2, [0.2, 0.25, 0.22] * 2
    for rates, expected in (([far, near], "met"), ([near, far], "not met")):
        material = replace(drawn(rates, 10_000), attributes=("race",))
        for stage in stages:
            pairs = []
            for pair in getattr(material, stage):
                sensitive = pair.sensitive.clone()
                sensitive[sensitive[:, 1] == 2, 1] = -1
                pairs.append(pair._replace(sensitive=sensitive))
            material = replace(material, **{stage: tuple(pairs)})
        found = gap_criterion(material, BOUNDS)
        assert found.verdict == expected
        (race,) = found.findings
        assert np.isfinite([race.baseline, race.intervention]).all()
        harmed = {row.group for row in group_rows(material, BOUNDS) if row.harmed}
        assert ("race=b" in harmed) == (expected == "not met")


def test_scores_that_are_not_numbers_are_refused():
    frame = pd.DataFrame(
        {"row": [0, 1], "split": "test", "target": [0, 1], "score": [0.2, np.nan]}
        | {"sex": ["f", "m"], "race": ["a", "b"]}
    )
    with pytest.raises(DataError, match="1 that are NaN or infinite in 'test'"):
        Pair.of(frame.assign(score=0.5), frame, SPEC, "test")


@pytest.mark.parametrize(
    ("rates", "rows", "expected"),
    [
        ([FAR, FAR], 20_000, "not met"),
        ([FAR, FAR], 200, "not enough evidence"),
        ([FAR, NEAR], 200, "not enough evidence"),
        ([FAR, [0.12] * 3 + [0.293] * 3], 40_000, "pass with note"),
    ],
)
def test_the_gap_needs_both_an_effect_and_the_rows_that_show_it(rates, rows, expected):
    found = gap_criterion(drawn(rates, rows), BOUNDS)
    assert (found.note.partition(":")[0] or found.verdict) == expected


def test_many_groups_do_not_make_a_gap_of_chance_an_improvement():
    """A fair baseline has a gap by chance, which a fair intervention seems to lower."""
    fair = [[0.2] * 6] * 2
    verdicts = [
        gap_criterion(replace(drawn(fair, 1500, seed=s), attributes=("race",)), BOUNDS).verdict
        for s in range(20)
    ]
    assert "met" not in verdicts


def test_accuracy_is_judged_on_paired_rows():
    lost = [[0.2] * 6, [0.35] * 6]
    assert accuracy_criterion(drawn(lost, base=0.02), BOUNDS).verdict == "not met"
    assert accuracy_criterion(drawn([FAR, FAR]), BOUNDS).verdict == "met"
    (finding,) = accuracy_criterion(drawn(lost, 20_000), BOUNDS).findings
    # Of the rows that are selected anew, 70 % are negative and 30 % positive.
    assert finding.estimate.value == pytest.approx(0.4 * 0.15, abs=0.01)


def test_a_harmed_intersection_is_named_though_single_gaps_fell():
    intervention = [0.24, 0.24, 0.05, 0.24, 0.24, 0.24]
    material = drawn([[0.15, 0.15, 0.2, 0.25, 0.25, 0.2], intervention])
    rows = group_rows(material, BOUNDS)
    assert [row.group for row in rows if row.harmed and " & " in row.group] == ["sex=f & race=c"]
    found = stability_criterion(material, rows, BOUNDS)
    assert found.verdict == "not met"
    assert "sex=f & race=c" in found.note


def test_small_groups_are_shown_and_decide_nothing():
    share = [0.004, 0.2, 0.2, 0.2, 0.2, 0.196]
    material = drawn([FAR, NEAR], 10_000, share=share)
    rows = group_rows(material, Bounds(min_support=300))
    (small,) = [row for row in rows if row.small]
    assert small.group == "sex=f & race=a"
    assert 0 < small.support < 300
    assert len(rows) == 2 + 3 + 6
    found = stability_criterion(material, rows, Bounds(min_support=300))
    assert found.verdict == "met"
    assert f"sex=f & race=a ({small.support})" in found.note
    assert [f.verdict for f in found.findings if f.about == small.group] == [None]


def test_a_gain_has_to_come_again():
    material = drawn([FAR, NEAR])
    verdicts = [
        reproducibility_criterion(m, BOUNDS, identical=same, compared=("a", "b")).verdict
        for m, same in (
            (material, True),
            (material, False),
            (drawn([FAR, NEAR], seeds=1), True),
            (drawn([FAR, FAR], 300), True),
        )
    ]
    assert verdicts == ["met", "not met", "not enough evidence", "not enough evidence"]


def test_rows_in_several_seeds_are_counted_once():
    """The same pair twice says no more than once; the variance of a paired difference is exact."""
    pair = drawn([FAR, NEAR], 800, seeds=1).test[0]
    single = overall_estimates([pair], ["accuracy"], 0.5)
    twice = overall_estimates([pair, pair], ["accuracy"], 0.5)
    right = (pair.scores >= 0.5) == pair.target
    change = right[1].astype(float) - right[0]
    half = Contrast.of(single, np.ones((1, 1))).limits(1, 0.975)[1] - change.mean()
    assert half == pytest.approx(1.959964 * change.std() / np.sqrt(800), rel=1e-6)
    assert Contrast.of(twice, np.ones((1, 1))).limits(1, 0.975)[1] - change.mean() >= half
    assert twice.covariance.sum() == pytest.approx(4 * single.covariance.sum())
    assert twice.distinct.tolist() == [800]


def test_auroc_agrees_with_scikit_learn_and_with_the_jackknife():
    random = np.random.default_rng(3)
    pair = drawn([FAR, NEAR], 80, seeds=1).test[0]
    pair = pair._replace(scores=np.round(random.random((2, 80)) + 0.3 * pair.target, 1))
    found = overall_estimates([pair], ["auroc"], 0.5)
    for model in range(2):
        score = pair.scores[model]
        assert found.values[0, model, 0] == pytest.approx(roc_auc_score(pair.target, score))
        left_out = [
            roc_auc_score(np.delete(pair.target, k), np.delete(score, k)) for k in range(80)
        ]
        jackknife = 79 * np.var(left_out)
        assert found.covariance[0, model, 0, 0, model, 0] == pytest.approx(jackknife, rel=0.1)


def test_a_rate_of_zero_is_not_certain():
    pair = drawn([[0] * 6, [0] * 6], 500, seeds=1).test[0]
    estimates = group_estimates([pair], SPEC, ("sex",), ("selection_rate",), 0.5)
    rows = estimates.supports[0, :2]
    contrast = Contrast.of(estimates, gap_family(1, 2, np.arange(2)))
    assert 2 / rows.max() < contrast.limits(0, 0.95)[1] < 6 / rows.min()


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ArgumentError, match=r"improvement_with_note=0\.3"):
        Bounds(improvement_with_note=0.3)
    with pytest.raises(ArgumentError, match="criterion"):
        replace(drawn([FAR, NEAR], 50), criterion="treatment_equality")
    frame = pd.DataFrame({"row": [0, 1], "split": "test", "target": [0, 1], "score": [0.1, 0.9]})
    frame["sex"], frame["race"] = "f", "a"
    with pytest.raises(DataError, match="same rows"):
        Pair.of(frame, frame[1:], SPEC, "test")
