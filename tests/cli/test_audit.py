import io
import json
import sys
from xml.etree import ElementTree

import pytest
from helpers import command, small_table
from rich.console import Console

from fairlightning.cli.audit import print_audit
from fairlightning.data import adult


@pytest.fixture(scope="module")
def some_of_adult(tmp_path_factory):
    data = adult()
    data.setup()
    path = tmp_path_factory.mktemp("adult") / "rows.parquet"
    data.frame("validation").iloc[:1000].to_parquet(path)
    return path


def audited(folder, source, *more):
    words = ["dataset=adult", f"+dataset.source={source}", "run_dir=audited", *more]
    done = command("audit", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "audited" / "audit.json").read_text())


def test_an_audit_of_adult_is_complete(some_of_adult, tmp_path):
    pytest.importorskip("dowhy")
    done, document = audited(tmp_path, some_of_adult, "rows=600", "bootstraps=0")
    assert "First: in-processing" in done.stdout
    roles = {entry["name"]: entry["role"] for entry in document["variables"]}
    assert (roles["sex"], roles["income"], roles["relationship"]) == (
        "protected",
        "outcome",
        "proxy",
    )
    assert roles["fnlwgt"] == "undeclared"
    assert document["data"]["rows"] == 1000
    assert {e["group"] for e in document["base_rates"]} > {"sex=Female", "sex=Male & race=Other"}
    (first, second) = document["counterfactuals"]
    assert first["question"] == "had sex been Male for sex=Female"
    assert first["effect"]["value"] > 0
    assert {path["judgement"] for path in first["paths"]} == {"fair", "unfair"}
    assert first["effect"]["low"] is None, "no refits, no interval"
    assert second["attribute"] == "race"
    page = (tmp_path / "audited" / "audit.md").read_text()
    assert all(entry["question"][1:] in page for entry in document["counterfactuals"])
    assert all(entry["group"] in page for entry in document["base_rates"])
    picture = ElementTree.parse(tmp_path / "audited" / "causal_diagram.svg").getroot()
    assert picture.tag.endswith("svg")
    assert document["diagram"]["file"] == "causal_diagram.svg"
    assert set(document) == {
        *("format", "command", "versions", "data", "variables", "proxies", "base_rates"),
        *("missingness", "diagram", "pathways", "counterfactuals", "counterfactuals_note"),
        *("recommendation", "assumptions", "uncertainties"),
    }


def test_without_dowhy_all_else_is_there_and_the_extra_is_named(
    some_of_adult, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "dowhy", None)
    done, document = audited(tmp_path, some_of_adult)
    assert document["counterfactuals"] is None
    assert "fairlightning[causal]" in document["counterfactuals_note"]
    assert "fairlightning[causal]" in done.stdout
    assert document["proxies"]
    assert document["diagram"]["edges"]
    wanted = command(
        "audit", f"+dataset.source={some_of_adult}", "counterfactuals=true", cwd=tmp_path
    )
    assert wanted.returncode == 2
    assert "fairlightning[causal]" in wanted.stderr


def test_a_table_without_declarations_gets_what_can_be_measured(table, tmp_path):
    done = command("audit", *small_table(table), "run_dir=audited", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "audited" / "audit.json").read_text())
    assert document["diagram"] is None
    assert "no causes are declared" in document["counterfactuals_note"]
    assert not (tmp_path / "audited" / "causal_diagram.svg").exists()
    job = next(e for e in document["proxies"] if e["feature"] == "job")
    assert job["strength"] == "none"
    # The label depends on the group.
    assert document["recommendation"]["first"] == "pre-processing"
    assert "dataset=table" in document["recommendation"]["stages"][0]["command"]


def test_names_in_brackets_are_printed_as_they_are():
    names = ("race=[white]", "race=[/unknown]")
    share = {"rate": 0.4, "low": 0.3, "high": 0.5, "support": 500}
    effect = {"value": 0.1, "low": 0.0, "high": 0.2}
    document = {
        "recommendation": {"first": "pre-processing", "stages": []},
        "proxies": [
            {"feature": name, "attribute": "[x]", "auroc": 0.9, "low": 0.8, "high": 1.0,
             "strength": "strong"}
            for name in names
        ],
        "data": {"target": "[y]", "positive": "1"},
        "base_rates": [{"group": name, **share} for name in names],
        "counterfactuals": [
            {"question": f"had {name}", "effect": effect,
             "paths": [{"path": [name, "[y]"], "judgement": "fair", **effect}]}
            for name in names
        ],
    }  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    print_audit(console, document)
    assert [console.file.getvalue().count(name) for name in names] == [4, 4]
