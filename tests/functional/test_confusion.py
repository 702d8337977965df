"""Rates and criteria from tables: against fairlearn and scikit-learn, and by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.confusion import ConfusionTable
from fairlightning.functional.criteria import (
    CRITERIA,
    METHODS,
    criterion_difference,
    criterion_ratio,
    rates_difference,
    worst_group,
)
from fairlightning.functional.proportions import (
    PROPORTIONS,
    RATES,
    balanced_accuracy,
    error_balance,
    f1_score,
    proportion_rates,
    proportion_trials,
    proportions,
)
from fairlightning.functional.rates import Rates

RATIOS = [name for name, criterion in CRITERIA.items() if criterion.combine == "worst"]
FAIRLEARN = ("demographic_parity", "equal_opportunity", "equalized_odds")


def table_of(counts):
    """`[[TN, FP], [FN, TP]]` of each group."""
    return ConfusionTable.of_counts(torch.tensor(counts))


def make_rows(rng, rows, groups, weighted):
    """Rows in which every group has both labels and both decisions."""
    corners = np.stack(np.meshgrid(range(groups), range(2), range(2)), -1).reshape(-1, 3)
    more = np.stack([rng.integers(0, n, rows) for n in (groups, 2, 2)], 1)
    group, target, decision = np.concatenate([corners, more]).T
    weight = rng.random(len(group)) + 0.1 if weighted else np.ones(len(group))
    columns = [torch.tensor(column) for column in (decision, target, group)]
    table = ConfusionTable.of_decisions(
        *columns, groups, weight=torch.tensor(weight) if weighted else None
    )
    return table, target, decision, group, weight


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    groups=st.integers(2, 5),
    weighted=st.booleans(),
    method=st.sampled_from(METHODS),
)
def test_criteria_are_those_of_fairlearn(seed, rows, groups, weighted, method):
    table, target, decision, group, weight = make_rows(
        np.random.default_rng(seed), rows, groups, weighted
    )
    options = dict(sensitive_features=group, sample_weight=weight, method=method)
    for criterion in FAIRLEARN:
        for kind, ours in (("difference", criterion_difference), ("ratio", criterion_ratio)):
            expected = getattr(fairlearn, f"{criterion}_{kind}")(target, decision, **options)
            found = ours(table, criterion, method=method)
            assert found.support > 0
            assert found.value.item() == pytest.approx(expected, abs=1e-12)
    mean = fairlearn.equalized_odds_difference(target, decision, agg="mean", **options)
    total = criterion_difference(table, "equalized_odds_sum", method=method)
    assert total.value.item() == pytest.approx(2 * mean, abs=1e-12)
    frame = {
        "predictive_parity": sklearn.precision_score,
        "accuracy_parity": sklearn.accuracy_score,
        "treatment_equality": errors_by_hand,
    }
    for criterion, metric in frame.items():
        each = fairlearn.MetricFrame(
            metrics=metric,
            y_true=target,
            y_pred=decision,
            sensitive_features=group,
            sample_params={"sample_weight": weight},
        )
        difference = criterion_difference(table, criterion, method=method)
        ratio = criterion_ratio(table, criterion, method=method)
        assert difference.value.item() == pytest.approx(each.difference(method=method), abs=1e-12)
        assert ratio.value.item() == pytest.approx(each.ratio(method=method), abs=1e-12)


def errors_by_hand(target, decision, sample_weight):
    target, decision = np.asarray(target), np.asarray(decision)
    misses = sample_weight[(target == 1) & (decision == 0)].sum()
    return misses / sample_weight[(target == 0) & (decision == 1)].sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=6))
def test_what_is_not_there_takes_no_part(entries):
    """Sparse tables, against plain Python on the rates that exist."""
    table = ConfusionTable.of_counts(torch.tensor(entries).view(-1, 2, 2))
    for criterion, chosen in CRITERIA.items():
        gaps, quotients, least = [], [], []
        for name in chosen.rates:
            rates = [rate_by_hand(name, *entry) for entry in entries]
            there = [(value, n) for value, n in rates if n]
            least.append(min((n for _, n in there), default=0) if len(there) > 1 else 0)
            values = [value for value, _ in there] or [0.0]
            low, high = min(values), max(values)
            gaps.append(high - low)
            quotients.append(low / high if high > 0 else np.nan)
        gap = sum(gaps) if chosen.combine == "sum" else max(gaps)
        assert_as_expected(criterion_difference(table, criterion), gap, min(least))
        if criterion in RATIOS:
            assert_as_expected(criterion_ratio(table, criterion), np.min(quotients), min(least))


def assert_as_expected(found, value, support):
    assert torch.isfinite(found.value)
    if np.isfinite(value) and support:
        assert found.value.item() == pytest.approx(value, abs=1e-12)
        assert found.support.item() == support
    else:
        assert found.support == 0
        assert found.or_nan.isnan()


def rate_by_hand(name, tn, fp, fn, tp):
    if name == "error_balance":
        return (fn / fp if fp else np.inf), fn + fp
    counted, among = {
        "selection_rate": (fp + tp, tn + fp + fn + tp),
        "true_positive_rate": (tp, fn + tp),
        "false_positive_rate": (fp, tn + fp),
        "positive_predictive_value": (tp, tp + fp),
        "accuracy": (tn + tp, tn + fp + fn + tp),
    }[name]
    return counted / max(among, 1), among


def test_a_group_without_positives_takes_no_part_in_equal_opportunity():
    # Group 1 has no positives, groups 0 and 2 have TPR 1/2 and 3/4.
    counts = [[[3, 1], [2, 2]], [[4, 1], [0, 0]], [[3, 1], [1, 3]]]
    table = table_of(counts)
    assert criterion_difference(table, "equal_opportunity") == (0.25, 4)
    assert criterion_difference(table, "equalized_odds").support == 4
    counts[2][1] = [0, 0]
    assert criterion_difference(table_of(counts), "equal_opportunity").support == 0
    # The false positive rates alone would give a number, but only a bound from below.
    assert criterion_difference(table_of(counts), "equalized_odds").support == 0


def test_the_ratio_is_not_estimable_when_nobody_is_selected():
    nobody = table_of([[[3, 0], [2, 0]], [[4, 0], [1, 0]]])
    for method in METHODS:
        assert criterion_ratio(nobody, "demographic_parity", method=method).support == 0
        assert criterion_difference(nobody, "demographic_parity", method=method) == (0.0, 5)
    one = table_of([[[3, 1], [2, 2]], [[4, 0], [1, 0]]])
    assert criterion_ratio(one, "demographic_parity") == (0.0, 5)


def test_treatment_equality_says_when_a_balance_has_no_end():
    finite = table_of([[[5, 2], [1, 5]], [[5, 4], [8, 5]], [[5, 0], [0, 5]]])
    # The third group made no errors, and takes no part.
    assert error_balance(finite).rate[:2].tolist() == [0.5, 2.0]
    assert error_balance(finite).support.tolist() == [3, 12, 0]
    assert criterion_difference(finite, "treatment_equality") == (1.5, 3)
    assert criterion_ratio(finite, "treatment_equality") == (0.25, 3)
    endless = table_of([[[5, 2], [1, 5]], [[5, 0], [8, 5]]])
    assert error_balance(endless).rate.tolist() == [0.5, torch.inf]
    assert criterion_difference(endless, "treatment_equality").support == 0
    assert criterion_ratio(endless, "treatment_equality") == (0.0, 3)
    both = table_of([[[5, 0], [1, 5]], [[5, 0], [8, 5]]])
    assert criterion_ratio(both, "treatment_equality").support == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_f1_and_balanced_accuracy_are_those_of_sklearn(weighted):
    table, target, decision, group, weight = make_rows(np.random.default_rng(1), 80, 3, weighted)
    for which in range(3):
        mine = group == which
        rows = (target[mine], decision[mine])
        for ours, oracle in (
            (f1_score, sklearn.f1_score),
            (balanced_accuracy, sklearn.balanced_accuracy_score),
        ):
            found = ours(table)
            assert found.support[which] == mine.sum()
            expected = oracle(*rows, sample_weight=weight[mine])
            assert found.rate[which].item() == pytest.approx(expected, abs=1e-12)


def test_what_has_no_f1_or_balanced_accuracy():
    table = table_of([[[3, 0], [0, 0]], [[3, 1], [0, 0]], [[0, 0], [0, 0]]])
    assert f1_score(table).support.tolist() == [0, 4, 0]
    assert balanced_accuracy(table).support.tolist() == [0, 0, 0]
    assert f1_score(table).rate[1] == 0


def test_trials_are_counts_and_with_weights_effective_ones():
    table, target, decision, group, _ = make_rows(np.random.default_rng(2), 50, 2, False)
    trials = proportion_trials(table, "true_positive_rate")
    for which in range(2):
        mine = (group == which) & (target == 1)
        assert trials.trials[which] == mine.sum()
        assert trials.successes[which] == decision[mine].sum()
    table, target, _, group, weight = make_rows(np.random.default_rng(2), 50, 2, True)
    for name in PROPORTIONS:
        rates, trials = proportion_rates(table, name), proportion_trials(table, name)
        torch.testing.assert_close(trials.successes / trials.trials, rates.rate)
        assert (trials.trials <= rates.support).all()
    mine = weight[(group == 0) & (target == 1)]
    found = proportion_trials(table, "true_positive_rate").trials[0]
    assert found.item() == pytest.approx(mine.sum() ** 2 / np.square(mine).sum())


def test_the_same_weight_for_all_changes_neither_rates_nor_trials():
    plain, target, decision, group, _ = make_rows(np.random.default_rng(3), 50, 3, False)
    columns = [torch.tensor(column) for column in (decision, target, group)]
    heavy = ConfusionTable.of_decisions(*columns, 3, weight=torch.full((len(group),), 0.3))
    for name in PROPORTIONS:
        for of in (proportion_rates, proportion_trials):
            for a, b in zip(of(plain, name), of(heavy, name), strict=True):
                torch.testing.assert_close(a, b)


def test_several_proportions_at_once_are_those_of_each():
    table, *_ = make_rows(np.random.default_rng(4), 50, 3, True)
    rates = proportions(table, tuple(PROPORTIONS))
    for which, name in enumerate(PROPORTIONS):
        one = proportion_rates(table, name)
        # Sums are taken in another order.
        torch.testing.assert_close(rates.rate[which], one.rate, rtol=1e-13, atol=0, equal_nan=True)
        assert torch.equal(rates.support[which], one.support)


def test_every_figure_takes_leading_axes():
    tables = torch.randint(0, 9, (7, 2, 4, 2, 2), generator=torch.Generator().manual_seed(0))
    many, one = ConfusionTable.of_counts(tables), ConfusionTable.of_counts(tables[3, 1])
    figures = [*RATES.values(), lambda t: proportion_trials(t, "accuracy")]
    for method in METHODS:
        for gap, names in ((criterion_difference, CRITERIA), (criterion_ratio, RATIOS)):
            figures += [partial(gap, criterion=name, method=method) for name in names]
    figures.append(lambda t: worst_group(f1_score(t), higher_is_better=True))
    figures.append(lambda t: rates_difference(f1_score(t)))
    for figure in figures:
        for batched, single in zip(figure(many), figure(one), strict=True):
            assert batched.shape == (7, 2, *single.shape)
            torch.testing.assert_close(batched[3, 1], single)


def test_each_class_against_the_rest_is_that_of_sklearn():
    rng = np.random.default_rng(5)
    target, decision, group = (rng.integers(0, n, 200) for n in (4, 4, 3))
    table = ConfusionTable.of_decisions(
        *map(torch.tensor, (decision, target, group)), 3, num_classes=4
    )
    rest = table.one_vs_rest()
    assert rest.counts.shape == (4, 3, 2, 2)
    precision = proportion_rates(rest, "positive_predictive_value")
    for which in range(3):
        mine = group == which
        rows = (target[mine], decision[mine])
        expected = sklearn.multilabel_confusion_matrix(*rows, labels=range(4))
        assert rest.counts[:, which].tolist() == expected.tolist()
        scores = sklearn.precision_score(*rows, labels=range(4), average=None)
        np.testing.assert_allclose(precision.rate[:, which], scores)
        for ours, oracle in (
            (lambda t: proportion_rates(t, "accuracy"), sklearn.accuracy_score),
            (balanced_accuracy, sklearn.balanced_accuracy_score),
        ):
            assert ours(table).rate[which].item() == pytest.approx(oracle(*rows))
            assert ours(table).support[which] == mine.sum()
    accuracies = proportion_rates(table, "accuracy").rate
    parity = criterion_difference(table, "accuracy_parity")
    assert parity.value.item() == pytest.approx((accuracies.max() - accuracies.min()).item())


def test_the_worst_group_is_named():
    rates = Rates(torch.tensor([0.4, 0.1, 0.9, 0.1]), torch.tensor([5, 3, 8, 9]))
    assert worst_group(rates, higher_is_better=True) == (torch.tensor(0.1), 1, 3)
    assert worst_group(rates, higher_is_better=False) == (torch.tensor(0.9), 2, 8)
    absent = Rates(rates.rate, torch.tensor([5, 0, 0, 0]))
    assert worst_group(absent, higher_is_better=False) == (torch.tensor(0.4), 0, 5)
    nobody = Rates(rates.rate, torch.zeros(4, dtype=torch.long))
    assert worst_group(nobody, higher_is_better=True)[1:] == (-1, 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: criterion_difference(t, "demografic_parity"), "did you mean 'demographic"),
        (lambda t: criterion_difference(t, "equalized_odds", method="between"), "method"),
        (lambda t: criterion_ratio(t, "equalized_odds_sum"), "equalized_odds"),
        (lambda t: proportion_rates(t, "recall"), "one of selection_rate"),
        (lambda t: proportion_trials(t, "f1_score"), "one of selection_rate"),
    ],
)
def test_unknown_names_are_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call(table_of([[[1, 1], [1, 1]], [[1, 1], [1, 1]]]))


@pytest.mark.parametrize(
    "figure",
    [
        f1_score,
        error_balance,
        lambda t: proportion_rates(t, "selection_rate"),
        lambda t: proportions(t, ("accuracy", "prevalence")),
        lambda t: criterion_difference(t, "equalized_odds"),
    ],
)
def test_binary_figures_of_many_classes_name_the_mend(figure):
    table = ConfusionTable.of_counts(torch.ones(2, 3, 3).long())
    with pytest.raises(ArgumentError, match="one_vs_rest"):
        figure(table)
    figure(table.one_vs_rest())
