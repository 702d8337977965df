"""Scores that do not move where the sensitive attribute would: a gradient penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.columns import Columns, code_shares
from fairlightning.functional.directions import (
    ALONG,
    Along,
    check_orthonormal,
    sensitive_directions,
    table_directions,
)
from fairlightning.functional.rates import at_least_float32
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.rows import RowPenalty, second_look, turns


class SensitiveGradientPenalty(RowPenalty):
    """Penalise the derivative of the score along sensitive directions.

    The value is the mean over rows of Σ_j (∂p/∂v_j)², where p is the probability and v_j an
    orthonormal basis of the sensitive subspace: it is the first order of what SenSR (Yurochkin et
    al. 2020, arXiv:1907.00020) and SenSeI (Yurochkin and Sun 2021, arXiv:2006.14168) search for by
    an inner maximisation, the largest change of the decision on a small move within that subspace.

    The directions are learned from the training rows by `prepare` and then fixed
    (`functional.directions`). Derivatives are exact, by one forward-mode pass (`torch.func.jvp`).
    Categorical columns are differentiated through their embeddings: networks read shares of codes
    in place of codes, which makes a row a point between categories, as in SenSR. In training each
    row is looked at along one of the d directions, in turn from one that is drawn, times d, which
    is unbiased; in evaluation along all.

    Args:
        groups: The sensitive attributes.
        attributes: Attributes whose directions count; all if None.
        along: Directions to learn: `predictor`, where a linear guess of the group moves most,
            `means`, between the groups' means, or `both`; see `functional.directions`.
        directions: `(d, P)` orthonormal directions of your own, where P is the number of
            numbers of a row (of a table its numeric columns, or these and all codes); None to
            learn them.
        ridge: Of the regression that finds them, above 0.
        weight: Share in λ.

    Raises:
        ArgumentError: On unknown attributes, or directions that are not orthonormal; in `prepare`
            on inputs that are not finite, or if nothing in them tells the groups apart; in `sums`
            if directions and inputs differ in width.
        SetupError: In `sums`, if there are no directions yet.

    Shapes: inputs `(numeric, categorical)` or one tensor `(N, ...)`; logits `(..., N, C)`; the
    value is `(...)`, at least 0, in squared change of the probability for one unit of the inputs.
    """

    requires = ("logits", "inputs", "predict")
    parts = ("rows",)
    directions: Tensor | None

    def __init__(
        self,
        groups: GroupSpec,
        *,
        attributes: Sequence[str] | None = None,
        along: Along = "both",
        directions: Tensor | None = None,
        ridge: float = 1e-3,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        check_choice("along", along, ALONG)
        self.along: Along = along
        self.ridge = ridge
        self.cardinalities: list[int] | None = None
        self._fixed = directions is not None
        own = None if directions is None else check_orthonormal(directions)
        self.register_buffer("directions", own, persistent=False)

    def prepare(self, train: Step, columns: Columns | None = None) -> None:
        """Learn the sensitive directions from the training rows."""
        if columns is not None:
            self.cardinalities = columns.cardinalities
        if self._fixed:
            return
        assert train.sensitive is not None
        axes = self.groups.axes(self.attributes)
        columns_of = self.groups.check(train.sensitive)[:, axes].unbind(1)
        codes = dict(zip(self.attributes, columns_of, strict=True))
        sizes = [self.groups.sizes[axis] for axis in axes]
        options: dict[str, Any] = {"along": self.along, "ridge": self.ridge}
        options["weight"] = train.row_weight
        if columns is not None:
            others = self.groups.names
            found = table_directions(train.inputs, columns, codes, sizes, hidden=others, **options)
        elif isinstance(train.inputs, Tensor):
            features = train.inputs.flatten(1)
            found = sensitive_directions(features, list(codes.values()), sizes, **options)
        else:
            raise ArgumentError.of(
                "inputs",
                found=f"of type {type(train.inputs).__name__}, and no columns",
                expected="a table with its columns, or one tensor with a row for each",
                mend="pass directions=... of your own",
            )
        if not len(found):
            raise ArgumentError.of(
                "directions",
                found="none: no column tells " + ", ".join(self.attributes) + " apart",
                expected="inputs from which the attribute can be predicted",
                mend="leave the method out: there is no direction to be blind to",
            )
        self.directions = found

    def rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Squared derivative `(..., N, 1)` of each row, and that all count."""
        assert step.logits is not None
        if self.directions is None:
            raise SetupError.of(
                type(self).__name__,
                found="no directions yet",
                expected="prepare() with the training rows before the first step",
                mend="call objective.prepare(Step(inputs=..., sensitive=...)), or pass directions=",
            )
        count, number = len(self.directions), step.logits.shape[-2]
        if self.training:
            turn = turns(number, count, step.logits.device)
            square = self._derivative(step, self.directions[turn]) * count
        else:
            square = torch.stack([self._derivative(step, one) for one in self.directions]).sum(0)
        everyone = torch.ones(number, 1, dtype=torch.bool, device=square.device)
        return square.unsqueeze(-1), everyone

    def _derivative(self, step: Step, along: Tensor) -> Tensor:
        """Squared derivative of the probabilities `(..., N)` along `(P,)` or `(N, P)`."""
        moved, tangents, rest = self._split(step.inputs, along)

        def probability(*parts: Tensor) -> Tensor:
            inputs = parts[0] if isinstance(step.inputs, Tensor) else (*parts, *rest)
            logits = at_least_float32(second_look(step, inputs))
            return logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)

        change: Tensor = jvp(probability, moved, tangents)[1]
        square: Tensor = change.square().sum(-1)
        # Of two classes one rises by what the other falls.
        return square if change.shape[-1] == 1 else square / 2

    def _split(
        self, inputs: Any, along: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What moves, how, and what stays as it is."""
        if isinstance(inputs, Tensor):
            width = inputs.shape[1:].numel()
            if along.shape[-1] != width:
                raise _unfit(along, f"{width}, those of a row", "pass directions of that width")
            tangent = along.to(inputs).expand(len(inputs), -1).reshape(inputs.shape)
            return (inputs,), (tangent.contiguous(),), ()
        numeric, categorical = inputs
        along = along.to(numeric).expand(len(numeric), -1)
        if along.shape[1] == numeric.shape[1]:
            return (numeric,), (along,), (categorical,)
        if self.cardinalities is None or along.shape[1] != numeric.shape[1] + sum(
            self.cardinalities
        ):
            raise _unfit(
                along,
                f"{numeric.shape[1]}, the numeric columns, or these and every code",
                "call prepare with the columns of the table",
            )
        shares = code_shares(categorical, self.cardinalities, numeric.dtype)
        of_numbers, of_codes = along.split([numeric.shape[1], shares.shape[1]], 1)
        return (numeric, shares), (of_numbers, of_codes), ()


def _unfit(along: Tensor, expected: str, mend: str) -> ArgumentError:
    return ArgumentError.of(
        "directions", found=f"of {along.shape[-1]} numbers", expected=expected, mend=mend
    )
