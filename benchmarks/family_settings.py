"""What `families.py` trains: data sets, models, how long, and which method at which strengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import compas_rows
from hydra import compose, initialize_config_dir

from fairlightning.advisor import Option, Situation, family_of, recommend
from fairlightning.cli.build import conf_dir


@dataclass(frozen=True)
class Setting:
    """A data set, the definition of fairness on it, and the models that take its inputs.

    A model is trained with what the advisor names first, or with another of its options that
    stands after a stroke; `fair` are arguments of that method alone. Strengths rise until the gap
    on validation is at most `aim` times the plain one's. `balanced`: accuracy on validation is the
    mean over groups and labels, that of rows in which they are independent, as in the test.
    """

    data: Callable[[], Sequence[str]]
    training: tuple[str, ...]
    attribute: str
    definition: str
    models: tuple[str, ...]
    fair: tuple[str, ...] = ()
    aim: float = 0.4
    balanced: bool = False


TABLES = (
    "linear",
    "mlp",
    "tabular_resnet",
    "ft_transformer",
    "soft_tree",
    "soft_forest",
    "boosted_trees",
    "tabm",
    "ensemble",
    "tabm/reweighing",
    "ensemble/reweighing",
)
SHORT = ("trainer.max_epochs=10", "optimizer.learning_rate=0.003")
FEW_ROWS = ("trainer.max_epochs=15", "optimizer.learning_rate=0.003")
STEADY = (
    "optimizer.learning_rate=0.002",
    "optimizer.optimizer.weight_decay=0.1",
    "+optimizer.optimizer.betas=[0.0,0.99]",
)
"""Networks that learn few digits by heart have no gap in training, and nothing to mend."""

# Of 360 rows of validation 18 of each class have the rarer ink: all strengths are tried there.
STANDARDISED = ("method.objectives.adversarial.standardise=true",)
SETTINGS = {
    "adult": Setting(lambda: ("dataset=adult",), SHORT, "sex", "demographic_parity", TABLES),
    "compas": Setting(compas_rows.overrides, FEW_ROWS, "race", "demographic_parity", TABLES),
    "compas_sees_group": Setting(
        lambda: (*compas_rows.overrides(), "dataset.include_sensitive=true"),
        FEW_ROWS,
        "race",
        "demographic_parity",
        TABLES,
    ),
    "biased_digits": Setting(
        lambda: ("dataset=biased_digits",),
        STEADY,
        "colour",
        "equalized_odds",
        ("cnn",),
        STANDARDISED,
        aim=0.0,
        balanced=True,
    ),
    "digit_rows": Setting(
        lambda: (
            "dataset=digit_rows",
            # A stronger bias, and more rows to see it by: in 360 a gap of 0.1 is chance.
            "dataset.strength=0.9",
            "dataset.val_fraction=0.3",
            "dataset.test_fraction=0.3",
        ),
        STEADY,
        "direction",
        "equalized_odds",
        ("rnn", "transformer"),
        STANDARDISED,
        aim=0.0,
        balanced=True,
    ),
}

OVERRIDES: dict[str, tuple[str, ...]] = {
    "linear": ("optimizer.learning_rate=0.03",),
    "soft_tree": ("optimizer.learning_rate=0.01",),
    "soft_forest": ("optimizer.learning_rate=0.01",),
    "cnn": ("model.widths=[4,8,16]", "model.dropout=0.3"),
    "rnn": (
        "model.width=32",
        "model.dropout=0.3",
        "trainer.max_epochs=60",
        "optimizer.optimizer.weight_decay=1.0",
    ),
    "transformer": ("model.width=16", "model.dropout=0.3"),
    "boosted_trees": (
        "model.num_leaves=8",
        "model.learning_rate=0.1",
        "model.ramp=0.1",
        "model.patience=50",
    ),
}
"""What a model is trained with beside that of the data set, plain and fair."""

GRIDS = {
    "method.strength": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    "epsilon_logit": (1.6, 0.8, 0.4, 0.2, 0.1, 0.0),
}
"""Values of what says how strongly a method works, the weakest first."""


def recommended(model: str, definition: str) -> Option:
    """What the advisor recommends for a model."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        target = compose("train", overrides=[f"model={model}"]).model._target_
    return recommend(Situation(family_of(target), definition)).recommendation.option


def arguments(option: Option) -> tuple[tuple[str, ...], str | None]:
    """Arguments of an option, and the one that is swept, if any."""
    swept = next((o.partition("=")[0] for o in option.overrides if o.startswith("epsilon")), None)
    if swept is None and option.technique is not None:
        swept = "method.strength"
    fixed = tuple(o for o in option.overrides if o.partition("=")[0] != swept)
    return fixed, swept
