import pickle
from functools import partial
from itertools import pairwise

import pytest

from fairlightning.exceptions import ArgumentError
from fairlightning.functional import schedules

RAMPS = ["linear", "cosine", "exponential", "sigmoid", "warmup"]


@pytest.mark.parametrize("name", RAMPS)
def test_ramps_rise_from_start_to_end_and_stay(name):
    ramp = getattr(schedules, name)
    values = [ramp(i / 50) for i in range(51)]
    assert values[0] == pytest.approx(0.1)
    assert values[-1] == pytest.approx(1.0)
    assert all(a <= b + 1e-12 for a, b in pairwise(values))
    assert ramp(-1.0) == values[0]
    assert ramp(7.0) == values[-1]


@pytest.mark.parametrize("name", RAMPS)
def test_ramps_can_fall_and_be_pickled(name):
    ramp = pickle.loads(pickle.dumps(partial(getattr(schedules, name), start=2.0, end=0.5)))
    assert ramp(0.0) == pytest.approx(2.0)
    assert ramp(1.0) == pytest.approx(0.5)


def test_constant():
    assert {schedules.constant(p, end=0.4) for p in (0.0, 0.5, 1.0)} == {0.4}


def test_bad_values_are_refused():
    with pytest.raises(ArgumentError, match="greater than 0"):
        schedules.exponential(0.5, start=0.0)
    with pytest.raises(ArgumentError, match="hold"):
        schedules.warmup(0.5, hold=1.0)
