"""Pareto tools against brute force, linear programs and Monte Carlo."""

import itertools
import re
import sys
from pathlib import Path

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.front_choice import (
    attainment,
    best_mixture,
    best_weighted,
    best_within,
    closest_to_ideal,
    knee,
    lexicographic,
)
from fairlightning.functional.pareto import (
    bounded_front,
    hypervolume,
    nondominated,
    nondominated_sort,
)


def costs(criteria, most=12):
    # Few different values, so that there are ties and equal rows.
    shape = st.tuples(st.integers(1, most), st.just(criteria))
    return arrays(np.float64, shape, elements=st.integers(0, 6).map(lambda v: v / 6))


any_costs = st.integers(1, 4).flatmap(costs)


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(
        x < y for x, y in zip(a, b, strict=True)
    )


@given(any_costs)
def test_mask_is_that_of_brute_force(points):
    expected = [not any(dominates(q, p) for q in points) for p in points]
    assert nondominated(points).tolist() == expected


@pytest.mark.parametrize("large", [1e16, np.inf])
def test_mask_does_not_lean_on_sums(large):
    # Sums of both rows are equal in floating point, though the second dominates the first.
    assert nondominated([[large, 1.0], [large, 0.0]]).tolist() == [False, True]


@given(any_costs)
def test_ranks_are_lengths_of_chains_of_dominance(points):
    ranks = nondominated_sort(points)
    for point, rank in zip(points, ranks, strict=True):
        above = [ranks[i] for i, q in enumerate(points) if dominates(q, point)]
        assert rank == (max(above) + 1 if above else 0)


def brute_volume(points, reference):
    """Count the cells of the grid spanned by all coordinates that some point dominates."""
    axes = [
        np.unique(np.append(points[:, j][points[:, j] < r], r)) for j, r in enumerate(reference)
    ]
    volume = 0.0
    for cell in itertools.product(*(range(len(axis) - 1) for axis in axes)):
        low = np.array([axis[i] for axis, i in zip(axes, cell, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(axes, cell, strict=True)])
        if (points <= low).all(1).any():
            volume += np.prod(high - low)
    return volume


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5).flatmap(lambda j: costs(j, 12 if j < 4 else 4)), st.floats(0.2, 1.2))
def test_hypervolume_is_that_of_all_cells(points, corner):
    reference = np.full(points.shape[1], corner)
    expected = brute_volume(points, reference)
    assert hypervolume(points, reference) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("criteria", [2, 3])
def test_hypervolume_against_monte_carlo(criteria):
    random = np.random.default_rng(criteria)
    points = random.random((20, criteria))
    draws = random.random((200_000, criteria)) * 1.1
    hit = np.zeros(len(draws), dtype=bool)
    for point in points:
        hit |= (point <= draws).all(1)
    volume = 1.1**criteria
    error = volume * np.sqrt(hit.mean() * (1 - hit.mean()) / len(draws))
    found = hypervolume(points, np.full(criteria, 1.1))
    assert found == pytest.approx(volume * hit.mean(), abs=4 * error)


@pytest.mark.parametrize("criteria", [2, 3])
def test_hypervolume_of_few_criteria_is_that_of_the_library_for_many(criteria):
    random = np.random.default_rng(criteria)
    for _ in range(20):
        points, corner = random.random((30, criteria)), random.uniform(0.5, 1.2, criteria)
        expected = moocore.hypervolume(points, ref=corner)
        assert hypervolume(points, corner) == pytest.approx(expected, abs=1e-12)
        # A criterion in which all are alike multiplies the volume by its distance.
        wide = np.column_stack([points, np.full((30, 4 - criteria), 0.25)])
        more = hypervolume(wide, [*corner, *[0.75] * (4 - criteria)])
        assert more == pytest.approx(expected * 0.5 ** (4 - criteria), abs=1e-12)


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "moocore", None)
    with pytest.raises(SetupError, match=r"4 criteria.*fairlightning\[pareto\]"):
        hypervolume([[0.1] * 4], [1.0] * 4)
    assert hypervolume([[0.5] * 3], [1.0] * 3) == 0.125


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 3).flatmap(lambda j: costs(j, 8)), st.integers(1, 5))
def test_bounded_front_keeps_the_front_or_a_part_that_never_gets_worse(points, keep):
    corner = np.full(points.shape[1], 1.1)
    front = {tuple(p) for p in points[nondominated(points)]}
    held = [points[bounded_front(points[: i + 1], keep, corner)] for i in range(len(points))]
    volumes = [hypervolume(rows, corner) for rows in held]
    assert (np.diff(volumes) >= -1e-12).all()
    last = {tuple(p) for p in held[-1]}
    assert len(last) == len(held[-1]) <= keep
    assert nondominated(held[-1]).all()
    if len(front) == 1 or all(len(rows) < keep for rows in held):
        assert last == front
    # What was decided is not decided again.
    assert bounded_front(held[-1], keep, corner).tolist() == list(range(len(last)))


def test_bounded_front_drops_the_least_contribution_and_of_equals_the_newest():
    points = [[0.0, 0.8], [0.8, 0.0], [0.4, 0.4], [0.41, 0.39], [0.0, 0.8]]
    assert bounded_front(points, 4, [1.0, 1.0]).tolist() == [0, 1, 2, 3]
    assert bounded_front(points, 3, [1.0, 1.0]).tolist() == [0, 1, 2]
    scaled = np.array(points) * [1e-3, 1e6]
    assert bounded_front(scaled, 3, [1e-3, 1e6]).tolist() == [0, 1, 2]
    # Beyond the reference nothing counts, and goes first.
    assert bounded_front([[0.0, 2.0], [0.9, 0.9]], 1, [1.0, 1.0]).tolist() == [1]


@given(costs(2))
def test_best_within_is_that_of_brute_force(points):
    for bound in (0.0, 0.3, 1.0):
        allowed = [i for i in range(len(points)) if points[i, 1] <= bound]
        if not allowed:
            with pytest.raises(ArgumentError, match="bound"):
                best_within(points, bound)
            continue
        chosen = best_within(points, bound)
        assert tuple(points[chosen]) == min(tuple(points[i]) for i in allowed)
        mirrored = best_within(points[:, ::-1], bound, minimise=1, bounded=0)
        assert mirrored == chosen


@given(costs(3))
def test_what_is_chosen_lies_on_the_front(points):
    mask = nondominated(points)
    assert mask[closest_to_ideal(points)]
    assert nondominated(points[:, :2])[knee(points[:, :2])]
    for weights in ([1.0, 2.0, 0.5], [1.0, 0.0, 0.0]):
        chosen = best_weighted(points, weights)
        assert mask[chosen]
        assert points[chosen] @ weights == min(points @ weights)


def test_knee_and_ideal_do_not_depend_on_units():
    points = np.array([[0.0, 1.0], [0.1, 0.35], [0.3, 0.2], [0.7, 0.1], [1.0, 0.0], [0.9, 0.9]])
    assert knee(points) == 1  # 0.45 < 0.5
    assert closest_to_ideal(points) == 2  # 0.3² + 0.2² < 0.1² + 0.35²
    for scale in ([1.0, 100.0], [0.01, 3.0]):
        assert knee(points * scale + 5) == knee(points)
        assert closest_to_ideal(points * scale + 5) == closest_to_ideal(points)


def test_knee_of_a_front_that_bulges_is_an_end():
    angle = np.linspace(0, np.pi / 2, 9)
    assert knee(np.column_stack([np.sin(angle), np.cos(angle)])) == 0


@given(costs(2), st.floats(0.0, 1.0))
def test_mixture_is_the_best_of_all_mixtures(points, bound):
    if points[:, 1].min() > bound:
        with pytest.raises(ArgumentError, match="bound"):
            best_mixture(points, bound)
        return
    # Over the shares of all models at once; two suffice at the optimum of this linear program.
    one = np.ones((1, len(points)))
    program = linprog(points[:, 0], A_ub=points[:, 1:].T, b_ub=[bound], A_eq=one, b_eq=[1.0])
    found = best_mixture(points, bound)
    assert found.costs[0] == pytest.approx(program.fun, abs=1e-7)
    assert found.costs[1] <= bound + 1e-12
    mixed = found.share * points[found.first] + (1 - found.share) * points[found.second]
    np.testing.assert_allclose(mixed, found.costs)


def test_mixture_of_decisions_has_the_expected_costs():
    # Two classifiers whose gaps have opposite signs: the bound on the gap is kept with room.
    random = np.random.default_rng(0)
    group = random.integers(0, 2, 100_000)
    rates = np.array([[0.5, 0.8], [0.55, 0.45]])  # selection rate by classifier and group
    decided = [random.random(len(group)) < rates[k][group] for k in range(2)]

    def gap(d):
        return d[group == 1].mean() - d[group == 0].mean()

    found = best_mixture([[0.1, abs(gap(decided[0]))], [0.2, abs(gap(decided[1]))]], 0.2)
    drawn = random.random(len(group)) < found.share
    mixture = np.where(drawn, decided[found.first], decided[found.second])
    signed = found.share * gap(decided[found.first])
    signed += (1 - found.share) * gap(decided[found.second])
    assert gap(mixture) == pytest.approx(signed, abs=0.015)
    assert abs(gap(mixture)) < found.costs[1]


@given(st.lists(costs(2, most=5), min_size=1, max_size=5), st.sampled_from([0.2, 0.5, 1.0]))
def test_attainment_counts_runs(fronts, share):
    surface = attainment(fronts, share=share)
    assert nondominated(surface).all()

    def attained_by(x, y):
        return sum(((f[:, 0] <= x) & (f[:, 1] <= y)).any() for f in fronts)

    needed = share * len(fronts)
    for x, y in itertools.product(np.arange(7) / 6, repeat=2):
        above = ((surface[:, 0] <= x) & (surface[:, 1] <= y)).any()
        assert above == (attained_by(x, y) >= needed - 1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nondominated([0.1, 0.2]), "costs: found shape"),
        (lambda: nondominated(np.zeros((0, 2))), "costs: found shape"),
        (lambda: nondominated([[0.1, np.nan]]), "NaN in rows"),
        (lambda: bounded_front([[0.1, 0.2]], 0, [1.0, 1.0]), "keep: found 0"),
        (lambda: hypervolume([[0.1, 0.2]], [1.0]), "reference"),
        (lambda: best_within([[0.1, 0.2]], 0.5, minimise=2), "minimise"),
        (lambda: best_weighted([[0.1, 0.2]], [1.0, -1.0]), "weights"),
        (lambda: knee([[0.1, 0.2, 0.3]]), "3 criteria"),
        (lambda: best_mixture([[0.1, 0.2, 0.3]], 0.5), "3 criteria"),
        (lambda: knee([[0.1, 0.2], [0.05, np.inf]]), r"no finite number in rows \[1\]"),
        (lambda: closest_to_ideal([[0.1, 0.2], [0.05, np.inf]]), "no finite number"),
        (lambda: attainment([]), "fronts"),
        (lambda: attainment([[[0.1, 0.2]]], share=0.0), "share"),
    ],
)
def test_mistakes_have_named_errors(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()


def test_code_of_the_page_says_what_it_does():
    page = Path(__file__).parents[2] / "docs" / "multi_objective.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    assert nondominated(names["costs"]).tolist() == [True, True, True, False]
    assert best_within(names["costs"], 0.10) == 1


def test_lexicographic_without_tolerance_is_the_order_of_tuples():
    # Few values, so that first criteria often tie.
    costs = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(float)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        best = min(tuple(row[order]) for row in costs)
        assert tuple(costs[lexicographic(costs, order)][order]) == best


@pytest.mark.parametrize("allowed", [0.0, 0.05, 0.5, 2.0])
def test_lexicographic_with_tolerance_is_the_second_criterion_under_a_bound(allowed):
    costs = np.random.default_rng(1).random((40, 2))
    bound = costs[:, 0].min() + allowed
    assert lexicographic(costs, [0, 1], allowed) == best_within(costs, bound, minimise=1, bounded=0)


def test_lexicographic_takes_a_tolerance_for_each_stage():
    costs = [[0.0, 5.0, 9.0], [1.0, 2.0, 5.0], [1.0, 3.0, 1.0], [2.0, 0.0, 0.0]]
    assert lexicographic(costs, [0, 1, 2], [1.0, 0.0]) == 1
    assert lexicographic(costs, [0, 1, 2], [1.0, 1.0]) == 2
    assert lexicographic(costs, [0, 1, 2], [2.0, 0.0]) == 3


@pytest.mark.parametrize(
    ("order", "tolerance", "named"),
    [
        ([], 0.0, "order"),
        ([0, 0], 0.0, "order"),
        ([0, 2], 0.0, "order"),
        ([-1], 0.0, "order"),
        ([0, 1], -0.1, "tolerance"),
        ([0, 1], [0.1, 0.1], "tolerance"),
    ],
)
def test_lexicographic_refuses_by_name(order, tolerance, named):
    with pytest.raises(ArgumentError, match=named):
        lexicographic([[0.1, 0.2], [0.2, 0.1]], order, tolerance)
