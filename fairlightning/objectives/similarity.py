"""Similar rows fare alike: the Lipschitz condition as a penalty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.columns import Columns
from fairlightning.functional.similarity import (
    comparable,
    nearest_rows,
    row_distance,
    total_variation,
)
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.rows import RowPenalty

Pairs = Literal["random", "nearest"]
PAIRS: tuple[Pairs, ...] = ("random", "nearest")
MOST_ROWS = 16384


class SimilarityPenalty(RowPenalty):
    """Penalise pairs of rows that fare more unlike than they are.

    Dwork, Hardt, Pitassi, Reingold and Zemel, "Fairness through awareness" (ITCS 2012,
    arXiv:1104.3913), ask for D(f(x), f(x')) ≤ L·d(x, x'), where D is the total variation distance
    of the decisions. The value is the mean excess max(0, D − L·d) over pairs of rows of a batch.
    The distance d is the root mean square over the columns (`functional.similarity.row_distance`)
    and never sees the sensitive attributes, even where the network does; what else it should not
    see (proxies) is for you to say, and whether the rest is what makes people alike.

    Pairs are formed within the batch of a rank: with those that follow in the (shuffled) batch, in
    time O(N·pairs), or with the nearest rows, in O(N²).

    Args:
        groups: The sensitive attributes.
        lipschitz: L ≥ 0, change of the score that a distance of 1 allows; 0 asks for the
            same score for everybody.
        pairs: `random` or `nearest`.
        neighbors: Number ≥ 1 of pairs for each row.
        ignore: Further columns that the distance does not see.
        features: Makes `(numeric, categorical)`, or one tensor `(N, P)`, of inputs of any other
            form; on tables no columns are left out then.
        weight: Share in λ.

    Raises:
        ArgumentError: On values out of range or unknown names; with `nearest`, on more rows at once
            than can be compared.

    Shapes: logits `(..., N, C)`; the value is `(...)` in [0, 1]. With row weights a pair counts by
    that of its first row.

    >>> groups = GroupSpec({"sex": ["Female", "Male"]})
    >>> rows = (torch.tensor([[0.0], [1.0]]), torch.zeros(2, 0).long())
    >>> SimilarityPenalty(groups, lipschitz=0.1)(Step(torch.tensor([[0.0], [9.0]]), inputs=rows))
    Term(value=tensor(0.3999), own=None, support={'pairs': tensor(2.)}, strict=None)
    """

    requires = ("logits", "inputs")
    parts = ("pairs",)
    kept: Tensor | None

    def __init__(
        self,
        groups: GroupSpec,
        *,
        lipschitz: float = 0.1,
        pairs: Pairs = "random",
        neighbors: int = 4,
        ignore: Sequence[str] = (),
        features: Callable[[Any], Any] | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight)
        check_choice("pairs", pairs, PAIRS)
        if not lipschitz >= 0 or neighbors < 1:
            raise ArgumentError.of(
                "lipschitz, neighbors",
                found=f"{lipschitz}, {neighbors}",
                expected="at least 0, and at least 1",
                mend="pass lipschitz=0.1, neighbors=4",
            )
        self.lipschitz, self.pairs, self.neighbors = lipschitz, pairs, neighbors
        self.additive = pairs == "random"  # nearest rows are nearer where there are more
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
        logits = step.logits
        rows = comparable(step.inputs if self.features is None else self.features(step.inputs))
        pairs = logits.shape[-2] > 1
        excess = [0.0 * total_variation(logits, logits)] if not pairs else []
        for partner in self._partners(rows):
            unlike = total_variation(logits, logits.index_select(-2, partner))
            allowed = self.lipschitz * row_distance(rows, rows.take(partner), self.kept)
            excess.append((unlike - allowed.to(unlike)).clamp_min(0))
        counts = torch.full((logits.shape[-2], 1), pairs, device=logits.device)
        return torch.stack(excess).mean(0).unsqueeze(-1), counts

    def _partners(self, rows: Any) -> Iterator[Tensor]:
        """Position of a partner of every row, `(N,)`, one after another."""
        count = len(rows.numeric)
        if self.pairs == "random":
            position = torch.arange(count, device=rows.numeric.device)
            for shift in range(1, min(self.neighbors, count - 1) + 1):
                yield position.roll(shift)
            return
        if count > MOST_ROWS:
            raise ArgumentError.of(
                "pairs",
                found=f"'nearest' among {count:,} rows at once",
                expected=f"at most {MOST_ROWS:,}: each is compared with each",
                mend="pass pairs='random', or smaller batches",
            )
        yield from nearest_rows(rows, self.neighbors, self.kept).unbind(1)
