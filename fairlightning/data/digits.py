"""Real handwritten digits with a bias put in, as images and as sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from fairlightning.data.arrays import ArrayDataModule, Arrays
from fairlightning.data.splits import SPLITS, Ints, stratified_splits
from fairlightning.exceptions import DataError, check_choice

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

COLOURS = {"colour": ("red", "green")}
DIRECTIONS = {"direction": ("down", "up")}
TARGETS = ("high", "digit")


def biased_digits(
    strength: float = 0.8,
    test_strength: float = 0.0,
    target: Literal["high", "digit"] = "high",
    **options: Any,
) -> ArrayDataModule:
    """Give 1,797 handwritten digits, 8 × 8, each in red or green ink; the ink is sensitive.

    Of the digits of 5 and more a share of (1 + s) / 2 is written in green, of those below a share
    of (1 − s) / 2; s is the correlation of ink and class, from −1 to 1. Where it is high a network
    learns to look at the ink. With another s in the test, 0 or one of the opposite sign, that shows
    as lost accuracy and, at any s, as a gap between inks.

    Args:
        strength: Correlation s in the training and validation rows.
        test_strength: Correlation s in the test rows.
        target: `high`, whether the digit is at least 5, or the `digit` itself.
        **options: `val_fraction`, `test_fraction` and `seed`, of splits, inks and the order of
            rows, and further arguments of `ArrayDataModule`, such as `batch_size`.

    Returns:
        A data module with images `(N, 3, 8, 8)` in [0, 1], whose columns `digit` and `colour` are
        in `frame`.

    Raises:
        DataError: If a correlation is outside of [−1, 1].

    References:
        Alpaydin, E. & Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Machine
        Learning Repository. https://doi.org/10.24432/C50P49 (CC BY 4.0), as scikit-learn has it.
        Colour as bias: Kim et al., "Learning not to learn" (CVPR 2019).

    >>> data = biased_digits()
    >>> data.setup()
    >>> data.groups.to_dict(), data.batch("train").inputs.shape
    ({'colour': ['red', 'green']}, torch.Size([1079, 3, 8, 8]))
    """
    return _digits(_coloured, COLOURS, strength, test_strength, target, **options)


def digit_rows(
    strength: float = 0.8,
    test_strength: float = 0.0,
    target: Literal["high", "digit"] = "high",
    **options: Any,
) -> ArrayDataModule:
    """Give the digits as sequences of rows, read down or up; the direction is sensitive.

    A step has the 8 grey levels of a row. Of the digits of 5 and more a share of (1 + s) / 2 is
    read up, of those below a share of (1 − s) / 2. All else is as in `biased_digits`.

    Args:
        strength: Correlation s of direction and class in the training and validation rows.
        test_strength: Correlation s in the test rows.
        target: `high`, whether the digit is at least 5, or the `digit` itself.
        **options: As in `biased_digits`.

    Returns:
        A data module with `(N, 8, 8)` features in [0, 1] and lengths `(N,)`.

    Raises:
        DataError: If a correlation is outside of [−1, 1].

    >>> data = digit_rows()
    >>> data.setup()
    >>> values, lengths = data.batch("test").inputs
    >>> values.shape, lengths.unique(), data.input_sizes
    (torch.Size([359, 8, 8]), tensor([8]), {'features': 8})
    """
    return _digits(_rows, DIRECTIONS, strength, test_strength, target, **options)


def _digits(
    form: Callable[[Floats, Bools], Any],
    sensitive: Mapping[str, tuple[str, str]],
    strength: float,
    test_strength: float,
    target: str,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    **overrides: Any,
) -> ArrayDataModule:
    """Digits in a form that depends on the group, which goes with the class."""
    check_choice("target", target, TARGETS)
    for name, value in {"strength": strength, "test_strength": test_strength}.items():
        if not -1 <= value <= 1:
            raise DataError.of(
                name, found=value, expected="a correlation in [-1, 1]", mend=f"pass {name}=0.8"
            )
    [(attribute, categories)] = sensitive.items()

    def read() -> Arrays:
        images, digit = load_digits(return_X_y=True)
        high = digit >= 5
        rows = stratified_splits(
            high.astype(np.int64),
            digit,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
        split = np.empty(len(digit), dtype=object)
        for name in SPLITS:
            split[rows[name]] = name
        wanted = {"train": strength, "validation": strength, "test": test_strength}
        second = _second_group(high, rows, wanted, seed)
        columns = {"digit": digit, "high": high.astype(int), "split": split}
        table = pd.DataFrame({**columns, attribute: np.where(second, *reversed(categories))})
        return Arrays(form(images.reshape(-1, 8, 8) / 16, second), table)

    arguments = {"sensitive": dict(sensitive), "split": "split", "seed": seed}
    return ArrayDataModule(read, target, **{**arguments, **overrides})


def _second_group(
    high: Bools, rows: Mapping[str, Ints], strength: Mapping[str, float], seed: int
) -> Bools:
    """Which digits get the second category: in every split as many of each class as s says."""
    random = np.random.default_rng((seed, 5))  # apart from the splits, which have this seed too
    second = high.copy()
    for name, part in rows.items():
        for of_class in (part[high[part]], part[~high[part]]):
            against = round(len(of_class) * (1 - strength[name]) / 2)
            moved = random.permutation(of_class)[:against]
            second[moved] = ~second[moved]
    return second


def _coloured(grey: Floats, green: Bools) -> Tensor:
    """`(N, height, width)` in [0, 1] → `(N, 3, height, width)` with one of red and green."""
    images = np.zeros((len(grey), 3, *grey.shape[1:]), dtype=np.float32)
    images[np.arange(len(grey)), green.astype(int)] = grey
    return torch.from_numpy(images)


def _rows(grey: Floats, up: Bools) -> tuple[Tensor, Tensor]:
    """`(N, height, width)` → steps from top to bottom or back, and their number."""
    values = np.where(up[:, None, None], grey[:, ::-1], grey).astype(np.float32)
    return torch.from_numpy(values), torch.full((len(values),), values.shape[1])
