"""How well guesses recover a sensitive attribute, against what guessing blindly gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fairlightning.functional.intervals import rate_interval
from fairlightning.metrics.records import Record

Ints = NDArray[np.int64]


class Recovery(NamedTuple):
    """How well an attribute was recovered from one source.

    Attributes:
        attribute: Sensitive attribute.
        source: What the guess was made from: `representation` or `logits`.
        accuracy: Balanced accuracy: the mean over the groups of the share of their rows that was
            guessed. None where fewer than two groups could be told apart.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        chance: What a blind guess reaches, 1 / number of groups.
        label_alone: What the best guess from the true label alone reaches, at least `chance`: a
            representation that holds the label and nothing else gives that away.
        support: Rows of the groups that took part.
        left_out: Rows of groups too small to take part, by group, and of unknown group.
    """

    attribute: str
    source: str
    accuracy: float | None
    low: float | None
    high: float | None
    chance: float
    label_alone: float
    support: int
    left_out: dict[str, int]

    def record(self, stage: str) -> Record:
        """The accuracy as a record, whose metric is `probe_<source>`."""
        figures = self.accuracy, self.low, self.high, self.support
        return Record(stage, f"probe_{self.source}", self.attribute, None, *figures)


def balanced_accuracy(guess: Ints, truth: Ints, groups: Ints) -> tuple[float, float, float]:
    """Balanced accuracy with its 95 % interval.

    The groups' shares are independent, so their intervals combine by square and add (Newcombe
    1998, Statistics in Medicine 17:873; Zou & Donner 2008, Statistics in Medicine 27:1693).

    Args:
        guess: `(N,)` guessed groups.
        truth: `(N,)` groups.
        groups: Those that the mean is over, each with rows.

    Returns:
        The accuracy, lower and upper end.

    >>> truth = np.array([0] * 30 + [1] * 10)
    >>> accuracy, low, high = balanced_accuracy(np.zeros(40, np.int64), truth, np.array([0, 1]))
    >>> accuracy, round(low, 3), round(high, 3)
    (0.5, 0.448, 0.641)
    """
    rows = torch.tensor([float((truth == group).sum()) for group in groups], dtype=torch.float64)
    right = torch.tensor([float(((truth == group) & (guess == group)).sum()) for group in groups])
    share = right.double() / rows
    low, high = rate_interval(right.double(), rows)
    mean = share.mean()
    below = (share - low).square().sum().sqrt() / len(groups)
    above = (high - share).square().sum().sqrt() / len(groups)
    return float(mean), float(mean - below), float(mean + above)


def label_alone(truth: Ints, target: Ints, groups: Ints) -> float:
    """Balanced accuracy of the best guess of the group from the label alone.

    >>> label_alone(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array([0, 1]))
    0.75
    """
    shares = [
        [float((target[truth == group] == label).mean()) for group in groups]
        for label in np.unique(target)
    ]
    return float(np.max(shares, axis=1).sum() / len(groups))
