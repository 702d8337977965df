"""The report: true to the files of the run, complete, offline, and clear about what is missing."""

import json
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from browser import open_offline
from helpers import command
from verified_folder import advice, audit, decision, drawn_folder, verified_folder

from fairlightning.boosting import BoostedTrees
from fairlightning.data import adult
from fairlightning.exceptions import DataError
from fairlightning.module import FairModule
from fairlightning.report.pages.rendering import template_text
from fairlightning.report.plain import check_report
from fairlightning.verification.reporting import (
    REPORT_FILES,
    group_pictures,
    model,
    results,
    sensitivity,
    summary,
    words,
    write_report,
)
from fairlightning.verification.reporting.inputs import read_inputs

MAIN = [
    "summary", "criteria", "comparison", "trade-off", "robustness", "causes", "model", "checklist",
    "limits",
]  # fmt: skip
APPENDICES = [
    "figures-all", "findings-all", "groups-all", "calibration-all", "curves-all", "audit-all",
    "architecture", "reproducibility", "files",
]  # fmt: skip
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text y="20">sex</text></svg>'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return verified_folder(tmp_path_factory.mktemp("verified"))


@pytest.fixture(scope="module")
def full(made, tmp_path_factory):
    """A folder with every optional file, and its report made by the command."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("full") / "v")
    (folder / "audit").mkdir()
    (folder / "audit" / "audit.json").write_text(json.dumps(audit()))
    (folder / "audit" / "causal_diagram.svg").write_text(SVG)
    (folder / "advice.json").write_text(json.dumps(advice()))
    (folder / "decision.json").write_text(json.dumps(decision(folder)))
    (folder / "card.yaml").write_text("license: apache-2.0\nintended_use: A study of incomes.\n")
    ran = command("report", folder, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert "report.html" in ran.stdout
    return folder


@pytest.fixture(scope="module")
def content(full):
    return json.loads((full / "report.json").read_text())


@pytest.fixture(scope="module")
def opened(browser, full):
    return open_offline(browser, full / "report.html")


def table(content, name):
    blocks = [block for section in content["sections"] for block in section["blocks"]]
    (found,) = (block for block in blocks if block.get("id") == name)
    return found


def row(content, name, **cells):
    found = [r for r in table(content, name)["rows"] if all(r[k] == v for k, v in cells.items())]
    assert len(found) == 1
    return found[0]


def frames(folder, role):
    for seed in (0, 1):
        frame = pd.read_parquet(folder / f"runs/seed={seed}/{role}/predictions.parquet")
        frame = frame[frame["split"] == "test"]
        yield frame.assign(selected=frame["score"] >= 0.5)


def test_cells_are_those_of_the_raw_predictions(full, content, opened):
    accuracy = [((f["selected"] == f["target"]).mean()) for f in frames(full, "baseline")]
    cell = row(content, "common", metric="accuracy", of="all rows")["baseline"]
    assert cell["value"] == pytest.approx(sum(accuracy) / 2, abs=1e-12)
    assert cell["deviation"] == pytest.approx(pd.Series(accuracy).std(), abs=1e-12)
    rates = [f.groupby("sex")["selected"].mean() for f in frames(full, "intervention")]
    gap = sum(abs(rate["Male"] - rate["Female"]) for rate in rates) / 2
    found = row(content, "common", metric="demographic-parity difference", of="sex")
    assert found["intervention"]["value"] == pytest.approx(gap, abs=1e-12)
    group = [
        f[(f["sex"] == "Female") & (f["race"] == "Black")]["selected"].mean()
        for f in frames(full, "baseline")
    ]
    of = row(content, "groups", group="sex=Female & race=Black", rate="selection rate")
    assert of["baseline"]["value"] == pytest.approx(sum(group) / 2, abs=1e-12)
    text = opened.page.inner_text("#comparison")
    assert f"{sum(accuracy) / 2:.3f} ± {pd.Series(accuracy).std():.3f}" in text
    assert f"{gap:.3f}" in text
    markdown = (full / "report.md").read_text()
    assert f"{sum(group) / 2:.3f}" in markdown


def test_everything_is_there(full, content, opened):
    check_report(content)
    assert [s["id"] for s in content["sections"] if not s["appendix"]] == MAIN
    assert [s["id"] for s in content["sections"] if s["appendix"]] == APPENDICES
    assert all(section["blocks"] for section in content["sections"])
    # Adult has no column of regions or times.
    assert {"shift.column" in missing["what"] for missing in content["missing"]} == {True}
    blocks = [block for section in content["sections"] for block in section["blocks"]]
    kinds = [block["type"] for block in blocks]
    assert kinds.count("picture") == opened.page.locator("figure.picture").count() >= 15
    assert kinds.count("table") == opened.page.locator("table").count() >= 20
    sourced = [block for block in blocks if block["type"] in ("picture", "table")]
    assert [block["id"] for block in sourced if not block["sources"]] == ["file-list"]
    files = {file["path"]: file["sha256"] for file in content["files"]}
    assert {source["path"] for block in sourced for source in block["sources"]} <= set(files)
    assert None not in files.values()
    for block in blocks:
        if block["type"] == "picture":
            assert (full / block["file"]).read_text().startswith("<?xml") or "causal" in block["id"]
    text = opened.page.inner_text("body")
    for said in ("Ann O'Neil", "The smaller gap <is> worth it", "a<b>|c", "adversarial debiasing"):
        assert said in text
    markdown = (full / "report.md").read_text()
    assert r"a\<b\>\|c" in markdown
    assert "Equal rates, as \\*the\\* board \\| chose \\<b\\>" in markdown


def test_page_is_offline_without_script_and_its_links_lead_somewhere(full, opened):
    page = opened.page
    assert opened.complaints == []
    assert page.locator("script").count() == 0
    assert page.locator("b").count() == 0  # names are text
    loaded = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth > 0 && !!i.alt)")
    assert all(loaded)
    for link in page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))"):
        if link.startswith("#"):
            assert page.locator(f"[id='{link[1:]}']").count() == 1, link
        else:
            assert (full / unquote(link)).is_file(), link
    assert (full / "report.html").stat().st_size < 6e6


def test_main_text_prints_on_two_to_four_pages(opened):
    def pages():
        return len(re.findall(rb"/Type\s*/Page\b", opened.page.pdf(prefer_css_page_size=True)))

    # Wider content would make the browser print everything smaller: A4 less its margins.
    opened.page.set_viewport_size({"width": 688, "height": 900})
    opened.page.emulate_media(media="print")
    wide = "document.documentElement.scrollWidth"
    assert opened.page.evaluate(wide) <= 688
    everything = pages()
    opened.page.add_style_tag(content=".appendix { display: none; }")
    assert 2 <= pages() <= 4 < everything


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_has_contrast_in_light_and_dark():
    style = template_text("report/report.css")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        grounds = ["ground", "card"]
        pairs = [(ink, on) for ink in ("ink", "soft", "accent") for on in grounds]
        for state in ("good", "note", "bad", "open"):
            pairs += [(state, "card"), (state, f"{state}-ground"), ("ink", f"{state}-ground")]
        for ink, on in pairs:
            dark, light = sorted(luminance(colours[name]) for name in (ink, on))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, on)


def test_what_is_missing_is_named_and_the_rest_is_the_same_each_time(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "v")
    for seed in (0, 1):
        for role in ("baseline", "intervention"):
            for name in ("metrics.json", "predictions.parquet", "environment.json"):
                (folder / f"runs/seed={seed}/{role}/{name}").unlink()
            shutil.rmtree(folder / f"runs/seed={seed}/{role}/checkpoints")
    shutil.rmtree(folder / "around")
    paths = write_report(folder)
    first = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == list(REPORT_FILES)
    content = json.loads(first[2])
    whats = " ".join(missing["what"] for missing in content["missing"])
    for what in (
        "audit", "variable map", "causal diagram", "counterfactual", "pathways", "advice",
        "decision", "No front", "architecture", "sensitive columns", "picture of gaps",
        "maps of intersections", "Calibration of the baseline", "Calibration of the intervention",
        "runs/seed=1/intervention/metrics.json",
    ):  # fmt: skip
        assert what in whats, what
    for text in first[:2]:
        assert text.decode().count("Missing.") == len(content["missing"])
    assert all(missing["mend"] for missing in content["missing"])
    assert [s["id"] for s in content["sections"]] == MAIN + APPENDICES
    assert [path.read_bytes() for path in write_report(folder)] == first


def test_card_has_the_common_form(full, content):
    _, front, text = (full / "model_card.md").read_text().split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["license"] == "apache-2.0"
    assert matter["datasets"] == ["adult"]
    (result,) = matter["model-index"][0]["results"]
    values = {(m["type"], m["name"]): m["value"] for m in result["metrics"]}
    cell = row(content, "common", metric="accuracy", of="all rows")["intervention"]
    assert values["accuracy", "accuracy"] == cell["value"]
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert headings == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip
    assert "A study of incomes." in text
    assert "`out_of_scope` into card.yaml" in text
    assert "sex=Female & race=Other".replace("&", r"\&") in text


def spoiled(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(change(content)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("audit.json", lambda _: {**audit(), "format": 7}, "audit.json: found format 7"),
        ("audit.json", lambda _: {**audit(), "proxies": None}, "audit.json: found None as"),
        ("audit.json", lambda _: {**audit(), "proxies": [{}]}, "audit.json: .*KeyError"),
        ("advice.json", lambda _: {**advice(), "recommendation": {}}, "advice.json: .*KeyError"),
        ("advice.json", lambda _: [], "advice.json: found a list"),
        ("card.yaml", lambda _: {"license": 3}, "card.yaml: found 3 for 'license'"),
        ("decision.json", lambda _: {"version": 1, "front": {"sha256": ""}}, "decision.json: "),
        ("verification.json", lambda v: {**v, "seeds": [0.5]}, r"verification.json: found 0.5 at"),
        ("verification.json", lambda v: {**v, "runs": []}, "runs: found no baseline of seed 0"),
        ("around/front.json", lambda f: {**f, "version": 9}, "front.json: found version 9"),
    ],
)
def test_wrong_files_are_named(made, tmp_path, name, change, message):
    names = ["verification.json", "around/front.json"]
    (tmp_path / "around").mkdir()
    for kept in names:
        shutil.copy(made / kept, tmp_path / kept)
    spoiled(tmp_path, name, change)
    with pytest.raises(DataError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_verification_is_one_line(tmp_path):
    ran = command("report", tmp_path, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "verification.json" in ran.stderr
    assert "fairlightning verify" in ran.stderr


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda c: c.pop("verdict"), r"\$: .*'verdict' is a required"),
        (lambda c: c["verdict"].update(state="fine"), r"\$.verdict.state"),
        (lambda c: c["sections"].clear(), r"\$.sections"),
        (lambda c: c["files"][0].update(sha256="ab"), r"\$.files\[0\].sha256"),
        (lambda c: c.update(extra=1), r"'extra' was unexpected"),
        (lambda c: table(c, "common")["rows"][0].update(baseline=0.5), r"\$.sections\[2\]"),
        (
            lambda c: table(c, "common")["rows"][0]["baseline"].update(value=float("nan")),
            "not finite",
        ),
    ],
)
def test_schema_refuses(content, spoil, place):
    copy = json.loads(json.dumps(content))
    spoil(copy)
    with pytest.raises(DataError, match=place):
        check_report(copy)


def test_trees_are_counted(made, tmp_path):
    lightgbm = pytest.importorskip("lightgbm", reason="the extra trees is not installed")
    folder = shutil.copytree(made, tmp_path / "v")
    whole = adult(sensitive={"sex": ["Female", "Male"]})
    whole.setup()
    data = adult(
        source=whole.frame("train").sample(1000, random_state=0),
        sensitive={"sex": ["Female", "Male"]},
    )
    data.setup()
    trees = BoostedTrees(data.num_numeric, data.cardinalities, rounds=7, num_leaves=4)
    module = FairModule(trees, data.groups)
    trees.fit(module.fairness, data.batch("train"), data.batch("validation"))
    state = module.state_dict()
    path = folder / "runs/seed=0/intervention/checkpoints/best.ckpt"
    torch.save({"state_dict": state}, path)
    (layer,) = model.architecture(read_inputs(folder)).blocks[0].rows
    booster = lightgbm.Booster(model_str=state["network._extra_state"]["trees"])
    leaves = int(booster.trees_to_dataframe()["left_child"].isna().sum())
    assert layer[:2] == ("network.trees", f"trees {booster.num_trees()} with {leaves} leaves")
    assert layer[2].value == leaves


def drawn(seed, selected, rows=6000, share=0.5, base=0.4):
    """Scores with the rates of selection that `selected(label, woman, seed)` gives both models."""
    random = np.random.default_rng(seed)
    woman, label = random.random(rows) < share, random.random(rows) < base
    chance = random.random(rows)
    scores = [np.where(chance < rate, 0.9, 0.1) for rate in selected(label, woman, seed)]
    sex = np.where(woman, "f", "m")
    columns = {"target": label * 1.0, "baseline": scores[0], "intervention": scores[1], "sex": sex}
    return pd.DataFrame(columns)


SEX = {"sex": ["f", "m"]}


def test_groups_that_take_turns_to_be_ahead_are_as_far_apart_as_in_each_training(tmp_path):
    def selected(_, woman, seed):
        ahead = 0.1 if seed % 2 else -0.1
        return np.where(woman, 0.4, 0.6), np.where(woman, 0.5 + ahead, 0.5 - ahead)

    found = drawn_folder(tmp_path / "v", lambda seed: drawn(seed, selected), SEX)
    (gap,) = found.criteria[0].findings
    for role in ("baseline", "intervention"):
        assert words.ends(found.groups, role).gap == pytest.approx(getattr(gap, role), abs=1e-12)
    text = words.gap_sentence(found, "sex", "selection_rate")
    assert gap.intervention > 0.15
    assert f"{100 * gap.baseline:.1f} apart;" in text
    assert f"{100 * gap.intervention:.1f} apart on average (trainings differ in who" in text


def test_a_group_is_judged_under_each_rate_and_counted_once(tmp_path):
    def selected(label, woman, _):
        found = np.where(label, 0.7, 0.2)
        return found, np.where(woman & label, 0.45, found)

    found = drawn_folder(tmp_path / "v", lambda seed: drawn(seed, selected), SEX, "equalized_odds")
    harmed = [name for name, v in words.rate_verdicts(found).items() if v == "not met"]
    assert harmed == [
        ("sex=f", "true_positive_rate"),
        ("sex=m", "true_positive_rate"),
        ("sex=f", "false_positive_rate"),  # they lose accuracy
    ]
    assert words.group_verdicts(found) == {"sex=f": "not met", "sex=m": "not met"}
    said = summary.summary(read_inputs(tmp_path / "v")).blocks[1].items
    assert [s[:10] for s in said if "Harmed" in s] == ["Harmed: f,", "Harmed: m,"]
    assert "0 of 2 groups and intersections with enough rows are not harmed." in said


def test_what_cannot_be_said_of_one_rate_cannot_be_said_of_the_group(tmp_path):
    def selected(label, woman, _):
        return np.where(label, 0.7, 0.2), np.where(label, 0.7, 0.2)

    rows = {"rows": 9000, "share": 0.2, "base": 0.03}
    draw = lambda seed: drawn(seed, selected, **rows)  # noqa: E731
    found = drawn_folder(tmp_path / "v", draw, SEX, "equalized_odds", seeds=(0,))
    verdicts = words.rate_verdicts(found)
    assert verdicts["sex=f", "true_positive_rate"] is None
    assert verdicts["sex=f", "false_positive_rate"] == "met"
    assert words.group_verdicts(found)["sex=f"] == "not enough evidence"
    table = results.groups_table(read_inputs(tmp_path / "v"))
    told = [row[6].word for row in table.rows if row[0] == "sex=f"]
    assert told == ["too few rows", "not harmed"]


def test_a_group_that_others_left_is_farther_away_and_not_treated_worse(tmp_path):
    def selected(label, woman, _):
        return np.where(label, 1.0, 0.0), np.where(label, np.where(woman, 1.0, 0.7), 0.0)

    draw = lambda seed: drawn(seed, selected, share=0.3)  # noqa: E731
    drawn_folder(tmp_path / "v", draw, SEX)
    said = summary.summary(read_inputs(tmp_path / "v")).blocks[1].items
    women, men = (next(s for s in said if s.startswith(f"Harmed: {group}")) for group in "fm")
    assert "farther from all rows in its selection rate (by 0.0" in women
    assert "rightly" not in women
    assert "decides rightly 1" in men


def test_names_that_differ_in_case_alone_have_pictures_and_columns_of_their_own(tmp_path):
    names = ("Género", "género")

    def draw(seed):
        frame = drawn(seed, lambda label, *_: (label, label), rows=900).drop(columns="sex")
        random = np.random.default_rng(seed)
        return frame.assign(**{name: random.choice(["f", "m"], 900) for name in names})

    drawn_folder(tmp_path / "v", draw, {name: ["f", "m"] for name in names}, seeds=(0,))
    inputs = read_inputs(tmp_path / "v")
    ids = [block.id for block in group_pictures.calibration(inputs).blocks if hasattr(block, "id")]
    assert len(ids) == len(set(ids)) == 4
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in ids)
    (curve,) = (
        block for block in sensitivity.all_curves(inputs).blocks if hasattr(block, "columns")
    )
    keys = [column.key for column in curve.columns]
    assert [f"baseline: gap of {name}" in keys for name in names] == [True, True]
