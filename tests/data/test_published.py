"""Published data sets, from files of their form."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import published_files
import pytest
import torch

from fairlightning import data
from fairlightning.data import Download, acs, civil_comments
from fairlightning.data.acs import TASKS
from fairlightning.exceptions import ArgumentError, DataError


def prepared(name, folder, **options):
    make = getattr(data, name)
    module = make(**{**published_files.overrides(name, folder), **options})
    module.setup()
    return module


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "table.csv").write_text("a,b\n1,2\n" * 50_000)
    handler = partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_file_is_downloaded_once_and_checked(server, tmp_path, monkeypatch):
    folder, url = server
    content = (folder / "table.csv").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("FAIRLIGHTNING_CACHE", str(tmp_path / "cache"))
    download = Download(f"{url}/table.csv", "table.csv", sha256)
    path = download.fetch()
    assert path == tmp_path / "cache" / "table.csv"
    assert path.read_bytes() == content
    (folder / "table.csv").unlink()
    assert download.fetch() == path  # from the cache: the server has it no more
    assert sorted(p.name for p in path.parent.iterdir()) == ["table.csv"]
    path.write_text("changed")
    with pytest.raises(DataError, match="delete the file"):
        download.fetch()


def test_what_cannot_be_downloaded_says_where_to_place_it(server, tmp_path):
    _, url = server
    download = Download(f"{url}/gone.csv", "gone.csv")
    with pytest.raises(DataError, match=r"404.*download http.*place it at") as caught:
        download.fetch(tmp_path)
    place = tmp_path / "gone.csv"
    assert str(place) in str(caught.value)
    assert not list(tmp_path.glob("gone*"))
    place.write_text("by hand")
    assert download.fetch(tmp_path) == place


def test_a_wrong_download_is_not_kept(server, tmp_path):
    _, url = server
    with pytest.raises(DataError, match="sha256"):
        Download(f"{url}/table.csv", "table.csv", "0" * 64).fetch(tmp_path)
    assert not (tmp_path / "table.csv").exists()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for name in ("compas", "bank", "law_school"):
        module = getattr(data, name)(files=[tmp_path / "x.csv"])
        with pytest.raises(DataError, match="another form than that of https"):
            module.setup()
    with pytest.raises(DataError, match="name them all"):
        data.kdd_census(files=[tmp_path / "x.csv"]).setup()


def test_compas_leaves_out_what_propublica_does(tmp_path):
    module = prepared("compas", tmp_path)
    table = pd.read_csv(tmp_path / "compas.csv", keep_default_na=False)
    kept = [row for row in range(published_files.ROWS) if row % 5]
    assert module.describe()["rows"] == len(kept)
    assert module.describe()["base_rate"] == pytest.approx(table.two_year_recid[kept].mean())
    assert "decile_score" not in module.feature_names


def test_german_tells_sex_from_personal_status(tmp_path):
    module = prepared("german", tmp_path)
    table = pd.read_csv(tmp_path / "german.data", sep=" ", header=None)
    groups = module.describe()["groups"]
    women = table[8].isin(["A92", "A95"])
    assert groups["sex"]["sex=female"]["rows"] == women.sum()
    assert groups["sex"]["sex=female"]["base_rate"] == pytest.approx((table[20] == 1)[women].mean())
    assert groups["age_band"]["age_band=over 25"]["rows"] == (table[12] > 25).sum()
    assert not {"age", "sex", "personal_status"} & set(module.feature_names)


def test_bank_and_census_and_law_school(tmp_path):
    bank = prepared("bank", tmp_path / "bank")
    assert bank.describe()["rows"] == published_files.ROWS
    assert not {"age", "duration", "marital"} & set(bank.feature_names)
    census = prepared("kdd_census", tmp_path / "census")
    assert census.describe()["rows"] == 2 * published_files.ROWS
    assert census.groups.to_dict()["sex"] == ["Female", "Male"]
    assert 0 < census.describe()["missing"]["migration_msa"] < 2 * published_files.ROWS
    assert "instance_weight" not in census.feature_names
    law = prepared("law_school", tmp_path / "law")
    assert law.groups.to_dict() == {"race": ["Non-White", "White"], "sex": ["female", "male"]}


@pytest.mark.parametrize("task", TASKS)
def test_acs_asks_whom_it_should(tmp_path, task):
    files = published_files.acs(tmp_path, np.random.default_rng(0))
    with zipfile.ZipFile(files[0]) as archive:
        t = pd.read_csv(archive.open("psam_p06.csv"))
    adult, weighted = t.AGEP > 16, t.PWGTP > 0
    asked, yes = {
        "income": (adult & (t.PINCP > 100) & (t.WKHP > 0) & weighted, t.PINCP > 50_000),
        "employment": (adult & (t.AGEP < 90) & weighted, t.ESR == 1),
        "public_coverage": ((t.AGEP < 65) & (t.PINCP <= 30_000), t.PUBCOV == 1),
        "mobility": ((t.AGEP > 18) & (t.AGEP < 35), t.MIG == 1),
        "travel_time": (adult & weighted & (t.ESR == 1), t.JWMNP > 20),
    }[task]
    module = acs(task, files=files)
    module.setup()
    facts = module.describe()
    assert facts["rows"] == asked.sum() < len(t)
    assert facts["base_rate"] == pytest.approx(yes[asked].mean())
    assert facts["groups"]["sex"]["sex=Female"]["rows"] == (asked & (t.SEX == 2)).sum()
    assert not {"SEX", "RAC1P"} & set(module.feature_names)


def test_an_unknown_task_is_refused():
    with pytest.raises(ArgumentError, match="did you mean 'income'"):
        acs("incom")
    with pytest.raises(DataError, match="states: found the text 'CA'"):
        acs("income", states="CA")


def test_celeba_from_official_files(tmp_path):
    module = prepared("celeba", tmp_path / "faces", size=8)
    assert [len(module.batch(part).index) for part in ("train", "validation", "test")] == [
        160,
        40,
        40,
    ]
    images = module.batch("train").inputs
    assert images.shape == (160, 3, 8, 8)
    # The red of the n-th picture is n, its blue 255 − n, but for what JPEG loses.
    for row in (0, 77, 159):
        red, _, blue = images[row].mean((1, 2)) * 255
        assert red.item() == pytest.approx(row, abs=4)
        assert blue.item() == pytest.approx(255 - row, abs=4)
    few = data.celeba(tmp_path / "faces", size=8, max_rows=20, sensitive=["Male", "Young"])
    few.setup()
    assert len(few.batch("train").index) == 20
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt"):
        data.celeba(tmp_path).setup()
    with pytest.raises(DataError, match="did you mean 'Smiling'"):
        data.celeba(tmp_path / "faces", target="Smile").setup()


def test_utkface_from_file_names(tmp_path):
    module = prepared("utkface", tmp_path / "faces", size=4)
    assert module.describe()["unknown_sensitive"] == {"race": 1}
    frame = pd.concat([module.frame(part) for part in ("train", "validation", "test")])
    assert frame.gender.value_counts().to_dict() == {"male": 120, "female": 120}
    assert module.describe()["positive"] == "female"
    with pytest.raises(DataError, match="no images"):
        data.utkface(tmp_path).setup()
    (tmp_path / "faces" / "cover.jpg").touch()
    with pytest.raises(DataError, match=r"the image 'cover\.jpg'.*begin with an age"):
        data.utkface(tmp_path / "faces").setup()
    for make in (data.utkface, data.celeba):
        with pytest.raises(DataError, match="max_rows: found -5"):
            make(tmp_path / "faces", max_rows=-5)


def test_comments_have_the_embeddings_that_were_asked_for(tmp_path):
    path = published_files.comments(tmp_path, np.random.default_rng(0))
    identities = ["male", "muslim"]
    module = civil_comments(path, published_files.lengths, identities=identities)
    module.setup()
    table = pd.read_csv(path)
    facts = module.describe()
    assert facts["base_rate"] == pytest.approx((table.comment_text == "awful").mean())
    assert facts["unknown_sensitive"] == {"male": table.male.isna().sum(), "muslim": 0}
    assert facts["groups"]["male"]["male=yes"]["rows"] == (table.male == 0.5).sum()
    numbers = module.batch("train").inputs[0]
    words = table.comment_text[module.batch("train").index.numpy()]
    lengths = torch.tensor(words.str.len().to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(
        numbers[:, 0], (lengths - lengths.mean()) / lengths.std(correction=0), atol=1e-4, rtol=0
    )
    with pytest.raises(DataError, match="a vector for each text"):
        civil_comments(path, lambda texts: np.zeros(3), identities=identities).setup()
    for column, value, message in (
        ("target", np.nan, "target 'target': found 240 rows without a label"),
        ("target", "toxic", "numeric column 'target': found 240 values that are no numbers"),
        ("male", "yes", "numeric column 'male': found 240 values that are no numbers"),
    ):
        changed = table.assign(**{column: value})
        with pytest.raises(DataError, match=message):
            civil_comments(changed, published_files.lengths, identities=identities).setup()
    nullable = table.astype({"male": "Float64", "target": "string"})
    again = civil_comments(nullable, published_files.lengths, identities=identities)
    again.setup()
    assert again.describe()["groups"] == facts["groups"]
