"""Data modules: rows become batches that carry their sensitive attributes."""

from fairlightning.data.adult import ADULT, adult
from fairlightning.data.arrays import ArrayDataModule, Arrays
from fairlightning.data.batch import Batch
from fairlightning.data.digits import biased_digits, digit_rows
from fairlightning.data.fair_batch import FairBatch
from fairlightning.data.loader import BatchLoader
from fairlightning.data.memory import MemoryDataModule
from fairlightning.data.sampling import Balanced, Sampling, reweighing
from fairlightning.data.tabular import TabularDataModule

__all__ = [
    "ADULT",
    "ArrayDataModule",
    "Arrays",
    "Balanced",
    "Batch",
    "BatchLoader",
    "FairBatch",
    "MemoryDataModule",
    "Sampling",
    "TabularDataModule",
    "adult",
    "biased_digits",
    "digit_rows",
    "reweighing",
]
