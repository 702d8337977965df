"""Reading a table, and finding its columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from fairlightning.exceptions import DataError, FairnessWarning

FORMATS = (".csv", ".csv.gz", ".csv.zip", ".zip", ".parquet")

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NULL", "null")
"""What a field of a CSV file says where nothing is known. `None` is a word, as in a religion."""

Source = str | Path | pd.DataFrame | Callable[[], pd.DataFrame]


def read_table(source: Source) -> pd.DataFrame:
    """Read a table; its index becomes the row number, counted from 0.

    Args:
        source: A table in memory, a `.csv`, `.csv.gz`, `.csv.zip` or `.parquet` file, or a function
            that gives a table.

    Raises:
        DataError: If the file does not exist, cannot be read or has another format, or the table
            has no rows or a column name twice.
    """
    if callable(source):
        source = source()
    frame = source if isinstance(source, pd.DataFrame) else _read_file(Path(source))
    frame = frame.rename(columns=str).reset_index(drop=True)
    if frame.empty:
        raise DataError.of(
            "source",
            found=f"a table of {frame.shape[0]} rows and {frame.shape[1]} columns",
            expected="at least one row and one column",
            mend="check the file or the filter that made the table",
        )
    _check_unique(frame.columns)
    return frame


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV file, in which only the words of `MISSING` stand for nothing.

    Args:
        path: The file.
        options: Further arguments of `pandas.read_csv`.

    Raises:
        DataError: If a column name is there twice, which pandas would rename.

    Warns:
        FairnessWarning: Where a column of text says one of these words, which may be a group.
    """
    whole = {"keep_default_na": False, **options}
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, **whole).iloc[0]
    _check_unique(pd.Index(header[header != ""]))
    frame: pd.DataFrame = pd.read_csv(path, na_values=list(MISSING), **whole)
    text = [n for n in frame if not pd.api.types.is_numeric_dtype(frame[n]) and frame[n].hasnans]
    said = pd.read_csv(path, usecols=text, dtype=str, **whole) if text else frame[text]
    for name in text:
        if words := set(said[name][frame[name].isna()]) - {""}:
            rows = int(said[name].isin(words).sum())
            warnings.warn(
                f"{path.name}, column {name!r}: {', '.join(sorted(words))} is read as missing, in "
                f"{rows:,} rows. Mend: write another word if that is a group, or leave the field "
                "empty.",
                FairnessWarning,
                stacklevel=2,
            )
    return frame


def _check_unique(names: pd.Index) -> None:
    if not names.is_unique:
        twice = names[names.duplicated()].unique().tolist()
        raise DataError.of(
            "source",
            found=f"the column names {twice} more than once",
            expected="every name once",
            mend="rename or drop the repeated columns",
        )


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError.of(
            "source",
            found=f"no file {str(path)!r}",
            expected="a table",
            mend=_nearest_files(path),
        )
    if not path.name.lower().endswith(FORMATS):
        raise DataError.of(
            "source",
            found=repr(path.name),
            expected="a file that ends with " + ", ".join(FORMATS),
            mend="convert the file, or read it with pandas and pass the table",
        )
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # Classic tables such as those of UCI write a space after every comma.
        return read_csv(path, skipinitialspace=True)
    except DataError:
        raise
    except (ValueError, OSError, BadZipFile) as error:
        raise DataError.of(
            "source",
            found=f"{path.name!r}, which cannot be read ({error})",
            expected="a table with a header line",
            mend="check the file, or read it with pandas and pass the table",
        ) from error


def _nearest_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r} either; check the path"
    names = [entry.name for entry in path.parent.iterdir() if entry.name.lower().endswith(FORMATS)]
    close = get_close_matches(path.name, names, n=2, cutoff=0.7)
    if close:
        return "did you mean " + " or ".join(map(repr, close)) + "?"
    return f"{path.parent} holds {shorten(sorted(names)) if names else 'no table'}"


def check_columns(frame: pd.DataFrame, names: Iterable[str], argument: str) -> None:
    """Raise `DataError` with the nearest name unless the table has all columns `names`."""
    for name in names:
        if name not in frame.columns:
            close = get_close_matches(name, list(frame.columns), n=1)
            raise DataError.of(
                argument,
                found=f"no column {name!r}",
                expected="one of " + shorten(list(frame.columns), 30),
                mend=f"did you mean {close[0]!r}?" if close else "name a column of the table",
            )


def shorten(values: Sequence[object], limit: int = 10) -> str:
    """The first values, and how many there are beyond them.

    >>> shorten(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    text = ", ".join(repr(value) for value in values[:limit])
    return text if len(values) <= limit else f"{text} and {len(values) - limit} more"
