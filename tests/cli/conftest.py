import pytest
from helpers import small_table, write_table
from hydra import compose, initialize_config_dir

from fairlightning.cli.build import conf_dir


@pytest.fixture
def table(tmp_path):
    """The small table, as a CSV file."""
    return write_table(tmp_path / "table.csv")


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
