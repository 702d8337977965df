"""The models of a front as tables and pictures show them."""

from __future__ import annotations

from collections.abc import Mapping

from fairlightning.report import FrontRow
from fairlightning.verification.front_file import CHOSEN_ON, REPORTED_ON, Front


def front_rows(front: Front, series: Mapping[str, str] | None = None) -> list[FrontRow]:
    """The points as tables and pictures show them: chosen on validation, with figures of test.

    Args:
        front: The front, whose criteria are estimable for every point.
        series: Name of the series of each point by its id, such as the seed.
    """
    return [
        FrontRow(
            point.id,
            point.settings,
            [point.record(criterion, REPORTED_ON) for criterion in front.criteria],
            bool(chosen),
            point.id == front.baseline_id,
            (series or {}).get(point.id, ""),
        )
        for point, chosen in zip(front.points, front.on_front(CHOSEN_ON), strict=True)
    ]
