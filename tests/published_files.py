"""Small files of the form of published data sets, with rows made up here."""

import gzip
import zipfile

import numpy as np
import pandas as pd
from PIL import Image

from fairlightning.data.acs import TASKS
from fairlightning.data.published import GERMAN, KDD_CENSUS

ROWS = 240


def draw(random, *values, rows=ROWS):
    return random.choice(np.array(values, dtype=object), rows)


def compas(folder, random):
    """Each fifth row is one that ProPublica leaves out, for one of four reasons."""
    table = pd.DataFrame(
        {
            "sex": draw(random, "Male", "Female"),
            "age": random.integers(18, 70, ROWS),
            "race": draw(random, "African-American", "Caucasian", "Other"),
            "priors_count": random.integers(0, 9, ROWS),
            "days_b_screening_arrest": draw(random, -1, 0, 30, -30),
            "c_charge_degree": draw(random, "F", "M"),
            "is_recid": draw(random, 0, 1),
            "score_text": draw(random, "Low", "Medium", "High"),
            "two_year_recid": draw(random, 0, 1),
        }
    )
    for name in ("juv_fel_count", "juv_misd_count", "juv_other_count"):
        table[name] = random.integers(0, 2, ROWS)
    reasons = {
        0: ("days_b_screening_arrest", 31),
        5: ("is_recid", -1),
        10: ("c_charge_degree", "O"),
        15: ("score_text", "N/A"),
        20: ("days_b_screening_arrest", ""),
    }
    for first, (name, value) in reasons.items():
        table.loc[first::25, name] = value
    table.to_csv(folder / "compas.csv", index=False)
    return [folder / "compas.csv"]


def german(folder, random):
    numbers = {"duration", "amount", "installment_rate", "residence_since", "age"}
    numbers |= {"existing_credits", "dependents"}
    columns = {
        name: random.integers(18, 70, ROWS) if name in numbers else draw(random, "A11", "A12")
        for name in GERMAN
    }
    columns["personal_status"] = draw(random, "A91", "A92", "A93", "A94", "A95")
    columns["risk"] = draw(random, 1, 2)
    pd.DataFrame(columns).to_csv(folder / "german.data", sep=" ", header=False, index=False)
    return [folder / "german.data"]


def bank(folder, random):
    columns = {
        "age": random.integers(18, 90, ROWS),
        "marital": draw(random, "married", "single"),
        "balance": random.integers(-500, 5000, ROWS),
        "duration": random.integers(1, 900, ROWS),
        "job": draw(random, "admin.", "technician"),
        "y": draw(random, "no", "yes"),
    }
    with zipfile.ZipFile(folder / "bank.zip", "w") as archive:
        archive.writestr("bank.csv", "another file")
        archive.writestr("bank-full.csv", pd.DataFrame(columns).to_csv(sep=";", index=False))
    return [folder / "bank.zip"]


def kdd_census(folder, random):
    paths = [folder / "census-income.data.gz", folder / "census-income.test.gz"]
    for path in paths:
        columns = {name: draw(random, " a", " b") for name in KDD_CENSUS}
        columns["age"] = random.integers(0, 90, ROWS)
        columns["sex"] = draw(random, " Male", " Female")
        columns["migration_msa"] = draw(random, " ?", " MSA to MSA")
        columns["income"] = draw(random, " - 50000.", " 50000+.")
        with gzip.open(path, "wt") as file:
            pd.DataFrame(columns).to_csv(file, header=False, index=False)
    return paths


def law_school(folder, random):
    columns = {name: random.random(ROWS) for name in ("decile1b", "lsat", "ugpa", "zgpa")}
    columns |= {name: draw(random, 1.0, 2.0) for name in ("fulltime", "fam_inc", "tier")}
    columns["male"] = draw(random, 0.0, 1.0)
    columns["race"] = draw(random, "White", "Non-White")
    columns["pass_bar"] = draw(random, 0.0, 1.0)
    pd.DataFrame(columns).to_csv(folder / "law.csv", index=False)
    return [folder / "law.csv"]


def acs(folder, random):
    """Persons of every age and income, with each column that some task asks for."""
    names = {name for task in TASKS.values() for name in task.features.split()}
    columns = {name: draw(random, 1.0, 2.0, np.nan) for name in sorted(names)}
    columns |= {
        "AGEP": random.integers(16, 92, ROWS),
        "PINCP": draw(random, 50.0, 20_000.0, 30_000.0, 50_000.0, 90_000.0),
        "WKHP": draw(random, 0.0, 40.0),
        "PWGTP": draw(random, 0, 1, 80),
        "SEX": draw(random, 1, 2),
        "RAC1P": draw(random, 1, 2, 6),
        "ESR": draw(random, 1.0, 6.0),
        "MIG": draw(random, 1.0, 3.0),
        "JWMNP": draw(random, 20.0, 21.0),
        "PUBCOV": draw(random, 1, 2),
    }
    with zipfile.ZipFile(folder / "csv_pca.zip", "w") as archive:
        archive.writestr("psam_p06.csv", pd.DataFrame(columns).to_csv(index=False))
        archive.writestr("ACS2018_PUMS_README.pdf", "no table")
    return [folder / "csv_pca.zip"]


def celeba(folder, random):
    (folder / "img_align_celeba").mkdir()
    names = [f"{number:06}.jpg" for number in range(1, ROWS + 1)]
    for number, name in enumerate(names):
        image = Image.new("RGB", (20, 24), (number, 0, 255 - number))
        image.save(folder / "img_align_celeba" / name)
    columns = {name: draw(random, -1, 1) for name in ("Male", "Smiling", "Young")}
    table = pd.DataFrame(columns, index=names)
    text = table.to_string(header=False)
    (folder / "list_attr_celeba.txt").write_text(f"{ROWS}\nMale Smiling Young\n{text}\n")
    parts = [0] * 160 + [1] * 40 + [2] * 40
    lines = [f"{name} {part}" for name, part in zip(names, parts, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


def utkface(folder, random):
    for number in range(ROWS):
        age, gender, race = random.integers(1, 90), number % 2, number // 2 % 5
        known = f"{age}_{gender}_{race}" if number else f"{age}_{gender}"
        name = f"{known}_2017{number:013}.jpg.chip.jpg"
        Image.new("RGB", (20, 20), (number, number, number)).save(folder / name)
    return folder


def comments(folder, random):
    words = draw(random, "fine", "awful", "thanks")
    columns = {
        "comment_text": words,
        "target": np.where(words == "awful", 0.5, 0.2),
        "male": draw(random, 0.0, 0.5, np.nan),
        "muslim": draw(random, 0.0, 1.0),
    }
    pd.DataFrame(columns).to_csv(folder / "train.csv", index=False)
    return folder / "train.csv"


def lengths(texts):
    """Embeddings that anybody can check: number of letters, and of the letter a."""
    return np.array([[len(text), text.count("a")] for text in texts])


def overrides(name, folder):
    """Arguments with which `dataset=name` reads made-up files."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    if name in ("compas", "german", "bank", "kdd_census", "law_school"):
        return {"files": [str(path) for path in globals()[name](folder, random)]}
    if name.startswith("acs_"):
        return {"files": [str(path) for path in acs(folder, random)]}
    if name in ("celeba", "utkface"):
        return {"root": str(globals()[name](folder, random))}
    if name == "civil_comments":
        embed = {"_target_": "published_files.lengths", "_partial_": True}
        path = str(comments(folder, random))
        return {"source": path, "embed": embed, "identities": ["male", "muslim"]}
    return {}
