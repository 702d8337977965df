"""Directions of the input space along which sensitive attributes change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.columns import Columns, code_shares

Along = Literal["predictor", "means", "both"]
ALONG: tuple[Along, ...] = ("predictor", "means", "both")

SMALLEST = 1e-3
"""Directions whose singular value is below this share of the largest are noise."""


def sensitive_directions(
    features: Tensor,
    codes: Sequence[Tensor],
    sizes: Sequence[int],
    *,
    along: Along = "both",
    ridge: float = 1e-3,
    weight: Tensor | None = None,
) -> Tensor:
    """Directions in which the groups of sensitive attributes differ.

    `predictor`: for each attribute a ridge regression predicts the indicators of its groups from
    the features, and its coefficients are the directions: the sensitive subspace of Yurochkin,
    Bower and Sun, "Training individually fair ML models with sensitive subspace robustness" (ICLR
    2020, arXiv:1907.00020). These are the moves that change the guess of the group most. `means`:
    the differences between the groups' mean features, the moves from one typical member to
    another: a linear score that is flat along them has the same mean in all groups, which one
    that is flat along the predictor's need not have.

    Args:
        features: `(N, P)` features of training rows; centred in here.
        codes: For each attribute `(N,)` int64 codes, `-1` for unknown, which are left out.
        sizes: Number of categories of each attribute.
        along: `predictor`, `means` or `both`.
        ridge: Penalty > 0 on the squared coefficients, relative to the mean squared error.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(d, P)` orthonormal, in the type of the features, or float32 where they are integers;
        d ≤ Σ(size − 1), of both twice that, and 0 where nothing tells the groups apart.

    Raises:
        ArgumentError: If `along` is unknown, the ridge not positive, or a feature NaN or infinite.

    >>> x = torch.tensor([[0.0, 0.3], [0.1, -0.3], [1.0, 0.3], [0.9, -0.3]])
    >>> sensitive_directions(x, [torch.tensor([0, 0, 1, 1])], [2]).abs().round(decimals=2)
    tensor([[1., 0.]])
    """
    check_choice("along", along, ALONG)
    if not ridge > 0:
        raise ArgumentError.of("ridge", found=ridge, expected="above 0", mend="pass ridge=1e-3")
    if not features.isfinite().all():
        raise ArgumentError.of(
            "inputs",
            found=f"NaN or infinite in {(~features.isfinite()).any(1).sum()} rows",
            expected="finite numbers, from which the group can be predicted",
            mend="fill in what is missing, as the network needs it too",
        )
    predictors, means = [], []
    for code, size in zip(codes, sizes, strict=True):
        known = (code >= 0).double()
        mass = known if weight is None else known * weight.double()
        share = mass / mass.sum().clamp_min(1e-12)
        groups = torch.nn.functional.one_hot(code.clamp_min(0), size).double()
        rows, groups = (_centred(part.double(), share) for part in (features, groups))
        moment = rows.T @ (rows * share.unsqueeze(1))
        penalty = ridge * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
        together = rows.T @ (groups * share.unsqueeze(1))  # a group's share, times its distance
        predictors.append(torch.linalg.solve(moment + penalty, together))
        means.append(together)
    taken = {"predictor": [predictors], "means": [means], "both": [predictors, means]}[along]
    # Each at length 1 first: the sizes of coefficients and means do not compare.
    found = torch.cat([_basis(torch.cat(part, 1)) for part in taken])
    return _basis(found.T).to(features.dtype if features.is_floating_point() else torch.float32)


def check_orthonormal(directions: Tensor) -> Tensor:
    """Return directions after checking that they are orthonormal, within 1 %.

    Raises:
        ArgumentError: If they are not `(d, P)` with d ≥ 1, of length 1 and at right angles.
    """
    wide = directions.double()
    products = wide @ wide.T if wide.ndim == 2 and len(wide) else wide.new_zeros(1, 1)
    if not torch.allclose(products, torch.eye(len(products)).to(products), atol=0.01):
        raise ArgumentError.of(
            "directions",
            found=f"shape {tuple(directions.shape)}, not orthonormal rows",
            expected="(d, P), rows of length 1 and at right angles",
            mend="pass torch.linalg.qr(directions.T)[0].T",
        )
    return directions


def _centred(rows: Tensor, share: Tensor) -> Tensor:
    return rows - share @ rows


def _basis(coefficients: Tensor) -> Tensor:
    """Orthonormal rows `(d, P)` that span the columns of `(P, M)`."""
    if not coefficients.shape[1]:
        return coefficients.T
    left, values, _ = torch.linalg.svd(coefficients, full_matrices=False)
    kept = values > SMALLEST * values.max().clamp_min(1e-12)
    basis: Tensor = left.T[kept]
    return basis


def table_directions(
    inputs: tuple[Tensor, Tensor],
    columns: Columns,
    sensitive: Mapping[str, Tensor],
    sizes: Sequence[int],
    *,
    hidden: Sequence[str] = (),
    along: Along = "both",
    ridge: float = 1e-3,
    weight: Tensor | None = None,
) -> Tensor:
    """Sensitive directions of a table, whose categorical columns count as shares of codes.

    An attribute that is itself an input gets directions of its own, between its values, and is
    kept out of the regression: it would predict itself, and hide the columns that stand for it.

    Args:
        inputs: `(N, D)` numbers and `(N, F)` codes of training rows.
        columns: What they mean.
        sensitive: Codes `(N,)` of each attribute, `-1` for unknown.
        sizes: Number of categories of each attribute.
        hidden: Further columns to keep out of the regression: other sensitive attributes.
        along: As for `sensitive_directions`, as is `ridge`.
        ridge: Of the regression.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(d, D + ΣC)` orthonormal, those of attributes that are inputs last, in the order of the
        columns. Along each the shares of a column keep their sum.
    """
    numeric, categorical = inputs
    cardinalities = columns.cardinalities
    features = torch.cat([numeric, code_shares(categorical, cardinalities, numeric.dtype)], 1)
    widths = [*[1] * len(columns.numeric), *cardinalities]
    starts = [sum(widths[:place]) for place in range(len(widths))]
    own = []
    for place, name in enumerate(columns.names):
        if name not in sensitive and name not in hidden:
            continue
        block = slice(starts[place], starts[place] + widths[place])
        features[:, block] = 0.0
        if name in sensitive:
            own.append(_between(block, place < len(columns.numeric), features.shape[1]))
    found = sensitive_directions(
        features, list(sensitive.values()), sizes, along=along, ridge=ridge, weight=weight
    )
    return torch.cat([found, *(part.to(found) for part in own)])


def _between(block: slice, number: bool, width: int) -> Tensor:
    """Directions within the columns of one attribute: its number, or from value to value."""
    size = block.stop - block.start
    inside = torch.zeros(size, width)
    inside[:, block] = torch.eye(size)
    if number:
        return inside
    known = inside[1:]  # code 0 is no value
    return _basis((known - known.mean(0)).T)
