"""One pass over the data: every sum that a step and its certificate need, in float64.

A pass sees the model at origin + t·direction for a few fractions t. Its sums add up over batches
and over ranks, and take P² numbers, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairlightning.convex.blocks import Array
from fairlightning.convex.cells import Cells
from fairlightning.convex.kink import NearRows
from fairlightning.convex.losses import Hinge, Loss
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.rows import check_labels, check_weight

CHUNK = 4096

Sums = dict[str, Tensor]
Reduce = Callable[[Sums], Sums]
"""Adds the sums of all ranks."""

_SAME = 1e-8
_GROWS = 1e-2


class Rows(NamedTuple):
    """Checked rows of a batch.

    Attributes:
        inputs: `(N, P)` float64, the column of ones for the intercept last.
        target: `(N,)` int64 labels in {0, 1}.
        sensitive: `(N, A)` int64 codes, or None where there are no constraints.
        weight: `(N,)` float64 row weights, without those of the classes.
    """

    inputs: Tensor
    target: Tensor
    sensitive: Tensor | None
    weight: Tensor


def row_sums(
    rows: Rows,
    loss: Loss,
    class_weight: Tensor,
    origin: Tensor,
    direction: Tensor | None,
    near: NearRows | None = None,
) -> Sums:
    """Sums of one chunk of rows.

    Args:
        rows: The rows.
        loss: Loss of the margin.
        class_weight: `(2,)` weights of the labels.
        origin: `(P,)` θ from which the step is taken.
        direction: `(P,)` the step; None to look at the origin alone.
        near: Collects the rows nearest to the kink of a loss without curvature.

    Returns:
        `mass`: total weight. `check`: `(P,)` weighted rows, equal in every pass over the same rows.
        At origin + direction: `gradient` `(P,)`, `hessian` `(P, P)`, `near` and `count`: weight
        and number of the rows with curvature. `loss` and `smoothed`: `(T,)` at each of
        the loss's `fractions`, or at the origin.
        With a direction, of the dual point that the step's model predicts, by label:
        `conjugate` `(2,)` and `dual` `(2, P)`; and `falls`, `grows`, the weight of rows whose
        margin falls, or grows by much, along the direction. With `near`, in place of gradient,
        curvature and prediction, `conjugate` and `dual` of the present slopes.
    """
    x, weight = rows.inputs, rows.weight * class_weight[rows.target]
    sign = 2.0 * rows.target.to(x.dtype) - 1
    sums = {"mass": weight.sum(), "check": weight @ x}
    if direction is None:
        margins = (sign * (x @ origin))[None]
    else:
        base, step = (sign * (torch.stack([origin, direction]) @ x.T)).unbind(0)
        fractions = x.new_tensor(loss.fractions)
        margins = base + fractions[:, None] * step
        if near is None:
            sums |= _predicted(rows, loss, weight, sign, base, step)
    sums["loss"] = loss.value(margins) @ weight
    sums["smoothed"] = sums["loss"] if loss.smooth else loss.smoothed(margins) @ weight
    margin = margins[0]
    if near is not None:
        moving = weight > 0
        near.add(x[moving], sign[moving], weight[moving], margin[moving])
        return sums | _plane(rows, loss, weight, sign, loss.slope(margin))
    curvature = weight * loss.curvature(margin)
    sums["gradient"] = (weight * sign * loss.slope(margin)) @ x
    curved = curvature > 0
    sums["near"], sums["count"] = weight @ curved.to(x.dtype), curved.sum().to(x.dtype)
    if loss.attained:
        # Hinges are flat or straight for most rows, which then need no product.
        x, curvature = x[curved], curvature[curved]
    sums["hessian"] = x.T @ (curvature[:, None] * x)
    return sums


def _predicted(
    rows: Rows, loss: Loss, weight: Tensor, sign: Tensor, base: Tensor, step: Tensor
) -> Sums:
    # The slope that the quadratic model predicts after the step: its sum over the rows is exactly
    # what the step's program balanced, so that the bound it gives is off by a second-order term.
    alpha = loss.clip(loss.slope(base) + loss.curvature(base) * step)
    moving = weight > 0
    return {
        **_plane(rows, loss, weight, sign, alpha),
        "falls": weight @ (moving & (step < -_SAME)).to(weight.dtype),
        "grows": weight @ (moving & (step > _GROWS)).to(weight.dtype),
    }


def _plane(rows: Rows, loss: Loss, weight: Tensor, sign: Tensor, alpha: Tensor) -> Sums:
    label = torch.stack([1 - rows.target, rows.target]).to(weight.dtype) * weight
    return {
        "conjugate": label @ loss.conjugate(alpha),
        "dual": (label * alpha * sign) @ rows.inputs,
    }


class Feed:
    """Adds up passes, one after the other.

    Args:
        class_weight: Weights of label 0 and 1.
        cells: Where the first pass sums rows by group; None without constraints.
        reduce: Adds the sums of a pass over ranks.

    Attributes:
        mass: Total weight of the rows, class weights included.
        check: `(P,)` weighted mean of the rows in the first pass.
    """

    def __init__(
        self, class_weight: tuple[float, float], cells: Cells | None, reduce: Reduce | None = None
    ) -> None:
        self.mass = 0.0
        self.check: Array | None = None
        self._class_weight = class_weight
        self._cells = cells
        self._reduce = reduce
        self._sums: Sums = {}
        self._near: NearRows | None = None
        self._view: tuple[Loss, Array, Array | None] | None = None
        self._points: list[Tensor | None] = []
        self._cells_only = False
        self._restored: list[Tensor] | None = None

    def look(
        self, loss: Loss, origin: Array, direction: Array | None, *, cells_only: bool = False
    ) -> None:
        """Say where the pass looks, or that it only sums rows by group; of effect at its start."""
        if self._view is None:
            self._view = (loss, origin, direction)
            self._cells_only = cells_only
            at_kink = isinstance(loss, Hinge) and not loss.gamma
            self._near = NearRows(self._restored) if at_kink else None
            self._restored = None

    def add(
        self, inputs: Tensor, target: Tensor, sensitive: Tensor | None, weight: Tensor | None
    ) -> None:
        """Take in a batch; see `SequentialQuadratic.add`."""
        assert self._view is not None
        size = len(self._view[1])
        if inputs.ndim != 2 or inputs.shape[1] + 1 != size:
            raise ArgumentError.of(
                "inputs",
                found=f"shape {tuple(inputs.shape)}",
                expected=f"(N, {size - 1})",
                mend="pass a matrix, with the same columns in every batch",
            )
        target = check_labels(target, len(inputs)).long()
        weight = None if weight is None else check_weight(weight, len(inputs))
        if self._cells is not None:
            sensitive = self._cells.groups.check(_given(sensitive), len(inputs))
        for first in range(0, len(inputs), CHUNK):
            part = slice(first, first + CHUNK)
            x = inputs.new_ones((len(inputs[part]), size), dtype=torch.float64)
            x[:, :-1] = inputs[part].detach()
            w = x.new_ones(len(x)) if weight is None else weight[part].to(x.dtype)
            self._add(Rows(x, target[part], None if sensitive is None else sensitive[part], w))

    def _add(self, rows: Rows) -> None:
        assert self._view is not None
        loss, *points = self._view
        if not self._points:
            self._points = [None if p is None else rows.inputs.new_tensor(p) for p in points]
        origin, direction = self._points
        assert origin is not None
        classes = rows.inputs.new_tensor(self._class_weight)
        if self._cells_only:
            weight = rows.weight * classes[rows.target]
            part = {"mass": weight.sum(), "check": weight @ rows.inputs}
        else:
            part = row_sums(rows, loss, classes, origin, direction, self._near)
        if self.check is None and self._cells is not None:
            assert rows.sensitive is not None
            self._cells.add(rows.inputs, rows.target, rows.sensitive, rows.weight)
        # Restored sums may lie on another device.
        self._sums = {
            name: value + self._sums[name].to(value.device) if name in self._sums else value
            for name, value in part.items()
        }

    def take(self) -> tuple[dict[str, Array], NearRows | None]:
        """End the pass: means over all rows and ranks, on the host, and the rows near the kink.

        Raises:
            ArgumentError: If there are no rows, or they are not finite.
            SetupError: If they are not those of the first pass.
        """
        if not self._sums:
            raise ArgumentError.of(
                "data", found="no rows", expected="at least one", mend="check the table"
            )
        sums, near = self._reduced(), self._near
        self._sums, self._near, self._view, self._points = {}, None, None, []
        self.mass = float(sums["mass"])
        if not 0 < self.mass < np.inf or not bool(sums["check"].isfinite().all()):
            raise ArgumentError.of(
                "inputs, weight",
                found=f"a total weight of {self.mass}, or features that are not finite",
                expected="finite numbers, and a total weight above 0",
                mend="impute or drop missing values",
            )
        means = {name: value.cpu().numpy() / self.mass for name, value in sums.items()}
        self._check_same_rows(means["check"])
        return means, near

    def state_dict(self) -> dict[str, Any]:
        """Sums so far: tensors and plain values only."""
        cells = {} if self._cells is None else self._cells.sums
        return {
            "mass": self.mass,
            "check": None if self.check is None else torch.tensor(self.check),
            "cells": [cells[partition].cpu() for partition in cells],
            "sums": {name: value.cpu() for name, value in self._sums.items()},
            "near": None if self._near is None else self._near.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums of the same problem."""
        self.mass, self._sums = state["mass"], dict(state["sums"])
        self.check = None if state["check"] is None else state["check"].cpu().numpy()
        if self._cells is not None and state["cells"]:
            self._cells.sums = dict(zip(self._cells.partitions, state["cells"], strict=True))
        self._restored = state["near"]

    def _reduced(self) -> Sums:
        sums = dict(self._sums)
        if self._reduce is None:
            return sums
        cells = {} if self.check is not None or self._cells is None else self._cells.sums
        names = {f"cells {i}": partition for i, partition in enumerate(cells)}
        sums |= {name: cells[partition] for name, partition in names.items()}
        sums = self._reduce(sums)
        for name, partition in names.items():
            cells[partition] = sums.pop(name)
        return sums

    def _check_same_rows(self, check: Array) -> None:
        if self.check is None:
            self.check = check
        if np.abs(check - self.check).max() > 1e-9 * (1 + np.abs(self.check).max()):
            raise SetupError.of(
                "data",
                found="other rows than in the first pass",
                expected="every row exactly once in every pass",
                mend="use a loader that drops no rows and augments nothing",
            )


def _given(sensitive: Tensor | None) -> Tensor:
    if sensitive is None:
        raise ArgumentError.of(
            "sensitive",
            found="None with constraints",
            expected="(N, A) codes of the sensitive attributes",
            mend="pass sensitive=GroupSpec.encode(table)",
        )
    return sensitive
