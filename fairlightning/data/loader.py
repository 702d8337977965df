"""Whole batches out of memory: shuffled reproducibly, sharded over ranks, resumable mid-epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from fairlightning.data.batch import Batch
from fairlightning.data.sampling import Sampling
from fairlightning.exceptions import DataError


class BatchLoader:
    """Iterates over a `Batch` in memory, a batch of rows at a time.

    The order of a shuffled epoch follows from `(seed, epoch)` alone; the global random state is
    neither read nor changed. Every iteration is the next epoch, unless `set_epoch` names one; the
    Trainer names it. After `load_state_dict` the next iteration goes on where the saved one stood.

    Under `torch.distributed` every rank takes its own part of each global batch, so the Trainer
    adds no sampler; all ranks of the default process group count as data-parallel. The group is
    read when the length or a batch is asked for.

    * `drop_last=True` (training): a global batch has `batch_size` rows per rank and the rest that
      fills none is left out of this epoch. If all rows together do not fill one global batch,
      they are the only one, and at most `world_size − 1` rows are left out.
    * `drop_last=False` (evaluation): every row comes exactly once, in batches of nearly the same
      size. All ranks have the same number of batches and none is empty, so that collectives in
      validation meet. Only `batch_size=1` on several ranks may be exceeded, by one row.

    Args:
        data: All rows.
        batch_size: Rows per batch and rank, at least 1.
        shuffle: Draw a new order every epoch.
        drop_last: Leave out the rows that do not fill a global batch.
        seed: Seed of the order, at least 0.
        sampling: Which rows a shuffled epoch is made of; each of them once if None.

    Raises:
        DataError: If there are no rows, fewer rows than ranks, or `batch_size` or `seed` is out of
            range; on loading a state, if it was saved in the middle of an epoch that this loader
            would have split differently.

    >>> ids = torch.arange(5)
    >>> inputs = ids[:, None].float(), ids[:, None]
    >>> data = Batch(inputs, ids % 2, ids[:, None] % 2, torch.ones(5), ids)
    >>> [batch.index.tolist() for batch in BatchLoader(data, 2)]
    [[0], [1, 2], [3, 4]]
    >>> len(BatchLoader(data, 2, shuffle=True, drop_last=True))
    2
    """

    def __init__(
        self,
        data: Batch,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> None:
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.sampling = sampling
        self._epoch = 0
        self._position = 0
        # Whether the next iteration is that of `_epoch` from `_position` on, or of a new epoch.
        self._pending = True

    @property
    def sampler(self) -> BatchLoader:
        """Where the Trainer looks for `set_epoch`; a loader that does not shuffle has none."""
        if not self.shuffle:
            raise AttributeError("a loader that does not shuffle has no sampler")
        return self

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`: from its start, or from a loaded position."""
        if not self._pending or epoch != self._epoch:
            self._epoch, self._position, self._pending = epoch, 0, True

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of its batches handed out, with what they depend on, as plain values."""
        return {"epoch": self._epoch, "position": self._position, **self._layout()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state: with the next batch, or after a finished epoch with the next one."""
        layout = self._layout()
        changed = {name: now for name, now in layout.items() if state_dict[name] != now}
        saved = {name: state_dict[name] for name in changed}
        finished = state_dict["position"] >= state_dict["length"]
        if changed and state_dict["position"] > 0 and not finished:
            raise DataError.of(
                "ckpt_path",
                found=f"a checkpoint from the middle of an epoch with {saved}",
                expected=f"{changed}, as the loader has it now",
                mend="resume with the earlier values, or from a checkpoint at an epoch's end",
            )
        self._epoch = state_dict["epoch"]
        self._position = layout["length"] if finished else state_dict["position"]
        self._pending = True

    def __len__(self) -> int:
        return self._split(rank_and_world()[1])[0]

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing happens before the first batch is asked for, as Lightning also
        # calls iter() merely to see whether it can.
        rank, world = rank_and_world()
        steps, rows = self._split(world)
        if not self._pending or self._position >= steps:
            self._epoch, self._position = self._epoch + 1, 0
        self._pending = False
        if self.sampling is not None:
            self.sampling.begin(self._epoch)
        order = self._order()
        chunks = steps * world
        for step in range(self._position, steps):
            chunk = step * world + rank
            part = slice(chunk * rows // chunks, (chunk + 1) * rows // chunks)
            self._position = step + 1
            yield self.data.take(part if order is None else order[part])

    def _split(self, world: int) -> tuple[int, int]:
        """Number of batches per rank, and number of rows that all of them cover."""
        rows = len(self.data.index)
        if rows < world:
            raise DataError.of(
                "data",
                found=f"{rows} rows for {world} ranks",
                expected="at least one row per rank",
                mend="use fewer devices or a larger split",
            )
        if self.drop_last:
            size = min(self.batch_size, rows // world) * world
            return rows // size, rows // size * size
        return min(ceil(rows / (self.batch_size * world)), rows // world), rows

    def _layout(self) -> dict[str, int]:
        """What has to agree for a position in an epoch to mean the same rows."""
        world = rank_and_world()[1]
        return {
            "length": self._split(world)[0],
            "rows": len(self.data.index),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "world_size": world,
        }

    def _order(self) -> Tensor | None:
        if not self.shuffle:
            return None
        # Mixed, not added: seed 0 in epoch 1 must not repeat seed 1 in epoch 0.
        (mixed,) = np.random.SeedSequence((self.seed, self._epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed))
        if self.sampling is not None:
            return self.sampling.order(self.data, generator)
        index = self.data.index
        return torch.randperm(len(index), generator=generator).to(index.device)


def rank_and_world() -> tuple[int, int]:
    """Rank and number of ranks of the default process group; (0, 1) without one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def check_at_least(argument: str, value: int, least: int) -> None:
    """Raise `DataError` unless `value` is an integer ≥ `least`."""
    if not isinstance(value, int) or value < least:
        raise DataError.of(
            argument,
            found=repr(value),
            expected=f"an integer of at least {least}",
            mend=f"pass {argument}={least} or more",
        )
