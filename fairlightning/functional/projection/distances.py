"""One row of the projection onto the fair set: where it goes when its cells are shifted by s.

For the squared distance x = clip(p − s), for the Kullback-Leibler divergence KL(x‖p) it is
x = σ(logit p − s). Everything is elementwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Distance = Literal["squared", "kl"]

DISTANCES: tuple[Distance, ...] = ("squared", "kl")

_LARGEST = 700.0


class Shift(NamedTuple):
    """What the solver has to know of a distance d(x, p).

    Attributes:
        respond: (p, s) → x, the minimiser of d(x, p) + s·x over [0, 1], and −∂x/∂s ≥ 0.
        input_slope: (p, s) → ∂x/∂p; None where it equals −∂x/∂s.
        conjugate: (p, s) → −min of d(x, p) + s·x.
        steepest: Largest −∂x/∂s.
    """

    respond: Callable[[Array, Array], tuple[Array, Array]]
    input_slope: Callable[[Array, Array], Array] | None
    conjugate: Callable[[Array, Array], Array]
    steepest: float


def _squared_response(p: Array, s: Array) -> tuple[Array, Array]:
    moved = p - s
    x = np.minimum(np.maximum(moved, 0.0), 1.0)
    return x, (x == moved).astype(np.float64)


def _squared_conjugate(p: Array, s: Array) -> Array:
    x = np.minimum(np.maximum(p - s, 0.0), 1.0)
    result: Array = -np.square(x - p) / 2 - x * s
    return result


def _odds(p: Array, s: Array) -> tuple[Array, Array]:
    # In this form probabilities of exactly 0 and 1 stay, where their logits would be infinite.
    factor = np.exp(np.clip(s, -_LARGEST, _LARGEST))
    return factor, p + (1 - p) * factor


def _kl_response(p: Array, s: Array) -> tuple[Array, Array]:
    x = p / _odds(p, s)[1]
    return x, x * (1 - x)


def _kl_conjugate(p: Array, s: Array) -> Array:
    # Unlike the response it grows with s for ever, and shifts are compared by it.
    with np.errstate(divide="ignore"):
        result: Array = np.logaddexp(np.log(p), np.log1p(-p) + s) - s
    return result


def _kl_input_slope(p: Array, s: Array) -> Array:
    factor, total = _odds(p, s)
    return (1 / total) * (factor / total)


SHIFTS: dict[Distance, Shift] = {
    "squared": Shift(_squared_response, None, _squared_conjugate, 1.0),
    "kl": Shift(_kl_response, _kl_input_slope, _kl_conjugate, 0.25),
}
"""By distance; `squared` is half the squared difference here."""
