"""Rows from a known causal structure with a known bias, for tests and teaching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from fairlightning.data.tabular import TabularDataModule
from fairlightning.exceptions import DataError

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True)
class Structure:
    """Structural equations of a hiring process; A is the sensitive attribute, 1 for group b.

        A ~ Bernoulli(share)
        skill = ε₁
        proxy = proxy · (2A − 1) + ε₂
        test = skill + path · (2A − 1) / 2 + ε₃
        merit ~ Bernoulli(σ(2 · skill))                          what a fair process would label
        label = merit, but 0 instead of 1 with probability bias where A = 0

    The ε are independent standard normal numbers. Only proxy and test are features; skill and merit
    are kept in the table for study and are no features.

    Attributes:
        share: P(A = 1), in (0, 1).
        proxy: How much the proxy tells about A: A → proxy.
        path: By how much the test favours group b, which has the same skill: A → test.
        bias: Share of the positive labels of group a that history turned into 0, in [0, 1).

    Raises:
        DataError: If a share is out of range.

    >>> structure = Structure(path=1.0, bias=0.3)
    >>> round(structure.label_gap(), 3), round(structure.merit_gap(), 3)
    (0.15, 0.0)
    """

    share: float = 0.5
    proxy: float = 1.0
    path: float = 0.5
    bias: float = 0.2

    def __post_init__(self) -> None:
        for name, low in {"share": 1e-9, "bias": 0.0}.items():
            value = getattr(self, name)
            if not low <= value < 1:
                raise DataError.of(
                    name, found=value, expected="a share below 1", mend=f"pass {name}=0.2"
                )

    def draw(self, rows: int, seed: int = 0) -> pd.DataFrame:
        """Draw rows with the columns group, proxy, test, skill, merit and label."""
        random = np.random.default_rng(seed)
        a = random.random(rows) < self.share
        e1, e2, e3 = random.standard_normal((3, rows))
        side = 2.0 * a - 1
        merit = random.random(rows) < expit(2 * e1)
        kept = a | (random.random(rows) >= self.bias)
        return pd.DataFrame(
            {
                "group": np.where(a, "b", "a"),
                "proxy": self.proxy * side + e2,
                "test": e1 + self.path * side / 2 + e3,
                "skill": e1,
                "merit": merit.astype(int),
                "label": (merit & kept).astype(int),
            }
        )

    def merit_gap(self) -> float:
        """P(merit | b) − P(merit | a): 0, since skill does not depend on the group."""
        return 0.0

    def label_gap(self) -> float:
        """P(label = 1 | b) − P(label = 1 | a)."""
        return self.bias * _mean(expit(2 * NODES))

    def selection_rates(self, threshold: float) -> tuple[float, float]:
        """P(test ≥ threshold) in group a and b, of the rule that selects by the test alone."""
        # test is normal with mean ± path / 2 and variance 2.
        high = [norm.sf((threshold - side * self.path / 2) / np.sqrt(2)) for side in (-1, 1)]
        return float(high[0]), float(high[1])

    def true_positive_rates(self, threshold: float) -> tuple[float, float]:
        """P(test ≥ threshold | label = 1) in group a and b, of the same rule.

        The bias does not show in it: which of the positive labels it turned is left to chance.
        """
        positive = expit(2 * NODES)
        rates = [
            _mean(positive * norm.sf(threshold - NODES - side * self.path / 2)) / _mean(positive)
            for side in (-1, 1)
        ]
        return rates[0], rates[1]


def synthetic(
    rows: int = 4000,
    share: float = 0.5,
    proxy: float = 1.0,
    path: float = 0.5,
    bias: float = 0.2,
    seed: int = 0,
    **overrides: Any,
) -> TabularDataModule:
    """Rows of a `Structure` as a data set: the label is biased, a proxy tells about the group.

    Args:
        rows: Number of rows, at least 20.
        share: Share of group b.
        proxy: How much the proxy tells about the group.
        path: By how much the test favours group b.
        bias: Share of group a's positive labels that were turned into 0.
        seed: Of rows and splits.
        **overrides: Arguments of `TabularDataModule`.

    Raises:
        DataError: If an argument is out of range.

    >>> data = synthetic(rows=200)
    >>> data.setup()
    >>> data.feature_names, data.groups.to_dict()
    (['proxy', 'test'], {'group': ['a', 'b']})
    """
    if rows < 20:
        raise DataError.of("rows", found=rows, expected="20 or more", mend="pass rows=4000")
    structure = Structure(share, proxy, path, bias)
    arguments = {
        "sensitive": ["group"],
        "numeric": ["proxy", "test"],
        "categorical": [],
        "ignore": ["skill", "merit"],
        "seed": seed,
    }
    return TabularDataModule(
        lambda: structure.draw(rows, seed), "label", **{**arguments, **overrides}
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Expectation of a function of a standard normal number, from its values at `NODES`."""
    return float(values @ WEIGHTS / WEIGHTS.sum())
