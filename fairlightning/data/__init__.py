"""Data modules: tables become encoded batches that carry their sensitive attributes."""

from fairlightning.data.adult import ADULT, adult
from fairlightning.data.batch import Batch
from fairlightning.data.loader import BatchLoader
from fairlightning.data.tabular import TabularDataModule

__all__ = ["ADULT", "Batch", "BatchLoader", "TabularDataModule", "adult"]
