"""Mixins for an existing LightningModule."""

from fairlightning.mixins.base import FairnessMixin
from fairlightning.mixins.families import (
    AdversarialMixin,
    ConstraintMixin,
    MultiObjectiveMixin,
    ParityMixin,
)

__all__ = [
    "AdversarialMixin",
    "ConstraintMixin",
    "FairnessMixin",
    "MultiObjectiveMixin",
    "ParityMixin",
]
