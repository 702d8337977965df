"""`fairlightning advise`: which technique, why, what it costs, and the command that runs it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.prompt import FloatPrompt, Prompt

from fairlightning.advisor import (
    QUESTIONS,
    Advice,
    Advised,
    Situation,
    family_of,
    recommend,
    trade_offs,
)
from fairlightning.advisor.situation import NO_LIMIT
from fairlightning.cli.build import build_data, conf_dir
from fairlightning.cli.console import wide_console
from fairlightning.cli.facts import data_facts
from fairlightning.exceptions import ArgumentError

EPILOG = """\
examples:
  fairlightning advise                                          (asks, in a terminal)
  fairlightning advise --model neural --definition equal_opportunity --time-increase 1.5
  fairlightning advise dataset=adult model=mlp                  (looks at model and data itself)
  fairlightning advise dataset=adult model=linear --json advice.json

Arguments with = are those of `fairlightning train`; the recommended command keeps all but method,
criterion and run_dir.
"""


def main(arguments: Sequence[str]) -> None:
    """Print the recommendation for the answers that flags, a configuration or a person give."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    for argument in rest:
        if argument not in overrides:
            parser.error(f"unrecognized argument: {argument}")
    console = wide_console()
    answers = {name: value for name, value in vars(options).items() if value is not None}
    output = answers.pop("json", None)
    named = _named(overrides)
    facts = dropout = None
    if overrides:
        config = _composed(overrides)
        answers.setdefault("model", family_of(config.model._target_))
        answers.setdefault("definition", config.criterion)
        facts, dropout = data_facts(build_data(config)), _dropout(config)
    situation = Situation(**_asked(answers, console))
    advice = recommend(replace(situation, facts=facts), dropout=dropout, **named)
    print_advice(console, advice)
    if output is not None:
        text = json.dumps(advice.to_dict(), indent=2, allow_nan=False)
        output.write_text(text + "\n", encoding="utf-8")
        console.print(f"Written  {output}", markup=False, highlight=False)


def print_advice(console: Console, advice: Advice) -> None:
    """Print recommendation, alternatives, what was ruled out and what to watch."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False)

    situation, facts = advice.situation, advice.situation.facts
    told = [f"{name} {getattr(situation, name)}" for name in QUESTIONS]
    if situation.time_increase != NO_LIMIT:
        told.append(f"time increase {situation.time_increase:g}")
    say(f"Answers  {', '.join(told)}")
    if facts is not None:
        say(
            f"Data     {facts.rows:,} rows, {facts.positives:.1%} positive; smallest intersection "
            f"{facts.smallest or 'unknown'} with {facts.smallest_rows:,} training rows"
        )
    say(f"\nRecommended: {advice.recommendation.option.name}", "bold")
    _print_advised(console, advice.recommendation)
    for advised in advice.alternatives:
        say(f"\nAlternative: {advised.option.name}", "bold")
        _print_advised(console, advised)
    if advice.ruled_out:
        say("\nRuled out", "bold")
        for name, reasons in advice.ruled_out.items():
            say(f"  - {name}: {'; '.join(reasons)}")
    if advice.cautions:
        say("\nWatch", "bold")
        for caution in advice.cautions:
            say(f"  - {caution}")


def _print_advised(console: Console, advised: Advised) -> None:
    lines = [f"  - {reason}" for reason in advised.reasons]
    lines += [f"  {name}: {text}" for name, text in trade_offs(advised.option).items()]
    lines += [f"  measured: {m.text} ({m.command})" for m in advised.option.measured]
    for line in lines:
        console.print(line, markup=False, highlight=False)
    for command in advised.commands:
        # Whole lines, to be copied.
        console.print(f"    {command}", markup=False, highlight=False, soft_wrap=True, style="cyan")


def _asked(answers: dict[str, Any], console: Console) -> dict[str, Any]:
    """Fill in what was not told: by asking where nothing was, else by the defaults.

    Raises:
        ArgumentError: If a question without a default is open and nobody can be asked, or the
            person ends the conversation.
    """
    required = [name for name, question in QUESTIONS.items() if question.default is None]
    open_questions = [name for name in required if name not in answers]
    if not open_questions:
        return answers
    if not sys.stdin.isatty():
        flags = " ".join(f"--{name} {{{','.join(QUESTIONS[name].choices)}}}" for name in required)
        raise ArgumentError.of(
            ", ".join(open_questions),
            found="no answer, and no terminal to ask in",
            expected="flags or a configuration",
            mend=f"pass {flags}, or for example dataset=adult model=mlp",
        )
    try:
        return answers | {
            name: _ask(name, console)
            for name in [*QUESTIONS, "time_increase"]
            if name not in answers
        }
    except (EOFError, KeyboardInterrupt) as error:
        console.print()
        raise ArgumentError.of(
            "answers",
            found="the end of the conversation",
            expected="an answer to every question",
            mend="start again, or pass flags: fairlightning advise --help",
        ) from error


def _ask(name: str, console: Console) -> Any:
    if name == "time_increase":
        text = "At most how many times the training time of the plain model? (inf: no limit)"
        return FloatPrompt.ask(text, console=console, default=NO_LIMIT)
    question = QUESTIONS[name]
    console.print(f"\n[bold]{question.text}[/]")
    for choice, meaning in question.choices.items():
        console.print(f"  {choice}: {meaning}", markup=False, highlight=False)
    default = question.default or next(iter(question.choices))
    choices = list(question.choices)
    return Prompt.ask(
        "Answer", console=console, choices=choices, default=default, show_choices=False
    )


def _composed(overrides: list[str]) -> DictConfig:
    """The configuration of `fairlightning train` with these overrides."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("train", overrides=["run_dir=.", *overrides])
    except HydraException as error:
        raise ArgumentError.of(
            "configuration",
            found=" ".join(overrides),
            expected="arguments of `fairlightning train`",
            mend=f"{str(error).splitlines()[0]}; see fairlightning train --help",
        ) from error


def _named(overrides: list[str]) -> dict[str, str]:
    """Arguments of model, and of data set and all else that stays, as `recommend` takes them."""
    parts: dict[str, list[str]] = {}
    for override in overrides:
        group = re.split("[=.@]", override.lstrip("+"))[0]
        if group not in ("method", "criterion", "run_dir"):
            parts.setdefault("model" if group == "model" else "dataset", []).append(override)
    return {name: shlex.join(words) for name, words in parts.items()}


def _dropout(config: DictConfig) -> str | None:
    """Name of the share of units that a model drops; None where it drops none."""
    places = ("model.dropout", "model.network.dropout")
    return next((p for p in places if OmegaConf.select(config, p) is not None), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning advise",
        description="Which technique, why, what it costs, and the command that runs it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="fairlightning advise [dataset=... model=...] [--QUESTION ANSWER ...]",
    )
    for name, question in QUESTIONS.items():
        default = f" (default: {question.default})" if question.default else ""
        parser.add_argument(
            f"--{name}", choices=list(question.choices), help=f"{question.text}{default}"
        )
    parser.add_argument(
        "--time-increase",
        type=float,
        help="longest acceptable training step, in times of the plain model's (default: no limit)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the advice to a file")
    return parser
