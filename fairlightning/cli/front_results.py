"""What `front` and `collect` leave behind: a front as file, table, pictures and page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import ArrayLike
from rich.console import Console
from rich.markup import escape

from fairlightning.metrics import readable
from fairlightning.report import front_table
from fairlightning.report.figures import front_figure
from fairlightning.report.pages import front_page
from fairlightning.verification import Front, write_front
from fairlightning.verification.front_file import CHOSEN_ON, REPORTED_ON, WINDOW_LOSS
from fairlightning.verification.front_rows import front_rows


def write_front_results(
    folder: Path,
    front: Front,
    *,
    series: Mapping[str, str] | None = None,
    attained: ArrayLike | None = None,
) -> None:
    """Write `front.html`, `front.png`, `front.svg` and, when all else is there, `front.json`.

    Args:
        folder: Where to.
        front: The front, whose criteria are estimable for every point.
        series: Name of the series of each point by its id, such as the seed.
        attained: See `front_figure`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limit = front.limit
    figure = front_figure(
        front_rows(front, series),
        f"{front.title}: chosen on validation, shown on test",
        attained=attained,
        limit=None if limit is None else limit.points,
    )
    for ending in ("png", "svg"):
        figure.savefig(folder / f"front.{ending}")
    part = folder / "front.part"
    write_front(part, front)
    page = front_page(part.read_text(encoding="utf-8"))
    (folder / "front.html").write_text(page, encoding="utf-8")
    part.replace(folder / "front.json")


def print_front(console: Console, front: Front) -> None:
    """Print the models, their figures on test, and the hypervolume of those that are chosen."""
    title = f"{front.title}: test, with intervals; ● not dominated on validation"
    console.print(front_table(front_rows(front), escape(title)))
    console.print(hypervolume_line(front), markup=False, highlight=False)


def hypervolume_line(front: Front) -> str:
    """Say how much of the window the chosen models dominate on test."""
    if front.baseline is None:
        return "Hypervolume: not given, since there is no plain model to measure it against."
    share = front.window_share(REPORTED_ON, chosen_on=CHOSEN_ON)
    others = ", ".join(readable(criterion.metric) for criterion in front.criteria[1:])
    performance = readable(front.criteria[0].metric)
    if share is None:
        return "Hypervolume: not given, since the plain model has no gap."
    corner = front.reference(REPORTED_ON)
    area = front.hypervolume(REPORTED_ON, chosen_on=CHOSEN_ON)
    edge = ", ".join(
        f"{readable(c.metric)} {1 - cost if c.maximised else cost:.3f}"
        for c, cost in zip(front.criteria, corner, strict=True)
    )
    return (
        f"Hypervolume on test, of the models chosen on validation: {area:.5f} up to {edge}; "
        f"{share:.3f} of the window (at most {100 * WINDOW_LOSS:g} points of {performance} below "
        f"the plain model, {others} no worse than the plain model's)."
    )


def shown_path(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    here = Path.cwd()
    path = path.resolve()
    return path.relative_to(here) if path.is_relative_to(here) else path
