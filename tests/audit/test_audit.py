import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from fairlightning.audit import Judgement, Query, causal_figure, read_declaration
from fairlightning.audit.causal import CausalModel, paths
from fairlightning.audit.counts import base_rates, missingness
from fairlightning.audit.declaration import Declaration
from fairlightning.audit.diagram import write_diagram
from fairlightning.audit.effects import answers, causal_rows, with_queries
from fairlightning.audit.proxies import TOGETHER, proxy_strengths
from fairlightning.audit.recommendation import recommend_stage
from fairlightning.data import adult
from fairlightning.exceptions import DataError
from fairlightning.groups import GroupSpec

COLUMNS = ["sex", "job", "age", "y"]
GROUPS = {"sex": ["f", "m"]}
CAUSES = {"sex": ["job", "y"], "age": ["job", "y"], "job": ["y"]}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def declared(**parts):
    return read_declaration(parts, COLUMNS, GROUPS, "y")


def made_rows(rows, seed=0):
    """Rows of a known causal model, and the true effects of sex on y for women."""
    random = np.random.default_rng(seed)
    sex = random.integers(2, size=rows)
    age = random.normal(size=rows)
    noise, shock = random.normal(size=rows), random.random(rows)

    def job(s):
        return 1.5 * s + 0.5 * age + noise

    def chance(s, j):
        return sigmoid(-1 + 0.8 * s + j + 0.5 * age)

    women = sex == 0
    base = chance(0, job(0))[women]
    truth = {
        ("sex", "y"): (chance(1, job(0))[women] - base).mean(),
        ("sex", "job", "y"): (chance(0, job(1))[women] - base).mean(),
        "effect": (chance(1, job(1))[women] - base).mean(),
    }
    label = np.where(shock < chance(sex, job(sex)), "yes", "no")
    frame = pd.DataFrame({"sex": np.where(sex, "m", "f"), "job": job(sex), "age": age, "y": label})
    return frame, truth


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"edges": {"sex": ["jop"]}}, "did you mean 'job'"),
        ({"edges": {"sex": ["y"], "y": ["job"], "job": ["sex"]}}, "a circle"),
        ({"edges": {"sex": ["job"]}}, "no cause of the label 'y'"),
        ({"roles": {"sex": "proxy"}}, "'protected', as the data set has it"),
        ({"roles": {"age": "protected"}}, "neither sensitive attribute nor label"),
        ({"roles": {"age": "medator"}}, "did you mean 'mediator'"),
        ({"edges": CAUSES, "paths": {"sex": {"job": "good"}}}, "one of fair, unfair"),
        ({"queries": [{"attribute": "sex", "group": "f", "instead": "x"}]}, "queries of sex"),
        (
            {
                "edges": {"age": ["y"]},
                "queries": [{"attribute": "sex", "group": "f", "instead": "m"}],
            },
            "causal.queries: found 'sex', expected one of",
        ),
        ({"rolls": {}}, "did you mean 'roles'"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(parts, message):
    with pytest.raises(DataError, match=message):
        declared(**parts)


def test_a_path_is_judged_by_its_nodes():
    told = {"sex": {"direct": "unfair", "job": {"judgement": "fair", "reason": "skill"}}}
    found = declared(edges=CAUSES, paths=told)
    assert found.roles == {"sex": "protected", "y": "outcome"}
    judged = {tuple(path): found.judge(path) for path in paths(found.graph, "sex", "y", 6)}
    assert judged == {("sex", "y"): "unfair", ("sex", "job", "y"): "fair"}
    both = Declaration({}, judgements={"a": {"m": Judgement("fair"), "n": Judgement("unfair")}})
    assert both.judge(["a", "m", "n", "y"]) == "unfair"
    assert both.judge(["a", "m", "other", "y"]) == "undeclared"


def test_roles_alone_draw_the_usual_causes():
    found = declared(roles={"job": "mediator", "age": "context"})
    assert found.from_roles
    assert set(found.edges) == {
        *(("sex", "job"), ("sex", "y"), ("age", "job"), ("age", "y"), ("job", "y"))
    }
    frame = pd.DataFrame({"sex": list("ffm"), "job": 0, "age": 0, "y": 0})
    assert with_queries(found, frame).queries == (Query("sex", "m", "f"),)
    assert not declared().edges
    assert not declared(edges=CAUSES).from_roles


def test_the_diagram_has_every_node_and_edge():
    found = declared(edges=CAUSES, paths={"sex": {"job": "fair", "direct": "unfair"}})
    figure = causal_figure(found)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert set(texts) - {""} == set(COLUMNS)
    assert texts.count("") == len(found.edges)  # arrows
    places = {t.get_text(): t.get_position() for t in figure.axes[0].texts if t.get_text()}
    assert all(places[cause][0] < places[effect][0] for cause, effect in found.edges)


def test_names_in_the_diagram_are_no_formulas(tmp_path):
    columns = ["sex", r"$\nothing_{$", "y"]
    found = read_declaration(
        {"edges": {"sex": [columns[1]], columns[1]: ["y"]}}, columns, GROUPS, "y"
    )
    write_diagram(found, tmp_path / "diagram.svg")
    assert causal_figure(found).axes[0].texts


def test_without_features_there_are_no_proxies():
    spec, codes = GroupSpec(GROUPS), torch.tensor([0, 1] * 10).unsqueeze(1)
    assert proxy_strengths(pd.DataFrame(index=range(20)), [], [], spec, codes) == []


def test_proxies_agree_with_a_classifier_and_noise_tells_nothing():
    data = adult(seed=1)
    data.setup()
    frame = data.frame("validation").iloc[:3000].copy()
    frame["noise"] = np.random.default_rng(0).normal(size=len(frame))
    frame.loc[frame.index[::10], "age"] = None
    spec = GroupSpec({"sex": ["Female", "Male"]})
    codes = spec.encode(frame)
    found = proxy_strengths(frame, ["age", "noise"], ["relationship"], spec, codes)
    area = {entry["feature"]: entry for entry in found}
    assert set(area) == {"age", "noise", "relationship", TOGETHER}
    features = pd.get_dummies(frame["relationship"])
    scores = cross_val_predict(
        LogisticRegression(), features, codes[:, 0], cv=5, method="predict_proba"
    )
    oracle = roc_auc_score(codes[:, 0], scores[:, 1])
    assert area["relationship"]["auroc"] == pytest.approx(oracle, abs=0.005)
    assert area["relationship"]["low"] < oracle < area["relationship"]["high"]
    assert area["relationship"]["strength"] == "strong"
    assert area["noise"]["strength"] == "none"
    assert area[TOGETHER]["auroc"] > area["age"]["auroc"]


def test_noise_is_seldom_called_a_proxy():
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(1000, 60))).rename(columns=str)
    codes = torch.from_numpy(random.integers(0, 2, (1000, 1)))
    found = proxy_strengths(frame, list(frame), [], GroupSpec(GROUPS), codes)
    assert sum(entry["strength"] != "none" for entry in found) <= 2


def test_an_attribute_of_several_groups_is_told_one_against_the_rest():
    group = torch.arange(600)[:, None] % 3
    frame = pd.DataFrame({"same": group[:, 0].numpy(), "two": group[:, 0].numpy() == 2})
    spec = GroupSpec({"race": ["a", "b", "c"]})
    found = proxy_strengths(frame, [], ["same", "two"], spec, group)
    areas = {entry["feature"]: entry["groups"] for entry in found}
    assert areas["same"] == pytest.approx({"a": 1.0, "b": 1.0, "c": 1.0})
    assert areas["two"]["c"] == 1.0
    assert areas["two"]["a"] == pytest.approx(0.75, abs=0.05)


def test_counts_name_every_group_and_every_gap():
    spec = GroupSpec({"sex": ["f", "m"], "race": ["a", "b"]})
    sensitive = torch.tensor([[0, 0], [0, 0], [1, 0], [1, -1], [-1, 0]])
    weight = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0])
    rates = {
        e["group"]: e for e in base_rates(spec, sensitive, torch.tensor([1, 0, 1, 0, 1]), weight)
    }
    assert len(rates) == 2 + 2 + 4
    assert rates["sex=f"]["rate"] == 0.25
    assert rates["sex=m"]["rate"] == 0.5
    absent = rates["sex=f & race=b"]
    assert (absent["rate"], absent["support"]) == (None, 0)
    assert (absent["low"], absent["high"]) == (0.0, 1.0)
    frame = pd.DataFrame({"x": [None, 1, 2, 3, 4], "z": range(5)})
    found = missingness(frame, ["x", "z"], spec, sensitive)
    assert {e["column"] for e in found} == {"x"}
    shares = {e["group"]: (e["missing"], e["support"]) for e in found}
    assert shares == {
        None: (1, 5),
        "sex=f": (1, 2),
        "sex=m": (0, 2),
        "race=a": (1, 4),
        "race=b": (0, 0),
    }


@pytest.fixture(scope="module")
def answered():
    pytest.importorskip("dowhy")
    frame, truth = made_rows(4000)
    found = declared(
        edges=CAUSES,
        paths={"sex": {"job": "fair", "direct": "unfair"}},
        queries=[{"attribute": "sex", "group": "f", "instead": "m"}],
    )
    rows, left_out = causal_rows(frame, found, ["job", "age"], 4000, seed=0)
    assert left_out == 0
    known = {"numeric": ["job", "age"], "outcome": "y", "positive": "yes"}
    (entry,) = answers(rows, found, **known, bootstraps=6)
    return rows, found.graph, known, entry, truth


def test_effects_are_those_of_the_model_that_made_the_rows(answered):
    *_, entry, truth = answered
    along = {tuple(path["path"]): path for path in entry["paths"]}
    for path in (("sex", "y"), ("sex", "job", "y")):
        assert along[path]["value"] == pytest.approx(truth[path], abs=0.04)
        assert along[path]["low"] < along[path]["value"] < along[path]["high"]
    assert entry["effect"]["value"] == pytest.approx(truth["effect"], abs=0.04)
    assert entry["modelled"]["value"] == pytest.approx(entry["base_rate"], abs=0.02)
    sums = entry["by_judgement"]
    assert sums["fair"]["value"] == along["sex", "job", "y"]["value"]
    assert sums["unfair"]["value"] == along["sex", "y"]["value"]
    rest = entry["effect"]["value"] - sums["fair"]["value"] - sums["unfair"]["value"]
    assert entry["interaction"]["value"] == pytest.approx(rest)


def test_rows_that_keep_their_group_stay_what_they_are(answered):
    rows, graph, known, entry, _ = answered
    model = CausalModel.fit(rows, graph, **known)
    women = rows[rows.sex == "f"].iloc[:300]
    before = model.probability(women)
    CausalModel.fit(rows.iloc[::7], graph, **known)
    assert (model.probability(women) == before).all(), "a model is its own"
    noise = model.abduct(women, np.random.default_rng(0))
    same = model.counterfactual(noise, "sex", "f")
    assert (same.y == women.y).all()
    assert np.allclose(same.job.astype(float), women.job)
    other = model.counterfactual(noise, "sex", "m")
    assert (other.sex == "m").all()
    assert (other.age == women.age).all()
    assert other.job.astype(float).sub(women.job).mean() == pytest.approx(1.5, abs=0.15)
    for example in entry["examples"]:
        assert example["observed"]["sex"] == "f"
        assert set(example["counterfactual"]) == {"job"}
    effects = [e["counterfactual_probability"] - e["probability"] for e in entry["examples"]]
    assert effects == sorted(effects)


def test_a_group_with_too_few_rows_gets_no_answer():
    pytest.importorskip("dowhy")
    frame, _ = made_rows(400)
    frame = frame[(frame.sex == "m") | (frame.index < 20)]
    found = Declaration({}, edges=declared(edges=CAUSES).edges, queries=(Query("sex", "f", "m"),))
    rows, _ = causal_rows(frame, found, ["job", "age"], 400, seed=0)
    known = {"numeric": ["job", "age"], "outcome": "y", "positive": "yes"}
    (entry,) = answers(rows, found, **known, bootstraps=0)
    assert entry["effect"] == {"value": None, "low": None, "high": None}
    assert entry["examples"] == []


def test_paths_are_all_there_is_between_attribute_and_outcome():
    graph = nx.DiGraph([("a", "b"), ("b", "y"), ("a", "y"), ("c", "y"), ("b", "d")])
    assert paths(graph, "a", "y", 6) == [["a", "y"], ["a", "b", "y"]]
    assert paths(graph, "a", "y", 1) == [["a", "y"]]
    assert paths(graph, "not there", "y", 6) == []


def rate(group, value, low, high, support=1000):
    ends = {"low": low, "high": high, "support": support}
    return {"attribute": "sex", "group": group, "rate": value, **ends}


def told(auroc):
    return [{"feature": TOGETHER, "attribute": "sex", "auroc": auroc, "strength": "strong"}]


@pytest.mark.parametrize(
    ("rates", "proxies", "first", "reason"),
    [
        ([rate("f", 0.1, 0.09, 0.11), rate("m", 0.3, 0.28, 0.32)], told(0.9), 1, "0.90"),
        ([rate("f", 0.1, 0.09, 0.11), rate("m", 0.3, 0.28, 0.32)], told(0.6), 0, "10.0% of f"),
        ([rate("f", 0.1, 0.05, 0.2), rate("m", 0.15, 0.1, 0.2)], told(0.6), 2, None),
        ([rate("f", 0.1, 0.0, 0.5, 8), rate("m", 0.15, 0.1, 0.2)], told(0.6), 0, "f only 8"),
        (
            [rate("f", 0.2, 0.19, 0.21), rate("m", 0.4, 0.39, 0.41), rate("x", 0, 0, 0.66, 3)],
            told(0.6),
            0,
            "20.0% of f, 40.0% of m",
        ),
    ],
)
def test_the_stage_follows_from_what_was_measured(rates, proxies, first, reason):
    found = recommend_stage(rates, proxies, [], None, "dataset=adult")
    stage = found["stages"][first]
    assert found["first"] == stage["stage"]
    assert [s["suitability"] for s in found["stages"]].count("recommended") == 1
    assert reason is None or any(reason in told for told in stage["reasons"])


def test_a_tiny_group_does_not_hide_where_values_are_missing():
    known = (("f", 0.05, 0.04, 0.06), ("m", 0.3, 0.29, 0.31), ("x", 0.0, 0.0, 0.66))
    missing = [{"column": "job", **rate(*entry)} for entry in known]
    found = recommend_stage([], [], missing, None, "dataset=adult")
    assert "job is missing for 30.0% of m and 5.0% of f" in found["stages"][0]["reasons"]


def test_an_attribute_that_nobody_tells_recommends_nothing():
    spec, nobody = GroupSpec(GROUPS), torch.full((20, 1), -1)
    rates = base_rates(spec, nobody, torch.tensor([0, 1] * 10), None)
    missing = missingness(pd.DataFrame({"x": [None, 1.0] * 10}), ["x"], spec, nobody)
    found = recommend_stage(rates, [], missing, None, "dataset=adult")
    assert found["first"] == "post-processing"
    assert [len(stage["reasons"]) for stage in found["stages"]] == [1, 1, 1]
