import numpy as np
import pandas as pd
import pytest

from fairlightning.cli.build import build_front, load_run
from fairlightning.cli.results import predictions
from fairlightning.cli.run import seeded_data
from fairlightning.cli.train import train
from fairlightning.exceptions import ArgumentError


def test_a_run_of_trees_leaves_the_folder_of_a_run(composed):
    config = composed("model=boosted_trees", "method=parity", "model.rounds=20")
    records = train(config)
    assert any(r.metric == "demographic_parity_difference" for r in records)
    module, data = load_run(config.run_dir)
    again = predictions(module.network, data, "test")
    kept = pd.read_parquet(f"{config.run_dir}/predictions.parquet")
    kept = kept[kept["split"] == "test"]
    np.testing.assert_array_equal(kept["score"], again["score"])


def test_an_adversary_is_refused(composed):
    with pytest.raises(ArgumentError, match="adversarial"):
        train(composed("model=boosted_trees", "method=adversarial"))


def test_a_front_of_trees_is_refused(composed):
    config = composed("model=boosted_trees", "method=parity", command="front")
    with pytest.raises(ArgumentError, match="collect"):
        build_front(config, seeded_data(config))
