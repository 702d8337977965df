import numpy as np
import pandas as pd
import pytest
from helpers import small_table
from hydra import compose, initialize_config_dir

from fairlightning.cli.build import conf_dir


@pytest.fixture
def table(tmp_path):
    """A small CSV in which the label depends on a feature and on the group."""
    random = np.random.default_rng(0)
    rows = 600
    sex = random.choice(["f", "m"], rows)
    x = random.normal(size=rows)
    job = random.choice(["a", "b", "c"], rows)
    label = x + (sex == "m") + random.normal(size=rows) > 0.5
    frame = pd.DataFrame({"x": x, "job": job, "sex": sex, "label": np.where(label, "yes", "no")})
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def composed(tmp_path, table):
    """Compose the configuration of a short run, on the small table or another data set."""

    def make(*overrides, command="train", dataset=None):
        fixed = [
            *([f"dataset={dataset}", "dataset.batch_size=540"] if dataset else small_table(table)),
            "trainer.max_epochs=3",
            "trainer.accelerator=cpu",
            "trainer.enable_progress_bar=false",
        ]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            run_dir = f"run_dir={tmp_path / 'run'}"
            return compose(command, overrides=[run_dir, *fixed, *overrides])

    return make
