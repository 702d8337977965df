from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.data import Batch, TabularDataModule, adult

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def rows() -> Callable[[int], Batch]:
    """A batch of n rows whose every field follows from the row number."""

    def build(n: int) -> Batch:
        index = torch.arange(n)
        inputs = (index[:, None] * torch.ones(1, 3), index[:, None] % 7)
        return Batch(inputs, index % 2, index[:, None] % 3, 1 + index.float(), index)

    return build


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """400 complete rows with a label, two sensitive attributes and four features."""
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "label": generator.choice(["no", "yes"], 400, p=[0.7, 0.3]),
            "sex": generator.choice(["f", "m"], 400),
            "race": generator.choice(["a", "b", "c"], 400, p=[0.1, 0.3, 0.6]),
            "age": generator.integers(18, 80, 400),
            "hours": generator.normal(40, 10, 400),
            "job": generator.choice(["clerk", "cook", "nurse"], 400),
            "town": generator.choice(["north", "south"], 400),
        }
    )


@pytest.fixture(scope="session")
def module(table: pd.DataFrame) -> Callable[..., TabularDataModule]:
    """A data module over `table`, with arguments replaced; not set up."""

    def build(**overrides: Any) -> TabularDataModule:
        arguments = {
            "source": table,
            "target": "label",
            "positive": "yes",
            "sensitive": ["sex", "race"],
        }
        return TabularDataModule(**{**arguments, **overrides})

    return build


@pytest.fixture(scope="session")
def adult_data() -> TabularDataModule:
    data = adult()
    data.setup()
    return data


class Recorder(lightning.LightningModule):
    """A small model that keeps the row numbers of every training batch it is given."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(inputs, 1)
        self.seen: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch.index.tolist())
        return self.layer(batch.inputs[0]).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated += batch.index.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


@pytest.fixture(scope="session")
def recorder() -> type[Recorder]:
    return Recorder
