"""Tasks on the American Community Survey, from the files that the Census Bureau publishes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairlightning.data.download import Download, PublishedTable
from fairlightning.data.roles import column_list
from fairlightning.data.tabular import TabularDataModule
from fairlightning.exceptions import check_choice

PUMS = "https://www2.census.gov/programs-surveys/acs/data/pums"
NUMBERS = ("AGEP", "SCHL", "WKHP", "JWMNP", "PINCP", "POVPIP")
SEX = {1: "Male", 2: "Female"}
RACE = {
    1: "White",
    2: "Black",
    3: "American Indian",
    4: "Alaska Native",
    5: "American Indian or Alaska Native, tribe not said",
    6: "Asian",
    7: "Native Hawaiian or Pacific Islander",
    8: "Other",
    9: "Two or more",
}
_ABILITY = "DIS DEAR DEYE DREM"
_ORIGIN = "CIT NATIVITY ANC"


@dataclass(frozen=True)
class Task:
    """A question to the survey, after Ding et al., "Retiring Adult" (NeurIPS 2021).

    Attributes:
        features: Columns, sex and race aside.
        rows: Rows that the question is about.
        positive: Whose answer is yes.
    """

    features: str
    rows: Callable[[pd.DataFrame], Any]
    positive: Callable[[pd.DataFrame], Any]


TASKS = {
    "income": Task(
        "AGEP COW SCHL MAR OCCP POBP RELP WKHP",
        lambda t: (t.AGEP > 16) & (t.PINCP > 100) & (t.WKHP > 0) & (t.PWGTP >= 1),
        lambda t: t.PINCP > 50_000,
    ),
    "employment": Task(
        f"AGEP SCHL MAR RELP ESP MIG MIL {_ABILITY} {_ORIGIN}",
        lambda t: t.AGEP.between(17, 89) & (t.PWGTP >= 1),
        lambda t: t.ESR == 1,
    ),
    "public_coverage": Task(
        f"AGEP SCHL MAR ESP MIG MIL PINCP ESR ST FER {_ABILITY} {_ORIGIN}",
        lambda t: (t.AGEP < 65) & (t.PINCP <= 30_000),
        lambda t: t.PUBCOV == 1,
    ),
    "mobility": Task(
        f"AGEP SCHL MAR ESP MIL RELP GCL COW ESR WKHP JWMNP PINCP {_ABILITY} {_ORIGIN}",
        lambda t: t.AGEP.between(19, 34),
        lambda t: t.MIG == 1,
    ),
    "travel_time": Task(
        "AGEP SCHL MAR DIS ESP MIG RELP PUMA ST CIT OCCP JWTR POWPUMA POVPIP",
        lambda t: (t.AGEP > 16) & (t.PWGTP >= 1) & (t.ESR == 1),
        lambda t: t.JWMNP > 20,
    ),
}
"""Tasks by name. Columns are those of the survey of 2018."""


def acs(
    task: str,
    states: Sequence[str] = ("CA",),
    year: int = 2018,
    files: Sequence[str | Path] | None = None,
    cache_dir: str | Path | None = None,
    **overrides: Any,
) -> TabularDataModule:
    """Make a data set of persons in the American Community Survey.

    The sensitive attributes are sex and race. Codes are categories, but for age, schooling, hours,
    minutes, income and its ratio to poverty. Survey weights are left out.

    Args:
        task: `income` above 50,000 dollars, `employment`, `public_coverage` by health insurance,
            `mobility` (the same home as a year ago) or `travel_time` to work above 20 minutes.
        states: Postal codes of the states.
        year: Year of the 1-year survey; from 2019 on the Census Bureau gives some columns other
            names, which an error then tells.
        files: Paths of `csv_p??.zip` or the CSV in it, one for each state, in place of a download.
        cache_dir: Folder of the cache; None for the default.
        **overrides: Arguments of `TabularDataModule` that replace those of the task.

    Raises:
        ArgumentError: If there is no such task.
        DataError: If `states` is a text.
    """
    wanted = TASKS[check_choice("task", task, TASKS)]
    features = wanted.features.split()
    downloads = [
        Download(f"{PUMS}/{year}/1-Year/csv_p{state.lower()}.zip", f"acs_{year}_{state}.zip")
        for state in column_list("states", states)
    ]

    def read(paths: Sequence[Path]) -> pd.DataFrame:
        table = pd.concat([_persons(path) for path in paths], ignore_index=True)
        table = table[wanted.rows(table)]
        label = pd.Series(wanted.positive(table), index=table.index, name="label").astype(int)
        groups = {"sex": table["SEX"].map(SEX), "race": table["RAC1P"].map(RACE)}
        columns = [table[features], pd.DataFrame(groups), label]
        whole: pd.DataFrame = pd.concat(columns, axis=1)
        return whole

    columns = {
        "target": "label",
        "sensitive": ["sex", "race"],
        "numeric": [name for name in features if name in NUMBERS],
        "categorical": [name for name in features if name not in NUMBERS],
    }
    return PublishedTable(downloads, read, columns)(files, cache_dir, **overrides)


def _persons(path: Path) -> pd.DataFrame:
    if not zipfile.is_zipfile(path):
        return pd.read_csv(path, low_memory=False)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        parts = [pd.read_csv(archive.open(name), low_memory=False) for name in names]
    return pd.concat(parts, ignore_index=True)
