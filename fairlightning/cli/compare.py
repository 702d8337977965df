"""`fairlightning compare`: what an intervention changed against its baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fairlightning.cli.console import wide_console
from fairlightning.exceptions import DataError
from fairlightning.report import comparison_table
from fairlightning.verification import compare, read_metrics
from fairlightning.verification.comparison import ROW_COLUMNS, check_same_rows

EPILOG = """\
example:
  fairlightning compare runs/baseline runs/adversarial

Both runs must have predicted the same rows; every criterion is shown, since a method that mends
one may harm another.
"""


def main(arguments: Sequence[str]) -> None:
    """Print the comparison of two runs."""
    options = _parser().parse_args(arguments)
    files = [
        path / "metrics.json" if path.is_dir() else path
        for path in (options.baseline, options.intervention)
    ]
    comparison = compare(*map(read_metrics, files))
    predictions = [file.with_name("predictions.parquet") for file in files]
    if all(path.is_file() for path in predictions):
        first, second = map(_rows, predictions)
        check_same_rows(first, second, comparison.stages)
    console = wide_console()
    console.print(comparison_table(comparison.rows, options.stage))
    console.print(comparison.summary(options.stage), markup=False)


def _rows(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=list(ROW_COLUMNS))
    except (ValueError, OSError) as error:
        raise DataError.of(
            str(path),
            found=f"a file that cannot be read ({error})",
            expected=f"Parquet with the columns {', '.join(ROW_COLUMNS)}",
            mend="repeat the run, or name its metrics.json in a folder without predictions",
        ) from error


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
