"""Preferences over several losses, as weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

from fairlightning.exceptions import ArgumentError


def simplex_grid(objectives: Sequence[str], steps: int) -> dict[str, list[float]]:
    """Weights spread evenly over the simplex: all multiples of 1/steps that add up to 1.

    The grid of normal-boundary intersection (Das and Dennis 1998, SIAM J. Optim. 8(3)). As the
    `strength` of a `FrontModule` it trains one member for each point; with `task` among the names,
    the weight of the task loss is a coordinate too.

    Args:
        objectives: J ≥ 1 different names.
        steps: At least 1; each weight is one of 0, 1/steps, ..., 1.

    Returns:
        By name K = C(steps + J − 1, J − 1) weights in [0, 1]; the first name's rise.

    Raises:
        ArgumentError: If there is no name, one occurs twice, or `steps` is less than 1.

    >>> simplex_grid(["task", "parity"], 4)
    {'task': [0.0, 0.25, 0.5, 0.75, 1.0], 'parity': [1.0, 0.75, 0.5, 0.25, 0.0]}
    >>> len(simplex_grid(["task", "parity", "complexity"], 4)["task"])
    15
    """
    names = list(objectives)
    if not names or len(set(names)) < len(names):
        raise ArgumentError.of(
            "objectives",
            found=names,
            expected="at least one name, each once",
            mend='pass ["task", "parity"]',
        )
    if steps < 1:
        raise ArgumentError.of("steps", found=steps, expected="at least 1", mend="pass steps=4")
    # Stars and bars: J - 1 bars among steps + J - 1 places leave J gaps that add up to steps.
    last = steps + len(names) - 1
    points = []
    for bars in combinations(range(last), len(names) - 1):
        edges = (-1, *bars, last)
        points.append([(b - a - 1) / steps for a, b in pairwise(edges)])
    return {
        name: list(column) for name, column in zip(names, zip(*points, strict=True), strict=True)
    }
