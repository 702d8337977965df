"""Every figure against fairlearn and scikit-learn, on random and on awkward rows."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn import metrics as fairlearn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn import metrics as sklearn

from fairlightning.groups import GroupSpec
from fairlightning.metrics import FairnessMetrics

GROUPS = GroupSpec({"sex": ["Female", "Male"], "race": ["a", "b", "c"]})


def prevalence(target, decision, sample_weight):
    return np.average(target, weights=sample_weight)


def negative_predictive_value(target, decision, sample_weight):
    return sklearn.precision_score(target, decision, pos_label=0, sample_weight=sample_weight)


ORACLES = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "true_negative_rate": fairlearn.true_negative_rate,
    "false_negative_rate": fairlearn.false_negative_rate,
    "positive_predictive_value": sklearn.precision_score,
    "negative_predictive_value": negative_predictive_value,
    "accuracy": sklearn.accuracy_score,
    "prevalence": prevalence,
}
CONDITION = {
    "true_positive_rate": ("target", 1),
    "false_positive_rate": ("target", 0),
    "true_negative_rate": ("target", 0),
    "false_negative_rate": ("target", 1),
    "positive_predictive_value": ("decision", 1),
    "negative_predictive_value": ("decision", 0),
}


@st.composite
def tables(draw, max_rows=40):
    rows = draw(st.integers(1, max_rows))

    def column(values):
        return draw(st.lists(values, min_size=rows, max_size=rows))

    # Few different logits, so that scores tie, and some at which float32 saturates.
    logit = st.sampled_from([-40.0, -2.0, -1e-30, 0.0, 0.5, 0.9, 1.0, 18.0, 30.0, 90.0])
    frame = pd.DataFrame(
        {
            "logit": np.array(column(logit), dtype=np.float32),
            "target": column(st.integers(0, 1)),
            "sex": column(st.integers(-1, 1)),
            "race": column(st.integers(-1, 2)),
            # Exact in float32, but kept in float64: fairlearn sums in the type that it is given.
            "weight": column(st.floats(0.0078125, 50, width=32)),
        }
    )
    if draw(st.booleans()):
        frame["weight"] = 1.0
    return frame


def metric_of(frame, threshold, weighted):
    metric = FairnessMetrics(GROUPS, "test", threshold)
    # In two batches, so that accumulation is part of what the oracle judges.
    for part in (frame.iloc[: len(frame) // 2], frame.iloc[len(frame) // 2 :]):
        metric.update(
            torch.tensor(part["logit"].to_numpy()),
            torch.tensor(part["target"].to_numpy()),
            torch.tensor(part[["sex", "race"]].to_numpy()),
            torch.tensor(part["weight"].to_numpy()) if weighted else None,
        )
    return metric


def records_of(frame, threshold, weighted):
    return {record.key[1:]: record for record in metric_of(frame, threshold, weighted).records()}


def decided(frame, threshold):
    score = 1 / (1 + np.exp(-frame["logit"].astype(np.float64)))
    return frame.assign(score=score, decision=(score >= threshold).astype(int))


def known(frame, partition):
    """Rows whose group is known, with the group's name."""
    rows = frame[(frame[list(partition)] >= 0).all(axis=1)]
    sensitive = torch.tensor(rows[list(GROUPS.names)].to_numpy().reshape(-1, 2))
    names = np.array(GROUPS.group_names(partition))
    return rows.assign(group=names[GROUPS.group_ids(sensitive, partition).numpy()])


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([0.5, 0.3, 0.731]), st.booleans())
def test_rates_are_those_of_fairlearn_and_sklearn(frame, threshold, weighted):
    records = records_of(frame, threshold, weighted)
    frame = decided(frame, threshold)
    for partition in GROUPS.partitions:
        rows, attribute = known(frame, partition), " & ".join(partition)
        unknown = records["support", attribute, f"{attribute}=unknown"]
        assert unknown.support == unknown.value == len(frame) - len(rows)
        for group in GROUPS.group_names(partition):
            for metric, oracle in ORACLES.items():
                part = rows[rows["group"] == group]
                if metric in CONDITION:
                    column, value = CONDITION[metric]
                    part = part[part[column] == value]
                record = records[metric, attribute, group]
                assert record.support == len(part)
                if not len(part):
                    assert record.value is None
                    continue
                weight = part["weight"] if weighted else None
                expected = oracle(part["target"], part["decision"], sample_weight=weight)
                assert record.value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(tables(), st.booleans())
def test_gaps_are_those_of_fairlearn(frame, weighted):
    # Older ones get the weighted selection rate of a group of one row wrong.
    assume(not weighted or Version(version("fairlearn")) >= Version("0.15"))
    records = records_of(frame, 0.5, weighted)
    frame = decided(frame, 0.5)

    def gaps(rows, name):
        # Its rate among the positives alone is the true positive rate: groups without positives,
        # which fairlearn would give the rate 0, are then out of it.
        weight = rows["weight"] if weighted else None
        return getattr(fairlearn, f"demographic_parity_{name}")(
            rows["target"],
            rows["decision"],
            sensitive_features=rows["group"],
            sample_weight=weight,
        )

    def check(record, expected, *parts):
        if all(part["group"].nunique() > 1 for part in parts) and not np.isnan(value := expected()):
            assert record.value == pytest.approx(value, abs=1e-12)
            assert record.support == min(part["group"].value_counts().min() for part in parts)
        else:
            assert (record.value, record.support) == (None, 0)

    for partition in GROUPS.partitions:
        rows, attribute = known(frame, partition), " & ".join(partition)
        hits, alarms = rows[rows["target"] == 1], rows[rows["target"] == 0]
        found = {record.metric: record for key, record in records.items() if key[1] == attribute}
        parity = found["demographic_parity_difference"]
        check(parity, lambda r=rows: gaps(r, "difference"), rows)
        check(found["demographic_parity_ratio"], lambda r=rows: gaps(r, "ratio"), rows)
        opportunity = found["equal_opportunity_difference"]
        check(opportunity, lambda r=hits: gaps(r, "difference"), hits)
        odds = found["equalized_odds_difference"]
        check(odds, lambda p=(hits, alarms): max(gaps(r, "difference") for r in p), hits, alarms)


@pytest.mark.parametrize("weighted", [False, True])
def test_gaps_have_the_definitions_of_fairlearn(weighted):
    rng = np.random.default_rng(3)
    frame = decided(
        pd.DataFrame(
            {
                "logit": rng.normal(size=400).astype(np.float32),
                "target": rng.integers(0, 2, 400),
                "sex": rng.integers(0, 2, 400),
                "race": rng.integers(0, 3, 400),
                "weight": rng.random(400),
            }
        ),
        0.5,
    )
    records = records_of(frame, 0.5, weighted)
    for partition in GROUPS.partitions:
        for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
            expected = getattr(fairlearn, f"{name}_difference")(
                frame["target"],
                frame["decision"],
                sensitive_features=frame[list(partition)],
                sample_weight=frame["weight"] if weighted else None,
            )
            record = records[f"{name}_difference", " & ".join(partition), None]
            assert record.value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(tables(), st.booleans())
def test_overall_figures_are_those_of_sklearn(frame, weighted):
    records = records_of(frame, 0.5, weighted)
    frame = decided(frame, 0.5)
    target, decision = frame["target"], frame["decision"]
    weight = frame["weight"] if weighted else None

    def value(metric):
        return records[metric, None, None].value

    assert value("accuracy") == pytest.approx(
        sklearn.accuracy_score(target, decision, sample_weight=weight), abs=1e-12
    )
    assert value("selection_rate") == pytest.approx(np.average(decision, weights=weight), abs=1e-12)
    if target.any() or decision.any():
        expected = sklearn.f1_score(target, decision, sample_weight=weight)
        assert value("f1") == pytest.approx(expected, abs=1e-12)
    else:
        assert value("f1") is None
    if target.nunique() == 2:
        # Ranked by the logit, since float64 scores tie where logits do not.
        expected = sklearn.roc_auc_score(target, frame["logit"], sample_weight=weight)
        bound = metric_of(frame, 0.5, weighted).compute().pooled().ranking().within.error.item()
        assert value("auroc") == pytest.approx(expected, abs=bound + 1e-9)
        assert records["auroc", None, None].support == len(frame)
    else:
        assert value("auroc") is None
        assert records["auroc", None, None].support == 0
