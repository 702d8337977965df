"""Bins of equal frequency: the groups in which metrics count a continuous attribute."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from fairlightning.data.values import numbers
from fairlightning.exceptions import DataError


def quantile_bins(column: pd.Series, bins: int = 4) -> tuple[list[str], pd.Series]:
    """Cut numbers at their quantiles.

    Where many rows share a value, bins that would be empty fall away.

    Args:
        column: `(N,)` numbers; missing ones stay missing.
        bins: Number of bins, at least 2.

    Returns:
        Names of the bins, ascending, and the name `(N,)` of each row's bin. A name holds the edges:
        `(28, 37]` are values above 28 up to 37, `[17, 28]` has both its ends.

    Raises:
        DataError: If a value is no number, or fewer than two bins are asked for or come out.

    >>> quantile_bins(pd.Series([1, 2, 3, 4, None], name="age"), 2)[0]
    ['[1, 2.5]', '(2.5, 4]']
    """
    name = str(column.name)
    values = numbers(column.to_frame(name), [name])[:, 0]
    edges = np.array([])
    if bins >= 2 and not np.isnan(values).all():
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) < 3:
        raise DataError.of(
            f"continuous {name!r}",
            found=f"{max(len(edges) - 1, 0)} bins of {bins} asked for",
            expected="two bins or more with rows",
            mend="ask for more bins, or list the column as a plain sensitive attribute",
        )
    shown = [f"{edge:.4g}" for edge in edges]
    if len(set(shown)) < len(shown):
        shown = [repr(float(edge)) for edge in edges]
    pairs = pairwise(shown)
    names = [f"{'(' if i else '['}{low}, {high}]" for i, (low, high) in enumerate(pairs)]
    cut = pd.cut(values, list(edges), labels=names, include_lowest=True)
    return names, pd.Series(cut, index=column.index, name=column.name).astype("string")
