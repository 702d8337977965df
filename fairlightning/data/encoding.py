"""Features of a table as tensors, by what the training rows taught."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fairlightning.data.roles import Features
from fairlightning.data.table import check_columns
from fairlightning.data.values import numbers
from fairlightning.groups import as_labels


class TableEncoder:
    """Learns from the training rows how to encode any rows that have the feature columns.

    Numeric columns: a missing value becomes the median, then the column gets mean 0 and standard
    deviation 1. Each column with missing values in the training rows adds an indicator (0 or 1)
    after the numeric columns. Categorical columns: the known categories, sorted, become 1 to n; a
    value that is missing or was not seen in the training rows becomes 0.

    Args:
        features: The columns.
        train: The training rows.

    Attributes:
        features: The columns.
        categories: Known categories of every categorical column.
        indicated: Numeric columns with an indicator.

    Raises:
        DataError: If a numeric column holds a value that is no finite number.
    """

    def __init__(self, features: Features, train: pd.DataFrame) -> None:
        self.features = features
        self.indicated: tuple[str, ...] = ()
        if features.numeric:
            # A column that is empty in the training rows stays, as a constant, in all rows: its
            # values have no scale, and no weight has learned from them.
            impute = SimpleImputer(strategy="median", keep_empty_features=True)
            missing = MissingIndicator(error_on_new=False)
            self._numeric = make_union(make_pipeline(impute, StandardScaler()), missing)
            values = numbers(train, features.numeric)
            self._empty = np.isnan(values).all(axis=0)
            self._numeric.fit(values)
            self.indicated = tuple(features.numeric[column] for column in missing.features_)
        self.categories = {
            name: sorted(as_labels(train[name]).dropna().unique()) for name in features.categorical
        }

    @property
    def num_numeric(self) -> int:
        """Number of numeric inputs `D`, indicators included."""
        return len(self.features.numeric) + len(self.indicated)

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of every categorical column, code 0 included."""
        return [len(known) + 1 for known in self.categories.values()]

    @property
    def names(self) -> list[str]:
        """Names of the `D` numeric and `F` categorical inputs."""
        indicators = [f"{name} is missing" for name in self.indicated]
        return [*self.features.numeric, *indicators, *self.features.categorical]

    def __call__(self, frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
        """Encode rows.

        Returns:
            `(N, D)` float32 numbers and `(N, F)` int64 codes.

        Raises:
            DataError: If a feature column does not exist, or a numeric one holds a value that is
                no finite number.
        """
        check_columns(frame, [*self.features.numeric, *self.features.categorical], "frame")
        numeric = np.empty((len(frame), 0))
        if self.features.numeric and len(frame):
            values = numbers(frame, self.features.numeric)
            values[:, self._empty] = np.nan
            numeric = self._numeric.transform(values)
        codes = np.empty((len(frame), len(self.categories)), dtype=np.int64)
        for column, (name, known) in enumerate(self.categories.items()):
            # pandas gives -1 to what is missing or unknown.
            labels = pd.Categorical(as_labels(frame[name]), categories=known)
            codes[:, column] = labels.codes.astype(np.int64) + 1
        shape = (len(frame), self.num_numeric)
        return torch.from_numpy(numeric.astype(np.float32)).reshape(shape), torch.from_numpy(codes)

    def unseen(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Values of categorical columns that the training rows do not have."""
        found = {
            name: sorted(set(as_labels(frame[name]).dropna()) - set(known))
            for name, known in self.categories.items()
        }
        return {name: values for name, values in found.items() if values}
