"""Any torchmetrics metric, group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec
from fairlightning.metrics.group_values import GroupValues, computed_values

T = TypeVar("T")


class PerGroup(Metric):
    """Value of a torchmetrics metric in every group, the gap, and the group that fares worst.

    It keeps a copy of the metric for every group of every partition; slots are fixed, and nothing
    is computed for an absent group. The rows of a batch are sorted by group once for each partition
    and handed to the copies in slices. Under distributed training `compute` gathers the states of
    all copies in one exchange, so that every process must call it; a process without rows of a
    group, or without any, sends nothing for it.

    Many metrics return a number where none is defined, which cannot be told from here:
    torchmetrics' `BinaryAUROC` gives 0 for rows of a single class. Where one raises a `ValueError`
    in place of a number, as `R2Score` does for a single row, the group is not estimable, and a
    `FairnessWarning` names it.

    Args:
        metric: The metric, which serves as a pattern and stays untouched, or a function that makes
            it. Its `update` takes tensors whose first axis are the rows; its `compute` returns one
            tensor whose shape does not depend on the rows.
        groups: Sensitive attributes and their categories.
        partitions: Attributes or intersections to look at; `GroupSpec.partitions` if not given.
        higher_is_better: Whether the group with the lowest value fares worst; taken from the metric
            if not given.
        process_group: Processes that share the rows; all by default.
        sync_on_compute: Whether `compute` takes in the rows of all processes.

    Raises:
        ArgumentError: If the groups or a partition cannot be used, or the metric is a collection or
            is made of other metrics.

    >>> from torchmetrics.classification import BinaryAccuracy
    >>> metric = PerGroup(BinaryAccuracy(), {"sex": ["Female", "Male", "Other"]})
    >>> sensitive = torch.tensor([[0], [0], [1]])
    >>> metric.update(torch.tensor([1, 0, 1]), torch.tensor([1, 1, 1]), sensitive=sensitive)
    >>> sex = metric.compute()["sex"]
    >>> sex.by_name["sex=Female"], sex.by_name["sex=Other"], sex.difference.value
    (tensor(0.5000, dtype=torch.float64), None, tensor(0.5000, dtype=torch.float64))
    """

    full_state_update = False
    is_differentiable = False

    def __init__(
        self,
        metric: Metric | Callable[[], Metric],
        groups: GroupSpec | Mapping[str, Iterable[object]],
        *,
        partitions: Sequence[Sequence[str]] | None = None,
        higher_is_better: bool | None = None,
        process_group: Any = None,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(process_group=process_group, sync_on_compute=sync_on_compute)
        self.groups = GroupSpec.of(groups)
        self.partitions = tuple(map(tuple, partitions or self.groups.partitions))
        self.pattern: Metric = _pattern(metric)
        given = higher_is_better is not None
        self.worst_is_lowest = higher_is_better if given else self.pattern.higher_is_better
        sizes = [self.groups.num_groups(partition) for partition in self.partitions]
        self.copies = nn.ModuleList(self.pattern.clone() for _ in range(sum(sizes)))
        # Rows of unknown group before those of the groups of each partition. In plain numbers: a
        # MetricCollection takes two metrics with equal states of their own for one and the same.
        self.rows = [[0] * (1 + size) for size in sizes]

    def update(self, *columns: Any, sensitive: Tensor, **named: Any) -> None:
        """Hand the rows of a batch to the metrics of their groups.

        Args:
            *columns: What the metric takes, such as predictions and target: tensors with one row
                for each row of `sensitive`, or plain numbers and flags, which all groups get alike.
            sensitive: `(N, A)` int64 codes, `-1` for unknown.
            **named: The same, by name.

        Raises:
            ArgumentError: If a shape or a code cannot be used, or an argument is neither a tensor
                nor plain.
        """
        sensitive = self.groups.check(sensitive)
        for name, column in (*enumerate(columns), *named.items()):
            _check_column(name, column, len(sensitive))
        for which, (partition, copies) in enumerate(self._by_partition(self._metrics)):
            group = self.groups.group_ids(sensitive, partition)
            order = group.argsort(stable=True)
            sizes = torch.bincount(group + 1, minlength=len(self.rows[which])).tolist()
            slices = [_slices(column, order, sizes) for column in columns]
            named_slices = {name: _slices(column, order, sizes) for name, column in named.items()}
            for slot in (slot for slot, size in enumerate(sizes) if slot and size):
                copies[slot - 1].update(
                    *(column[slot] for column in slices),
                    **{name: column[slot] for name, column in named_slices.items()},
                )
            self.rows[which] = _added([self.rows[which], sizes])

    def compute(self) -> dict[str, GroupValues]:
        """Return the values of all rows so far, over all processes, by partition.

        Partitions are named like `"sex"` or `"sex & race"`.

        Raises:
            ArgumentError: If the metric does not return a tensor of one shape in all groups.
            ValueError: That of the metric, if it raises one in every group that has rows.
        """
        copies, rows = self._gathered() if self._is_synced else (self._metrics, self.rows)
        names = [name for part in self.partitions for name in self.groups.group_names(part)]
        sizes = [size for counted in rows for size in counted[1:]]
        computed = computed_values(copies, sizes, names)
        return {
            " & ".join(partition): self._values(partition, mine, counted)
            for (partition, mine), counted in zip(self._by_partition(computed), rows, strict=True)
        }

    def forward(self, *columns: Any, sensitive: Tensor, **named: Any) -> dict[str, GroupValues]:
        """Take in the rows of a batch, and return the values of this batch and process alone."""
        self.update(*columns, sensitive=sensitive, **named)
        batch = PerGroup(
            self.pattern,
            self.groups,
            partitions=self.partitions,
            higher_is_better=self.worst_is_lowest,
            sync_on_compute=False,
        )
        batch.update(*columns, sensitive=sensitive, **named)
        return batch.compute()

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        for copy in self._metrics:
            copy.reset()
        self.rows = [[0] * len(sizes) for sizes in self.rows]

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take in the rows of another `PerGroup` of the same groups and metric.

        Raises:
            ArgumentError: If it is another, or if its metric cannot be merged.
        """
        other = incoming_state
        if (
            not isinstance(other, PerGroup)
            or (other.groups, other.partitions) != (self.groups, self.partitions)
            or type(other.pattern) is not type(self.pattern)
            or self.pattern.full_state_update is not False
        ):
            raise ArgumentError.of(
                "incoming_state",
                found=f"a {type(other).__name__}, to be merged into a PerGroup of "
                f"{type(self.pattern).__name__}",
                expected="a PerGroup of the same groups, partitions and metric, whose "
                "full_state_update is False",
                mend="build both alike, or update one with all rows",
            )
        flat = [size for sizes in self.rows for size in sizes[1:]]
        theirs = [size for sizes in other.rows for size in sizes[1:]]
        pairs = zip(self._metrics, flat, other._metrics, theirs, strict=True)
        for slot, (mine, old, new, rows) in enumerate(pairs):
            if old and rows:
                mine.merge_state(new)
                mine._computed = None
            elif rows:
                self.copies[slot] = new.clone().to(self.device)
        self.rows = [_added(pair) for pair in zip(self.rows, other.rows, strict=True)]
        self._update_count += other._update_count
        self._computed = None

    def persistent(self, mode: bool = False) -> None:
        """Whether states and numbers of rows are part of the `state_dict`."""
        super().persistent(mode)
        for copy in self._metrics:
            copy.persistent(mode)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if any(self._metrics[0]._persistent.values()):
            destination[prefix + "rows"] = torch.tensor([n for sizes in self.rows for n in sizes])

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *options: Any, **named: Any
    ) -> None:
        saved = state_dict.pop(prefix + "rows", None)
        if saved is not None:
            parts = saved.split([len(sizes) for sizes in self.rows])
            self.rows = [part.tolist() for part in parts]
        super()._load_from_state_dict(state_dict, prefix, *options, **named)

    @property
    def _metrics(self) -> list[Metric]:
        return cast(list[Metric], list(self.copies))

    def _by_partition(self, slots: list[T]) -> Iterator[tuple[tuple[str, ...], list[T]]]:
        first = 0
        for partition in self.partitions:
            size = self.groups.num_groups(partition)
            yield partition, slots[first : first + size]
            first += size

    def _values(
        self, partition: tuple[str, ...], computed: list[Any], counted: list[int]
    ) -> GroupValues:
        unknown, *sizes = counted
        rows = torch.tensor(sizes, device=self.device)
        names = tuple(self.groups.group_names(partition))
        return GroupValues.of(computed, rows, names, unknown, self.worst_is_lowest)

    def _gathered(self) -> tuple[list[Metric], list[list[int]]]:
        """Copies that hold the rows of all processes, and the numbers of these rows.

        States travel as objects, in one exchange: types and shapes of what a process without rows
        would have to send in place of a tensor cannot be known to it.
        """
        sizes = [size for counted in self.rows for size in counted[1:]]
        pairs = zip(self._metrics, sizes, strict=True)
        states = [_state(copy) if size else None for copy, size in pairs]
        parts: list[Any] = [None] * dist.get_world_size(self.process_group)
        dist.all_gather_object(parts, (self.rows, states), group=self.process_group)
        rows = [_added(which) for which in zip(*(part[0] for part in parts), strict=True)]
        slots = zip(*(part[1] for part in parts), strict=True)
        return [self._joined([part for part in slot if part]) for slot in slots], rows

    def _joined(self, states: list[dict[str, Any]]) -> Metric:
        """One metric with the states of all processes that have rows, reduced as it asks for."""
        whole = self.pattern.clone()
        for name, reduction in whole._reductions.items():
            parts = [state[name] for state in states]
            if len(parts) == 1:
                value = parts[0]
            elif parts:
                lists = isinstance(parts[0], list)
                value = [row for part in parts for row in part] if lists else torch.stack(parts)
                value = cast(Callable[..., Any], reduction)(value) if reduction else value
            else:
                continue
            setattr(whole, name, _moved(value, self.device))
        whole._update_count = len(states)
        return whole


def _pattern(metric: Metric | Callable[[], Metric]) -> Metric:
    made = metric if isinstance(metric, (Metric, MetricCollection)) else metric()
    if not isinstance(made, Metric) or any(
        isinstance(part, (Metric, MetricCollection)) for part in made.modules() if part is not made
    ):
        raise ArgumentError.of(
            "metric",
            found=type(made).__name__,
            expected="one torchmetrics metric with states of its own",
            mend="wrap each metric of a collection, and the metric inside of a wrapper",
        )
    pattern = made.clone()
    pattern.reset()
    # The copies' states are gathered here: alone, each would wait for processes without its rows.
    pattern.distributed_available_fn = _never
    return pattern


def _never() -> bool:
    return False


def _check_column(name: object, column: object, rows: int) -> None:
    shape = tuple(column.shape) if isinstance(column, Tensor) else None
    if (shape is None and not isinstance(column, (bool, int, float, str, type(None)))) or (
        shape and shape[0] != rows
    ):
        raise ArgumentError.of(
            f"argument {name!r} of update",
            found=type(column).__name__ if shape is None else f"shape {shape}",
            expected=f"a tensor of {rows} rows, as in sensitive, or a plain value",
            mend="pass tensors whose first axis are the rows of the batch",
        )


def _slices(column: Any, order: Tensor, sizes: list[int]) -> list[Any]:
    if isinstance(column, Tensor) and column.ndim:
        return list(column.index_select(0, order).split(sizes))
    return [column] * len(sizes)


def _added(counts: Iterable[list[int]]) -> list[int]:
    return [sum(sizes) for sizes in zip(*counts, strict=True)]


def _state(metric: Metric) -> dict[str, Any]:
    return {name: _moved(value, "cpu") for name, value in metric.metric_state.items()}


def _moved(state: Any, device: torch.device | str) -> Any:
    if isinstance(state, list):
        return [_moved(row, device) for row in state]
    return state.to(device) if isinstance(state, Tensor) else state
