"""Real handwritten digits with a bias put in: images whose colour goes with the class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.datasets import load_digits

from fairlightning.data.arrays import ArrayDataModule, Arrays
from fairlightning.data.splits import SPLITS, stratified_splits
from fairlightning.exceptions import DataError, check_choice

COLOURS = ("red", "green")
TARGETS = ("high", "digit")


def biased_digits(
    strength: float = 0.8,
    test_strength: float = 0.0,
    target: Literal["high", "digit"] = "high",
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    **overrides: Any,
) -> ArrayDataModule:
    """Give 1,797 handwritten digits, 8 × 8, each in red or green ink; the ink is sensitive.

    Digits of 5 and more are written in green with probability (1 + s) / 2, those below with
    (1 − s) / 2; s is the correlation of ink and class, from −1 to 1. Where it is high a network
    learns to look at the ink. With another s in the test, 0 or one of the opposite sign, that shows
    as lost accuracy and, at any s, as a gap between inks.

    Args:
        strength: Correlation s in the training and validation rows.
        test_strength: Correlation s in the test rows.
        target: `high`, whether the digit is at least 5, or the `digit` itself.
        val_fraction: Share of the rows for validation.
        test_fraction: Share of the rows for the test.
        seed: Seed of the splits, the inks and the order of training rows.
        **overrides: Further arguments of `ArrayDataModule`, such as `batch_size`.

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
    check_choice("target", target, TARGETS)
    for name, value in {"strength": strength, "test_strength": test_strength}.items():
        if not -1 <= value <= 1:
            raise DataError.of(
                name, found=value, expected="a correlation in [-1, 1]", mend=f"pass {name}=0.8"
            )

    def read() -> Arrays:
        images, digit = load_digits(return_X_y=True)
        rows = stratified_splits(
            (digit >= 5).astype(np.int64),
            digit,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
        split = np.empty(len(digit), dtype=object)
        for name in SPLITS:
            split[rows[name]] = name
        correlation = np.where(split == "test", test_strength, strength)
        green = _inks(digit >= 5, correlation, seed)
        columns = {"digit": digit, "high": (digit >= 5).astype(int), "split": split}
        table = pd.DataFrame({**columns, "colour": np.where(green, "green", "red")})
        return Arrays(_coloured(images.reshape(-1, 8, 8) / 16, green), table)

    arguments = {"sensitive": {"colour": COLOURS}, "split": "split", "seed": seed}
    return ArrayDataModule(read, target, **{**arguments, **overrides})


def _inks(
    high: npt.NDArray[np.bool_], correlation: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.bool_]:
    random = np.random.default_rng((seed, 5))  # apart from the splits, which have this seed too
    goes_with_class = random.random(len(high)) < (1 + correlation) / 2
    return np.equal(goes_with_class, high)


def _coloured(grey: npt.NDArray[np.float64], green: npt.NDArray[np.bool_]) -> torch.Tensor:
    """`(N, height, width)` in [0, 1] → `(N, 3, height, width)` with one of red and green."""
    images = np.zeros((len(grey), 3, *grey.shape[1:]), dtype=np.float32)
    images[np.arange(len(grey)), green.astype(int)] = grey
    return torch.from_numpy(images)
