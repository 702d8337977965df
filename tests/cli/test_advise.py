import json
import shlex
import sys
from io import StringIO
from typing import get_args

import pandas as pd
import pytest
from helpers import command, small_table
from hydra import compose, initialize_config_dir

from fairlightning.advisor import TREE, Situation, candidates, commands, recommend
from fairlightning.advisor.tree import MODELS
from fairlightning.cli.build import build_data, conf_dir
from fairlightning.cli.facts import data_facts
from fairlightning.cli.train import train
from fairlightning.functional.parity import Criterion

LEAVES = [(family, definition) for family, of in TREE.items() for definition in of]
TINY = [
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=1",
    "logger=none",
    "trainer.enable_progress_bar=false",
]


def typed(family, definition, tuning="none", option=None):
    option = option or next(iter(candidates(family, definition).values()))
    return [
        shlex.split(line)
        for line in commands(option, definition, f"model={MODELS[family]}", tuning=tuning)
    ]


def skip_what_is_not_there(words):
    """Skip a command that names a file of the configuration that does not exist."""
    for word in words:
        name, _, value = word.partition("=")
        if name in ("method", "sampling") and not (conf_dir() / name / f"{value}.yaml").is_file():
            pytest.skip(f"no {word}")
        if name == "criterion" and value not in get_args(Criterion):
            pytest.skip(f"no {word}")


@pytest.mark.parametrize(("family", "definition"), LEAVES)
def test_the_command_of_every_leaf_runs_one_batch(composed, family, definition, tmp_path):
    lines = typed(family, definition)
    skip_what_is_not_there(lines[0])
    if family == "trees":
        pytest.importorskip("lightgbm")
    assert lines[0][:2] == ["fairlightning", "train"]
    words = [w for w in lines[0][2:] if not w.startswith(("dataset=", "run_dir="))]
    small = ["model.rounds=3"] if family == "trees" else TINY
    records = train(composed(*words, *small, "callbacks=none"))
    assert all(r.value is not None for r in records if r.metric == "accuracy")
    for line in lines[1:]:
        assert line[:3] == ["fairlightning", "evaluate", "runs/advised/predictions.parquet"]
        done = command("evaluate", "run/predictions.parquet", *line[3:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Largest difference on validation" in done.stdout


ALTERNATIVES = {
    key: (family, definition)
    for family, definition in LEAVES
    for key in list(candidates(family, definition))[1:]
}


@pytest.mark.parametrize(
    ("key", "tuning"),
    [*((key, "sweep") for key in ALTERNATIVES), ("parity", "front"), ("parity", "conditioned")],
)
def test_commands_of_alternatives_and_of_tuning_compose(key, tuning):
    family, definition = ALTERNATIVES[key]
    words = typed(family, definition, tuning, candidates(family, definition)[key])[0]
    skip_what_is_not_there(words)
    assert len({word.partition("=")[0] for word in words}) == len(words), "nothing twice"
    swept = [w for w in words if "," in w]
    assert bool(swept) == ("-m" in words)
    first = [w.partition(",")[0] if w in swept else w for w in words[2:] if w != "-m"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(words[1], overrides=["run_dir=.", *first])
    assert ("strengths" in config) == (words[1] == "front")


def test_advice_for_a_configuration_looks_at_model_and_data(table, tmp_path):
    overrides = [*small_table(table), "model=tabm"]
    done = command("advise", *overrides, "--json", "advice.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "600 rows" in done.stdout
    advice = json.loads((tmp_path / "advice.json").read_text())
    assert advice["situation"]["model"] == "ensemble"
    facts = advice["situation"]["facts"]
    assert facts["attributes"] == {"sex": 2}
    assert facts["smallest_rows"] <= facts["train_rows"] / 2
    assert f"dataset.source={table}" in advice["recommendation"]["commands"][0]
    assert "model=tabm" in advice["recommendation"]["commands"][0]
    assert advice["recommendation"]["trade_offs"]["stability"]


def test_arguments_are_kept_and_survive_a_shell(table, tmp_path):
    source = table.rename(table.with_name("my rows.csv"))
    given = [*small_table(source), "model=soft_tree", "trainer.max_epochs=2", "epsilon=0.02"]
    left_out = ["method=parity", "run_dir=elsewhere"]
    options = ["--regularisation", "dropout", "--json", "advice.json"]
    done = command("advise", *given, *left_out, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    advice = json.loads((tmp_path / "advice.json").read_text())
    words = shlex.split(advice["recommendation"]["commands"][0])
    assert set(given) <= set(words)
    assert not set(left_out) & set(words)
    assert not [word for word in words if "dropout" in word]
    assert any("no units to drop" in caution for caution in advice["cautions"])


def test_facts_rest_on_groups_of_some_size(composed, table):
    frame = pd.read_csv(table)
    frame["race"] = ["a", "b"] * (len(frame) // 2)
    frame.loc[:1, "race"], frame.loc[:1, "label"] = "c", "yes"
    frame.to_csv(table, index=False)
    sensitive = "dataset.sensitive=[sex,race]"
    facts = data_facts(build_data(composed(sensitive)))
    rates = frame.groupby("race")["label"].agg(lambda label: (label == "yes").mean())
    assert facts.base_rate_gap["race"] == pytest.approx(abs(rates["a"] - rates["b"]))
    # Nobody's sex and race are both known.
    frame.loc[::2, "sex"] = None
    frame.loc[1::2, "race"] = None
    frame.to_csv(table, index=False)
    facts = data_facts(build_data(composed(sensitive)))
    assert (facts.smallest, facts.smallest_rows) == (None, 0)
    told = recommend(Situation("neural", "demographic_parity", facts=facts)).cautions
    assert any("no training row has all sensitive attributes known" in each for each in told)


class Terminal(StringIO):
    def isatty(self):
        return True


def test_questions_are_asked_in_a_terminal(monkeypatch, tmp_path):
    answers = ["trees", "individual", *[""] * 8]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    done = command("advise", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Recommended: regularised induction" in done.stdout
    assert "What limits the deployed model?" in done.stdout


@pytest.mark.parametrize(
    ("stdin", "arguments", "message"),
    [
        (Terminal(""), [], "the end of the conversation"),
        (StringIO(""), [], "no terminal to ask in"),
        (StringIO(""), ["--model", "neural"], "definition: found no answer"),
        (StringIO(""), ["dataset=adlt"], "Could not find 'dataset/adlt'"),
        (StringIO(""), ["--model", "forest"], "invalid choice: 'forest'"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(
    monkeypatch, tmp_path, stdin, arguments, message
):
    monkeypatch.setattr(sys, "stdin", stdin)
    done = command("advise", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_training_warns_once_of_a_poor_match_and_goes_on(table, tmp_path):
    run = ["train", *small_table(table), *TINY, "callbacks=none", "run_dir=run"]
    poor = command(*run, "model=linear", "method=adversarial", cwd=tmp_path)
    assert poor.returncode == 0, poor.stderr
    assert poor.stdout.count("adversarial with linear models: not recommended") == 1
    assert "model=linear method=constrained" in poor.stdout
    good = command(*run, "model=linear", "method=parity", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "not recommended" not in good.stdout


def test_thresholds_need_validation_rows(table, tmp_path):
    rows = "score,target,sex\n0.9,1,f\n0.2,0,m\n0.8,1,m\n0.1,0,f\n"
    (tmp_path / "predictions.csv").write_text(rows)
    done = command("evaluate", "predictions.csv", "--adjust-thresholds", "0.1", cwd=tmp_path)
    assert done.returncode == 2
    assert "split" in done.stderr
