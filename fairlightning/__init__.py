"""Fairness-aware deep learning for PyTorch Lightning.

Where to look first: `fairlightning.mixins` for your own LightningModule, `fairlightning.callbacks`
beside it, `fairlightning.module.FairModule` for a ready-made one, `fairlightning.data` for tables,
`fairlightning.verification` for anybody's predictions.
"""

from importlib.metadata import version

__version__ = version("fairlightning")
