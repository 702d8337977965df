"""Mixins for an existing LightningModule."""

from fairlightning.mixins.base import FairnessMixin
from fairlightning.mixins.families import AdversarialMixin, MultiObjectiveMixin, ParityMixin

__all__ = ["AdversarialMixin", "FairnessMixin", "MultiObjectiveMixin", "ParityMixin"]
