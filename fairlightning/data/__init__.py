"""Data modules: rows become batches that carry their sensitive attributes."""

from fairlightning.data.acs import acs
from fairlightning.data.adult import ADULT, adult
from fairlightning.data.arrays import ArrayDataModule, Arrays
from fairlightning.data.batch import Batch
from fairlightning.data.comments import civil_comments
from fairlightning.data.digits import biased_digits, digit_rows
from fairlightning.data.download import Download, PublishedTable
from fairlightning.data.faces import celeba, utkface
from fairlightning.data.fair_batch import FairBatch
from fairlightning.data.loader import BatchLoader
from fairlightning.data.memory import MemoryDataModule
from fairlightning.data.published import bank, compas, german, kdd_census, law_school
from fairlightning.data.sampling import Balanced, Sampling, reweighing
from fairlightning.data.synthetic import Structure, synthetic
from fairlightning.data.tabular import TabularDataModule

__all__ = [
    "ADULT",
    "ArrayDataModule",
    "Arrays",
    "Balanced",
    "Batch",
    "BatchLoader",
    "Download",
    "FairBatch",
    "MemoryDataModule",
    "PublishedTable",
    "Sampling",
    "Structure",
    "TabularDataModule",
    "acs",
    "adult",
    "bank",
    "biased_digits",
    "celeba",
    "civil_comments",
    "compas",
    "digit_rows",
    "german",
    "kdd_census",
    "law_school",
    "reweighing",
    "synthetic",
    "utkface",
]
