"""The Adult table that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlightning.data.tabular import TabularDataModule

ADULT = Path(__file__).with_name("adult.parquet")
"""45,222 rows of UCI Adult without missing values; see `ADULT.md` beside it."""


def adult(**overrides: Any) -> TabularDataModule:
    """Adult: is a person's income of 1994 above 50,000 dollars?

    Sensitive attributes are sex (2 categories) and race (5). The survey weight `fnlwgt` is left
    out, as is usual.

    Args:
        **overrides: Arguments of `TabularDataModule` that replace those given here.

    References:
        Becker, B. & Kohavi, R. (1996). Adult. UCI Machine Learning Repository.
        https://doi.org/10.24432/C5XW20 (CC BY 4.0)

    >>> data = adult(batch_size=512)
    >>> data.setup()
    >>> data.num_numeric, data.cardinalities
    (5, [8, 17, 8, 15, 7, 42])
    """
    arguments: dict[str, Any] = {
        "source": ADULT,
        "target": "income",
        "positive": ">50K",
        "sensitive": {
            "sex": ["Female", "Male"],
            "race": ["Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other", "White"],
        },
        "numeric": ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"],
        "categorical": [
            "workclass",
            "education",
            "marital-status",
            "occupation",
            "relationship",
            "native-country",
        ],
        "ignore": ["fnlwgt"],
    }
    return TabularDataModule(**{**arguments, **overrides})
