from itertools import product
from pathlib import Path

import pytest

from fairlightning.advisor import (
    DEFINITIONS,
    FAMILIES,
    OPTIONS,
    RATINGS,
    TECHNIQUES,
    TREE,
    Facts,
    Situation,
    leaves,
    rating,
    recommend,
)
from fairlightning.advisor.tables import TABLES, filled
from fairlightning.exceptions import ArgumentError

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_shows_what_the_code_says():
    page = (DOCS / "advisor.md").read_text()
    assert all(f"<!-- {name} -->" in page for name in TABLES)
    assert filled(page) == page, "python -m fairlightning.advisor.tables docs/advisor.md"


def test_every_cell_is_rated_and_poor_ones_say_what_to_do():
    assert set(RATINGS) == set(product(FAMILIES, TECHNIQUES))
    for family, technique in RATINGS:
        cell = rating(family, technique)
        assert cell.reason
        assert bool(cell.alternative) == cell.is_poor
    with pytest.raises(ArgumentError, match="did you mean 'trees'"):
        rating("tree", "constraints")


def test_measured_figures_are_those_of_the_benchmarks_page():
    page = (DOCS / "benchmarks.md").read_text()
    told = [measured for option in OPTIONS.values() for measured in option.measured]
    assert len(told) >= 6
    for measured in told:
        assert measured.command in page
        assert all(figure in page for figure in measured.figures), measured
        assert all(figure in measured.text for figure in measured.figures), measured
    ratios = {key: option.time_ratio for key, option in OPTIONS.items() if option.time_ratio}
    assert all(f"{ratio:.2f}" in page for ratio in ratios.values())


def test_the_tree_leads_where_the_field_says():
    found = {(family, definition): leaf.key for family, definition, leaf in leaves_by_hand()}
    assert found["linear", "demographic_parity"] == "convex_reweighed"
    assert found["linear", "equal_opportunity"] == "convex_thresholds"
    assert found["linear", "individual"] == "similarity"
    assert found["trees", "demographic_parity"] == "fair_splitting"
    assert found["trees", "equal_opportunity"] == "fair_splitting_weighted"
    assert found["trees", "individual"] == "regularised_induction"
    assert found["neural", "demographic_parity"] == "adversarial"
    assert found["neural", "equal_opportunity"] == "fairness_head"
    assert found["neural", "individual"] == "sensitive_gradient"
    assert found["ensemble", "demographic_parity"] == "parity"
    assert set(TREE) == set(FAMILIES)
    assert {name for of in TREE.values() for name in of} == set(DEFINITIONS)
    assert {key for of in TREE.values() for keys in of.values() for key in keys} == set(OPTIONS)


def leaves_by_hand():
    return [
        (family, definition, recommend(Situation(family, definition)).recommendation)
        for family, of in TREE.items()
        for definition in of
    ]


@pytest.mark.parametrize(
    ("answers", "first", "ruled_out"),
    [
        ({"time_increase": 1.3}, "parity penalty", "adversarial debiasing"),
        ({"time_increase": 1.5}, "adversarial debiasing", None),
        ({"tuning": "none"}, "constraints by multipliers", None),
        (
            {"model": "linear", "regime": "online"},
            "parity penalty",
            "constraint optimisation with optimisation-based reweighing",
        ),
        (
            {"model": "linear", "explainability": "proof"},
            "constraint optimisation with optimisation-based reweighing",
            "parity penalty",
        ),
        (
            {"model": "linear", "loss": "hinge"},
            "constraint optimisation with optimisation-based reweighing",
            "parity penalty",
        ),
        (
            {"model": "trees", "definition": "individual", "deployment": "no_group"},
            "regularised induction",
            "counterfactual consistency",
        ),
    ],
)
def test_answers_change_the_recommendation(answers, first, ruled_out):
    situation = Situation(**{"model": "neural", "definition": "demographic_parity"} | answers)
    advice = recommend(situation)
    assert advice.recommendation.option.name == first
    assert ruled_out is None or advice.ruled_out[ruled_out]
    left = [advice.recommendation, *advice.alternatives]
    assert not {advised.option.name for advised in left} & set(advice.ruled_out)


def test_answers_reach_the_command():
    def typed(**answers):
        return " ; ".join(recommend(Situation(**answers)).recommendation.commands)

    neural = {"model": "neural", "definition": "demographic_parity"}
    assert "conditioned=true" in typed(**neural, budget="low")
    assert "fairlightning front" in typed(**neural, tuning="front")
    assert "hydra/sweeper=pareto" in typed(**neural, tuning="search")
    assert "weight_decay=0.01" in typed(**neural, regularisation="l2")
    dropout = Situation("ensemble", "demographic_parity", regularisation="dropout")
    for model, place in (("tabm", "model.dropout"), ("soft_forest", None)):
        named = recommend(dropout, model=f"model={model}", dropout=place).recommendation.commands
        assert ("model.dropout=0.1" in named[0]) == (place is not None)
    assert "model.network.dropout=0.1" in recommend(dropout).recommendation.commands[0]
    linear = {"model": "linear", "definition": "equal_opportunity"}
    assert "module.loss=hinge" in typed(**linear, loss="hinge")
    assert "--shared" in typed(**linear, deployment="no_group")
    assert "--shared" not in typed(**linear)


def test_impossible_answers_are_refused_with_what_stands_in_the_way():
    with pytest.raises(ArgumentError, match="an ensemble decides in the time of all its members"):
        recommend(Situation("ensemble", "individual", deployment="light"))
    with pytest.raises(ArgumentError, match=r"take a model of another family \(linear, neural"):
        recommend(Situation("trees", "worst_group"))
    with pytest.raises(ArgumentError, match="at least 1"):
        Situation("neural", "individual", time_increase=0.5)


def test_facts_of_a_table_become_cautions():
    facts = Facts(
        rows=1000,
        train_rows=600,
        positives=0.3,
        attributes={"sex": 2},
        smallest="sex=f",
        smallest_rows=12,
        empty=1,
        unknown={"sex": 0.1},
        base_rate_gap={"sex": 0.2},
    )
    told = "\n".join(recommend(Situation("neural", "demographic_parity", facts=facts)).cautions)
    assert "sex=f has 12 training rows" in told
    assert "1 intersections have no training rows" in told
    assert "sex is unknown for 10.0% of the rows" in told
    assert "differ by 0.200" in told
    other = recommend(Situation("neural", "equal_opportunity", facts=facts)).cautions
    assert not any("base rates" in caution for caution in other)


def test_leaves_are_every_branch_of_the_tree():
    assert len(leaves()) == sum(map(len, TREE.values()))
    assert all(advised.commands for _, _, advised in leaves())
