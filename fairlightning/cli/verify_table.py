"""What `fairlightning verify` prints at its end."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from fairlightning.verification import Verification
from fairlightning.verification.results import Estimate, Finding

COLORS = {"met": "green", "not met": "bold red", "not enough evidence": "yellow"}


def criteria_table(found: Verification) -> Table:
    """Success criteria with their findings; of groups those alone that are not met."""
    table = Table(
        box=box.SIMPLE, title=Text(f"{found.title}: {found.verdict}"), title_justify="left"
    )
    for column in ("Criterion", "About", "Baseline", "Method", "Measured", "Rows", "Verdict"):
        left = column in ("Criterion", "About", "Verdict")
        table.add_column(column, justify="left" if left else "right", no_wrap=column == "Verdict")
    for criterion in found.criteria:
        shown = criterion.findings
        if criterion.name == "stability":
            shown = tuple(f for f in shown if f.verdict not in ("met", None))
        table.add_row(criterion.name, criterion.figure, "", "", "", "", _colored(criterion.verdict))
        for finding in shown:
            table.add_row("", Text(finding.about), *_cells(finding))
    checked = found.checklist
    ticked = sum(item.ticked for item in checked.items)
    outcome = "passed" if checked.passed else "not passed"
    table.add_row("checklist", f"{ticked} of {len(checked.items)} items", "", "", "", "", outcome)
    return table


def _cells(finding: Finding) -> list[str]:
    verdict = "" if finding.verdict is None else _colored(finding.verdict)
    models = [_number(finding.baseline), _number(finding.intervention)]
    return [*models, _interval(finding.estimate), f"{finding.support:,}", verdict]


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    return f"{estimate.value:.3f} ({_number(estimate.low)} to {_number(estimate.high)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _colored(verdict: str) -> str:
    return f"[{COLORS[verdict]}]{verdict}[/]"
