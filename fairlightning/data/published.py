"""Published tables that fairness is studied on: where they are, and what their columns mean."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairlightning.data.download import Download, PublishedTable

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
LE_QUY = "https://raw.githubusercontent.com/tailequy/fairness_dataset"
PROPUBLICA = "https://raw.githubusercontent.com/propublica/compas-analysis"


def _words(text: str) -> list[str]:
    return text.split()


GERMAN = _words(
    "status duration credit_history purpose amount savings employment installment_rate "
    "personal_status other_debtors residence_since property age other_installment_plans housing "
    "existing_credits job dependents telephone foreign_worker risk"
)
"""Columns of `german.data`, in the order of its description."""

KDD_CENSUS = _words(
    "age class_of_worker industry_code occupation_code education wage_per_hour enrolled "
    "marital_status major_industry major_occupation race hispanic_origin sex union_member "
    "unemployment_reason employment_status capital_gains capital_losses dividends tax_filer "
    "previous_region previous_state household_detail household_summary instance_weight "
    "migration_msa migration_region migration_within_region same_house migration_sunbelt "
    "employer_size parents_present father_country mother_country own_country citizenship "
    "own_business veterans_questionnaire veterans_benefits weeks_worked year income"
)
"""Columns of `census-income.data`, in the order of its description."""


def _compas(paths: Sequence[Path]) -> pd.DataFrame:
    # The rows of ProPublica's own analysis: charges within 30 days of the screening, whose
    # recidivism is known, that are no ordinary traffic offences, and that have a score.
    frame = pd.read_csv(paths[0], keep_default_na=False, na_values={"days_b_screening_arrest": ""})
    near = frame["days_b_screening_arrest"].abs() <= 30
    known = (frame["is_recid"] != -1) & (frame["score_text"] != "N/A")
    return frame[near & known & (frame["c_charge_degree"] != "O")]


def _german(paths: Sequence[Path]) -> pd.DataFrame:
    frame = pd.read_csv(paths[0], sep=r"\s+", header=None, names=GERMAN)
    # A92 and A95 are women, the other codes men: sex is told only together with marital status.
    women = frame["personal_status"].isin(["A92", "A95"])
    frame["sex"] = np.where(women, "female", "male")
    frame["age_band"] = np.where(frame["age"] > 25, "over 25", "up to 25")
    frame["risk"] = frame["risk"].map({1: "good", 2: "bad"})
    return frame


def _bank(paths: Sequence[Path]) -> pd.DataFrame:
    with ExitStack() as stack:
        source: Any = paths[0]
        if zipfile.is_zipfile(source):
            archive = stack.enter_context(zipfile.ZipFile(source))
            source = stack.enter_context(archive.open("bank-full.csv"))
        frame = pd.read_csv(source, sep=None, engine="python")  # copies have commas
    middle = frame["age"].between(25, 60, inclusive="left")
    frame["age_band"] = np.where(middle, "25 to 59", "younger or older")
    return frame


def _kdd_census(paths: Sequence[Path]) -> pd.DataFrame:
    parts = [
        pd.read_csv(path, header=None, names=KDD_CENSUS, skipinitialspace=True, na_values="?")
        for path in paths
    ]
    return pd.concat(parts, ignore_index=True)


def _law_school(paths: Sequence[Path]) -> pd.DataFrame:
    frame = pd.read_csv(paths[0])
    frame["sex"] = frame.pop("male").map({1: "male", 0: "female"})
    return frame


compas = PublishedTable(
    [
        Download(
            f"{PROPUBLICA}/bafff5da3f2e45eca6c2d5055faad269defd135a/compas-scores-two-years.csv",
            "compas-scores-two-years.csv",
            "c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d",
        )
    ],
    _compas,
    {
        "target": "two_year_recid",
        "positive": 1,
        "sensitive": ["sex", "race"],
        "numeric": ["age", "priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count"],
        "categorical": ["c_charge_degree"],
    },
)
"""Is a defendant of Broward County charged again within two years? (ProPublica 2016)."""

german = PublishedTable(
    [Download(f"{UCI}/statlog/german/german.data", "german.data")],
    _german,
    {
        "target": "risk",
        "positive": "good",
        "sensitive": ["sex", "age_band"],
        "ignore": ["age", "personal_status"],
    },
)
"""Is a credit risk good? (Hofmann 1994, https://doi.org/10.24432/C5NC77)."""

bank = PublishedTable(
    [Download(f"{UCI}/00222/bank.zip", "bank.zip")],
    _bank,
    {
        "target": "y",
        "positive": "yes",
        "sensitive": ["age_band", "marital"],
        "ignore": ["age", "duration"],  # the duration of the call is known after its outcome only
    },
)
"""Does a client subscribe a deposit? (Moro et al. 2014, https://doi.org/10.24432/C5K306)."""

kdd_census = PublishedTable(
    [
        Download(f"{UCI}/census-income-mld/census-income.data.gz", "census-income.data.gz"),
        Download(f"{UCI}/census-income-mld/census-income.test.gz", "census-income.test.gz"),
    ],
    _kdd_census,
    {
        "target": "income",
        "positive": "50000+.",
        "sensitive": ["sex", "race"],
        "ignore": ["instance_weight"],
    },
)
"""Is a person's income above 50,000 dollars? (UCI 2000, https://doi.org/10.24432/C5N30T)."""

law_school = PublishedTable(
    [
        Download(
            f"{LE_QUY}/abb5a18b822ba56a221c5311082e192e85000b95/experiments/data/"
            "law_school_clean.csv",
            "law_school_clean.csv",
            "23c1b173f3480beb7afc4957b107a9917dfc4a8dc9d87ea6034ec35222152452",
        )
    ],
    _law_school,
    {
        "target": "pass_bar",
        "positive": 1,
        "sensitive": ["race", "sex"],
        "categorical": ["fulltime", "fam_inc", "tier"],
    },
)
"""Does a student pass the bar? (Wightman 1998; as in Le Quy et al. 2022)."""
