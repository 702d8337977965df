"""Similar rows fare alike: the Lipschitz condition as a penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.columns import Columns
from fairlightning.functional.similarity import (
    comparable,
    near_rows,
    row_distance,
    total_variation,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.rows import RowPenalty


class SimilarityPenalty(RowPenalty):
    """Penalise pairs of rows that fare more unlike than they are.

    Dwork, Hardt, Pitassi, Reingold and Zemel, "Fairness through awareness" (ITCS 2012,
    arXiv:1104.3913), ask for D(f(x), f(x')) ≤ L·d(x, x'), where D is the total variation distance
    of the decisions. The value is the mean excess max(0, D − L·d) over pairs of rows of a batch.
    The distance d is the root mean square over the columns (`functional.similarity.row_distance`)
    and, once `prepare` knows the columns, never sees the sensitive attributes, even where the
    network does; what else it should not see (proxies) is for you to say, and whether the rest is
    what makes people alike.

    Pairs are formed within the (shuffled) batch of a rank: each row with the nearest of those that
    follow it, in time O(N·candidates), so that the value does not depend on the size of the batch,
    if that is above `candidates`; in smaller ones the nearest are further away.

    Args:
        groups: The sensitive attributes.
        lipschitz: L ≥ 0, change of the score that a distance of 1 allows; 0 asks for the
            same score for everybody.
        neighbors: Number ≥ 1 of pairs for each row.
        candidates: Number of rows of which these are the nearest; equal to `neighbors`, pairs are
            random, and most of them too unlike to say anything.
        ignore: Further columns that the distance does not see.
        features: Makes `(numeric, categorical)`, or one tensor `(N, P)`, of inputs of any other
            form; on tables no columns are left out then.
        weight: Share in λ.

    Raises:
        ArgumentError: On values out of range, unknown columns, or inputs of another form.
        SetupError: In `sums`, if columns to ignore are not known by name.

    Shapes: logits `(..., N, C)`; the value is `(...)` in [0, 1]. With row weights a pair counts by
    that of its first row.

    >>> groups = GroupSpec({"sex": ["Female", "Male"]})
    >>> rows = (torch.tensor([[0.0], [1.0]]), torch.zeros(2, 0).long())
    >>> SimilarityPenalty(groups, lipschitz=0.1)(Step(torch.tensor([[0.0], [9.0]]), inputs=rows))
    Term(value=tensor(0.3999), own=None, support={'pairs': tensor(2.)}, strict=None)
    """

    requires = ("logits", "inputs")
    additive = False  # pairs lie within a batch
    parts = ("pairs",)
    kept: Tensor | None

    def __init__(
        self,
        groups: GroupSpec,
        *,
        lipschitz: float = 0.1,
        neighbors: int = 4,
        candidates: int = 64,
        ignore: Sequence[str] = (),
        features: Callable[[Any], Any] | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight)
        if not lipschitz >= 0 or not 1 <= neighbors <= candidates:
            raise ArgumentError.of(
                "lipschitz, neighbors, candidates",
                found=f"{lipschitz}, {neighbors}, {candidates}",
                expected="at least 0, and 1 ≤ neighbors ≤ candidates",
                mend="pass lipschitz=0.1, neighbors=4, candidates=64",
            )
        self.lipschitz, self.neighbors, self.candidates = lipschitz, neighbors, candidates
        self.ignore = tuple(ignore)
        self.features = features
        self.register_buffer("kept", None, persistent=False)

    def prepare(self, train: Step, columns: Columns | None = None) -> None:
        """Find the columns by which rows are compared."""
        if columns is None or self.features is not None:
            return
        for name in self.ignore:
            check_choice("ignore", name, columns.names)
        self.kept = columns.kept({*self.groups.names, *self.ignore})

    def rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Excess `(..., N, 1)` of each row over its pairs, and that all count."""
        assert step.logits is not None
        if self.ignore and self.kept is None:
            raise SetupError.of(
                "ignore",
                found=f"{', '.join(self.ignore)}, and no columns of that name",
                expected="prepare() with the columns of a table, and no features=",
                mend="call objective.prepare(Step(), columns), or let features leave them out",
            )
        logits = step.logits
        rows = comparable(step.inputs if self.features is None else self.features(step.inputs))
        pairs = logits.shape[-2] > 1
        excess = [0.0 * total_variation(logits, logits)] if not pairs else []
        for partner in near_rows(rows, self.neighbors, self.candidates, self.kept).unbind(1):
            unlike = total_variation(logits, logits.index_select(-2, partner))
            allowed = self.lipschitz * row_distance(rows, rows.take(partner), self.kept)
            excess.append((unlike - allowed.to(unlike)).clamp_min(0))
        counts = torch.full((logits.shape[-2], 1), pairs, device=logits.device)
        return torch.stack(excess).mean(0).unsqueeze(-1), counts
