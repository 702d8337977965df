"""The command line: each command is a module of this package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from fairlightning.exceptions import FairlightningError

COMMANDS = (
    "advise",
    "audit",
    "train",
    "front",
    "collect",
    "resume",
    "evaluate",
    "compare",
    "verify",
    "report",
)
"""Commands; each is `main` in a module of its name."""

DESCRIPTION = """\
Fairness-aware deep learning with PyTorch Lightning.

commands:
  advise     which technique for which model and data      fairlightning advise --help
  audit      what a data set holds, before any training    fairlightning audit --help
  train      train a network with fairness in its loss     fairlightning train --help
  front      many strengths of fairness in one training    fairlightning front --help
  collect    runs and fronts as one front                  fairlightning collect --help
  resume     go on with a run or a sweep that was killed   fairlightning resume --help
  evaluate   figures of anybody's predictions              fairlightning evaluate --help
  compare    what an intervention changed                  fairlightning compare --help
  verify     baseline, intervention and a verdict          fairlightning verify --help
  report     the report of a verification                  fairlightning report --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name.

    Args:
        argv: Arguments without the program's name; those of the process if None.

    Returns:
        Exit code: 0 for success, 2 where the input cannot be used.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="fairlightning",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="fairlightning COMMAND ...",
    )
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=_version())
    if not arguments:
        parser.print_help()
        return 0
    command = parser.parse_args(arguments[:1]).command
    try:
        # Imported here: each command pays for what it needs, and help comes at once.
        import_module(f"fairlightning.cli.{command}").main(arguments[1:])
    except FairlightningError as error:
        print(f"fairlightning {command}: {error}", file=sys.stderr)
        return 2
    return 0


def _version() -> str:
    from importlib.metadata import version

    return f"fairlightning {version('fairlightning')}"
