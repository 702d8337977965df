"""What all data modules share: rows in memory, their loaders, and what samples or weighs them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pandas as pd
import torch
from lightning import LightningDataModule
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.loader import BatchLoader, check_at_least
from fairlightning.data.prepare import Prepared
from fairlightning.data.sampling import Sampling
from fairlightning.data.splits import SPLITS
from fairlightning.data.summary import describe, report
from fairlightning.exceptions import SetupError, check_choice
from fairlightning.functional.columns import Columns
from fairlightning.functional.rows import check_weight
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec


class MemoryDataModule(LightningDataModule):
    """Base of data modules whose rows are tensors in memory.

    Args:
        batch_size: Rows per training batch and device.
        eval_batch_size: Most rows per validation or test batch and device.
        every_row: Training epochs have every row exactly once, in order and in batches of
            `eval_batch_size`, for what sums over the whole epoch.
        seed: Seed of the splits and of the order of training rows.

    Attributes:
        sampling: Which rows training epochs are made of; each of them once if None.

    Raises:
        DataError: If a number is out of range.
    """

    def __init__(
        self, *, batch_size: int, eval_batch_size: int, every_row: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        check_at_least("batch_size", batch_size, 1)
        check_at_least("eval_batch_size", eval_batch_size, 1)
        check_at_least("seed", seed, 0)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.every_row = every_row
        self.seed = seed
        self.sampling: Sampling | None = None
        self._prepared: Prepared | None = None

    @abstractmethod
    def _prepare(self) -> Prepared:
        """Read, check, split and encode all rows."""

    @property
    @abstractmethod
    def input_sizes(self) -> dict[str, Any]:
        """Arguments that a network for such inputs takes when it is made."""

    def setup(self, stage: str | None = None) -> None:
        """Read, check, split and encode the rows, once.

        Args:
            stage: Of no effect: all splits are prepared together.

        Raises:
            DataError: If the data cannot be used.
        """
        if self._prepared is None:
            self._prepared = self._prepare()

    @property
    def prepared(self) -> Prepared:
        """What `setup` made."""
        if self._prepared is None:
            raise SetupError.of(
                type(self).__name__,
                found="no data read yet",
                expected="setup() to have run",
                mend="call datamodule.setup() first",
            )
        return self._prepared

    @property
    def task(self) -> Task:
        """What is predicted, with the names of classes, or mean and deviation of amounts."""
        return self.prepared.labelled.task

    @property
    def groups(self) -> GroupSpec:
        """Sensitive attributes and their groups."""
        return self.prepared.labelled.groups

    @property
    def columns(self) -> Columns | None:
        """Of tables, names of the inputs, and what the codes of the categorical ones mean."""
        return None

    def batch(self, split: str) -> Batch:
        """All rows of a split: train, validation or test."""
        return self.prepared.batches[check_choice("split", split, SPLITS)]

    def weigh(self, weight: Tensor) -> None:
        """Give the training rows weights; validation and test keep theirs.

        Args:
            weight: `(N,)` weights ≥ 0 of the training rows.
        """
        batches = self.prepared.batches
        weight = check_weight(weight, len(batches["train"].index)).float()
        batches["train"] = batches["train"]._replace(weight=weight)

    def frame(self, split: str) -> pd.DataFrame:
        """Source rows of a split; the index is the row number, as in `Batch.index`."""
        return self.prepared.labelled.frame.iloc[self.batch(split).index.numpy()]

    def describe(self) -> dict[str, Any]:
        """Facts about the rows in plain Python values.

        Returns:
            `rows`, `task`, `positive` (label that counts as 1), `base_rate` (of several classes
            `shares`, of a regression `mean`), `splits` (rows and base rate of each), `groups`
            (rows and base rate by attribute and their intersection), `continuous` (attributes in
            bins), `unknown_sensitive` (rows by attribute), `unlisted_sensitive` (values that are no
            category, with their rows). Of tables also `numeric`, `categorical` (number of codes of
            each), `unused` (columns without a role), `missing` (values by column), `unseen`
            (categories of validation and test that train does not have) and `constant` (columns in
            train).
        """
        return describe(self.prepared)

    def report(self) -> str:
        """The facts of `describe` as text."""
        return report(self.describe())

    def __str__(self) -> str:
        # Lightning's own text reads `loader.dataset`, which only torch's DataLoader has.
        return repr(self) if self._prepared is None else self.report()

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches; in order where the Trainer is asked to overfit."""
        if self.every_row:
            return BatchLoader(self.batch("train"), self.eval_batch_size)
        return BatchLoader(
            self.batch("train"),
            self.batch_size,
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            drop_last=True,
            seed=self.seed,
            sampling=self.sampling,
        )

    def val_dataloader(self) -> BatchLoader:
        """Every validation row once."""
        return BatchLoader(self.batch("validation"), self.eval_batch_size)

    def test_dataloader(self) -> BatchLoader:
        """Every test row once."""
        return BatchLoader(self.batch("test"), self.eval_batch_size)

    def predict_dataloader(self) -> BatchLoader:
        """The test rows."""
        return self.test_dataloader()

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch; one that is there already is handed on as it is, which saves time."""
        if isinstance(batch, Batch) and batch.index.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
