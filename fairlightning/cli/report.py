"""`fairlightning report`: the report of a verification, made again from its files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from fairlightning.cli.console import wide_console
from fairlightning.verification.reporting import write_report
from fairlightning.verification.reporting.inputs import ADVICE, AUDIT, CARD, DECISION

EPILOG = f"""\
example:
  fairlightning report verifications/adult

Beside verification.json it reads, where they are there: {AUDIT} (in the folder or in audit/),
{ADVICE}, front/front.json, {DECISION}, and {CARD} with what people have to say in the model card.
What is missing is named in the report.
"""


def main(arguments: Sequence[str]) -> None:
    """Write the report into the folder of the verification."""
    options = _parser().parse_args(arguments)
    paths = write_report(options.folder)
    names = ", ".join(path.name for path in paths)
    console = wide_console()
    console.print(f"[bold]Results[/]  {escape(str(options.folder))}: {names}", soft_wrap=True)
    console.print(f"[bold]Read[/]     open {escape(str(paths[0]))} in a browser", soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning report",
        description="Write report.html, report.md, report.json and model_card.md of a "
        "verification.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder that `fairlightning verify` wrote")
    return parser
