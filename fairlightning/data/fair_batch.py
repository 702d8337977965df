"""FairBatch: the shares of groups in a batch follow the losses of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fairlightning.data.sampling import Sampling
from fairlightning.exceptions import DataError, check_choice
from fairlightning.functional.parity import CRITERIA, Criterion
from fairlightning.groups import GroupSpec


class FairBatch(Sampling):
    """After each epoch, the group that is worst off gets a larger share of the next one's batches.

    Within a label the shares of the groups move by `step` from the group with the smallest to the
    one with the largest loss (Roh, Lee, Whang & Suh, "FairBatch", ICLR 2021; with two groups this
    is their signed step). Losses are cross-entropies over the rows of the epoch that ends; the
    callback `AdaptiveSampling` hands them over. Labels keep their shares, and a group at least a
    tenth of the share that it has in the data.

    * `equal_opportunity`: label 1 alone moves.
    * `equalized_odds`: the label moves whose losses lie farther apart.
    * `demographic_parity`: the group with the lowest selection rate, by mean scores, gets a larger
      share of label 1 and a smaller one of label 0, against the group with the highest; groups
      without a row of a label take no part in it. The paper makes the parts that each label has in
      the rate equal instead, which is more than is needed.

    Args:
        groups: The sensitive attributes.
        attributes: Those whose intersections are the groups; all if None.
        criterion: What is to become equal.
        step: How much a share moves after an epoch, in (0, 1].

    Raises:
        ArgumentError: On an unknown criterion.
        DataError: If the step is out of range.
    """

    def __init__(
        self,
        groups: GroupSpec,
        attributes: Sequence[str] | None = None,
        criterion: Criterion = "demographic_parity",
        step: float = 0.02,
    ) -> None:
        super().__init__(groups, attributes)
        check_choice("criterion", criterion, CRITERIA)
        if not 0 < step <= 1:
            raise DataError.of("step", found=step, expected="in (0, 1]", mend="pass step=0.02")
        self.criterion: Criterion = criterion
        self.step = step
        self.reset()

    def reset(self) -> None:
        """Begin anew, with the shares that groups have in the data."""
        self._epoch = 0
        self._moved = torch.zeros(2, self.num_groups, dtype=torch.float64)
        self._sums = torch.zeros(3, 2, self.num_groups + 1, dtype=torch.float64)
        self._rows = torch.zeros(2, self.num_groups + 1, dtype=torch.float64)

    def shares(self, rows: Tensor) -> Tensor:
        """Shares as they stand: those of the data, and what moved since."""
        self._rows = rows
        known = rows[:, :-1]
        label = known.sum(1, keepdim=True)
        return torch.cat([self.within_labels() * label, rows[:, -1:]], 1)

    def within_labels(self) -> Tensor:
        """Share `(2, G)` of each group in the rows of a label, in the epoch that runs."""
        return self._own() + self._moved

    def _own(self) -> Tensor:
        """Share `(2, G)` of each group in the rows of a label, in the data."""
        known = self._rows[:, :-1]
        return known / known.sum(1, keepdim=True).clamp_min(1)

    def sums(self, logits: Tensor, target: Tensor, sensitive: Tensor) -> Tensor:
        """Sums `(3, 2, G + 1)` of a batch: rows, losses and scores.

        Args:
            logits: `(N, 1)`.
            target: `(N,)` labels.
            sensitive: `(N, A)` codes.
        """
        score = logits.detach().squeeze(-1).double()
        cell = self.cells(target, sensitive)
        losses = torch.where(target == 1, softplus(-score), softplus(score))
        return torch.stack(
            [self.table(cell, x) for x in (torch.ones_like(score), losses, score.sigmoid())]
        )

    def observe(self, sums: Tensor) -> None:
        """Take in a batch, added over ranks."""
        self._sums = self._sums + sums.cpu()  # not in place: forked ranks may share memory

    def begin(self, epoch: int) -> None:
        """Move the shares, where another epoch begins than the one that was observed."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        rows, losses, scores = self._sums[..., :-1]
        self._sums = torch.zeros_like(self._sums)
        known = self._rows[:, :-1]
        seen = rows > 0
        if not (seen | (known == 0)).all():
            return  # the epoch ended before every cell was met
        if self.criterion == "demographic_parity":
            rate = (scores / rows.clamp_min(1) * known).sum(0) / known.sum(0).clamp_min(1)
            # Only groups with rows of a label can hand them over; with one alone nothing moves.
            low, high = _ends(rate, known[1] > 0)
            self._move(1, low, high)
            low, high = _ends(rate, known[0] > 0)
            self._move(0, high, low)
            return
        loss = losses / rows.clamp_min(1)
        ends = [_ends(loss[label], seen[label]) for label in (0, 1)]
        apart = [
            float(loss[label, high] - loss[label, low]) for label, (low, high) in enumerate(ends)
        ]
        label = 1 if self.criterion == "equal_opportunity" or apart[1] > apart[0] else 0
        low, high = ends[label]
        self._move(label, high, low)

    def _move(self, label: int, gains: int, gives: int) -> None:
        least = (
            self._own()[label, gives] / 10
        )  # a group that never came would never be seen to mend
        step = min(self.step, max(0.0, float(self.within_labels()[label, gives] - least)))
        self._moved[label, gains] += step
        self._moved[label, gives] -= step

    def state_dict(self) -> dict[str, Any]:
        """Epoch, what has moved, and what was observed of the epoch that runs, as plain values."""
        tables = {"moved": self._moved, "sums": self._sums, "rows": self._rows}
        return {"epoch": self._epoch, **{name: x.tolist() for name, x in tables.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._epoch = state_dict["epoch"]
        self._moved, self._sums, self._rows = (
            torch.tensor(state_dict[name], dtype=torch.float64)
            for name in ("moved", "sums", "rows")
        )


def _ends(values: Tensor, seen: Tensor) -> tuple[int, int]:
    """Positions of the lowest and the highest of the values seen."""
    low = torch.where(seen, values, torch.inf).argmin()
    return int(low), int(torch.where(seen, values, -torch.inf).argmax())
