"""`fairlightning compare`: what an intervention changed against its baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fairlightning.cli.console import wide_console
from fairlightning.report import comparison_table
from fairlightning.verification import compare, read_metrics

EPILOG = """\
example:
  fairlightning compare runs/baseline runs/adversarial

Both runs must have predicted the same rows; every criterion is shown, since a method that mends
one may harm another.
"""


def main(arguments: Sequence[str]) -> None:
    """Print the comparison of two runs."""
    options = _parser().parse_args(arguments)
    baseline, intervention = (
        read_metrics(path / "metrics.json" if path.is_dir() else path)
        for path in (options.baseline, options.intervention)
    )
    comparison = compare(baseline, intervention)
    console = wide_console()
    console.print(comparison_table(comparison.rows, options.stage))
    console.print(comparison.summary(options.stage))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning compare",
        description="Baseline, intervention and change, figure by figure.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("baseline", type=Path, help="folder of the first run, or its metrics.json")
    add("intervention", type=Path, help="folder of the second run, or its metrics.json")
    add("--stage", default="test", help="stage to compare (default: test)")
    return parser
