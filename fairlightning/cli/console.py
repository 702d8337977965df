"""What the commands print, and what they keep quiet about."""

from __future__ import annotations

import logging
import warnings

from rich.console import Console


def wide_console() -> Console:
    """Console for tables of up to 100 columns, also where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=100)


def quiet() -> None:
    """Silence notices that say nothing about the run."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    notices = (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*LeafSpec.*",
        "The dirpath has changed.*",
        "The number of training batches.*",
    )
    for notice in notices:
        warnings.filterwarnings("ignore", notice)
