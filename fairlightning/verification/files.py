"""The files of a run that every evaluation shares: `metrics.json` and `predictions.parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from fairlightning.data.table import read_csv
from fairlightning.exceptions import DataError, check_choice
from fairlightning.metrics import Record

SCHEMA = 1
"""Version of `metrics.json`; raised when records change their form."""

PREDICTION_COLUMNS = ("row", "split", "member", "score", "target")
"""Columns that `predictions.parquet` has beside the sensitive attributes and the weight.

In place of `score` there is `score_<class>` for each of several classes, or `prediction` of a
regression: the columns tell the task.
"""


def write_metrics(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON, in their order, one a line, with all digits.

    Args:
        path: File to write, `metrics.json` in the folder of a run.
        records: What to write.
    """
    lines = [json.dumps(r._asdict(), ensure_ascii=False, allow_nan=False) for r in records]
    text = ",\n".join(lines)
    path = Path(path)
    # All or nothing: a run whose metrics.json is there is finished.
    draft = path.with_name(f".{path.name}")
    draft.write_text(f'{{"schema": {SCHEMA}, "records": [\n{text}\n]}}\n', encoding="utf-8")
    draft.replace(path)


def read_metrics(path: str | Path) -> list[Record]:
    """Read the records that `write_metrics` wrote.

    Raises:
        DataError: If there is no such file, or it holds something else.
    """
    path = existing(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, entries = content["schema"], content["records"]
        records = [Record(**entry) for entry in entries] if schema == SCHEMA else []
    except (ValueError, TypeError, KeyError) as error:
        raise _not_metrics(path, f"what is no list of records ({error})") from error
    if schema != SCHEMA:
        raise _not_metrics(path, f"schema {schema!r}")
    return records


def write_predictions(path: str | Path, frame: pd.DataFrame) -> None:
    """Write predictions as Parquet.

    Args:
        path: File to write, `predictions.parquet` in the folder of a run.
        frame: `PREDICTION_COLUMNS`, of other tasks as said there (`row`: position in the data set;
            `member`: which of several models; `score`: from `positive_scores`, so that decisions
            survive the file), a column for every sensitive attribute and, where rows are weighted,
            `weight`.

    Raises:
        ArgumentError: If one of `PREDICTION_COLUMNS` is missing.
    """
    names = [str(name) for name in frame.columns]
    other_task = "prediction" in names or any(name.startswith("score_") for name in names)
    for name in PREDICTION_COLUMNS:
        if not (name == "score" and other_task):
            check_choice("predictions", name, names)
    frame.to_parquet(path, index=False)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read predictions, ours or anybody's, from Parquet or CSV.

    Args:
        path: File whose name ends in `.parquet`, `.csv` or `.csv.gz`.

    Returns:
        The table as it is; `evaluate` checks its columns. CSV keeps all digits of a number.

    Raises:
        DataError: If there is no such file, or it cannot be read.
    """
    path = existing(path)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.name.endswith((".csv", ".csv.gz")):
            # The default parser is faster, but may change the last digit and so a decision.
            return read_csv(path, float_precision="round_trip")
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise _unreadable(path, f"a file that cannot be read ({error})") from error
    raise _unreadable(path, f"the ending {path.suffix!r}")


def existing(path: str | Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        DataError: If there is none; the message names one of a similar name beside it.
    """
    path = Path(path)
    if path.is_file():
        return path
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    raise DataError.of(
        str(path),
        found="no such file",
        expected="the file of a run or of predictions",
        mend=f"did you mean {close[0]!r}?" if close else "check the path",
    )


def _not_metrics(path: Path, found: str) -> DataError:
    return DataError.of(
        str(path),
        found=found,
        expected=f"metrics of schema {SCHEMA}",
        mend="write the file anew with this version, or name another",
    )


def _unreadable(path: Path, found: str) -> DataError:
    return DataError.of(
        str(path),
        found=found,
        expected="a Parquet or CSV file",
        mend="save the predictions as .parquet or .csv",
    )
