"""Individual fairness: similar rows fare alike, and nobody's lot hangs on a sensitive attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from fairlightning.exceptions import ArgumentError
from fairlightning.functional.criteria import Estimate
from fairlightning.functional.moments import Moments, mean_rates, segment_moments
from fairlightning.functional.rates import Rates, at_least_float32
from fairlightning.functional.rows import check_threshold
from fairlightning.functional.similarity import total_variation

Inputs = TypeVar("Inputs")


def row_consistency(outputs: Tensor, features: Tensor, neighbors: int = 5) -> Tensor:
    """How well each row's output agrees with those of its nearest neighbours.

    Neighbours are near in the Euclidean distance of the features as they are given: standardise
    them first, and leave the sensitive attributes out. A row is no neighbour of itself, rows equal
    to it are. Which of several rows at the same distance count is up to scikit-learn's
    `NearestNeighbors`, which finds them, in chunks of bounded memory, on the CPU. Its time grows
    with the square of the rows unless features are few: 3 s for 20,000 rows of 10 features on one
    core, 106 s for 100,000, so that a sample of the rows may have to do.

    Args:
        outputs: `(..., N)` scores in [0, 1], or decisions 0 and 1.
        features: `(N, D)` features, `D` ≥ 1.
        neighbors: Number of neighbours `k` ≥ 1.

    Returns:
        `(..., N)` float64 in [0, 1]: 1 − the distance of the output from the neighbours' mean. NaN
        where an output is NaN, and everywhere if there are no more rows than neighbours.

    Raises:
        ArgumentError: If a shape or the number of neighbours cannot be used, or a feature is NaN or
            infinite.

    >>> outputs, features = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([[0.0], [1.0], [3.0]])
    >>> row_consistency(outputs, features, neighbors=1)
    tensor([0., 0., 1.], dtype=torch.float64)
    """
    check_neighbors(neighbors)
    outputs = outputs.detach().double()
    if neighbors >= check_features(outputs, features):
        return torch.full_like(outputs, torch.nan)
    table = at_least_float32(features.detach()).cpu().numpy()
    found = NearestNeighbors(n_neighbors=neighbors).fit(table).kneighbors(return_distance=False)
    mean = torch.zeros_like(outputs)
    # Neighbour by neighbour, so that no more than one copy of the outputs is held.
    for column in torch.from_numpy(found).to(outputs.device).unbind(1):
        mean += outputs[..., column] / neighbors
    return 1 - (outputs - mean).abs()


def consistency(outputs: Tensor, features: Tensor, neighbors: int = 5) -> Estimate:
    """Consistency: 1 − the mean distance of outputs from those of the nearest neighbours.

    As Zemel et al. define it (2013, Learning Fair Representations, ICML). It is 1 where rows that
    are alike fare alike. See `row_consistency` for what counts as alike.

    Args:
        outputs: `(..., N)` scores in [0, 1], or decisions 0 and 1.
        features: `(N, D)` features, standardised by the caller.
        neighbors: Number of neighbours `k` ≥ 1.

    Returns:
        `(...)` float64 in [0, 1] and the number of rows; support 0 where there are no more rows
        than neighbours, or an output is NaN.

    Raises:
        ArgumentError: See `row_consistency`.
    """
    everyone = torch.zeros(outputs.shape[-1:], dtype=torch.long, device=outputs.device)
    rate, support = group_consistency(outputs, features, everyone, 1, neighbors)
    return Estimate(rate.squeeze(-1), support.squeeze(-1))


def group_consistency(
    outputs: Tensor, features: Tensor, group: Tensor, num_groups: int, neighbors: int = 5
) -> Rates:
    """Consistency of every group; see `consistency`.

    The neighbours of a row come from all rows, whatever their group.

    Args:
        outputs: `(..., N)` scores in [0, 1], or decisions 0 and 1.
        features: `(N, D)` features, standardised by the caller.
        group: `(N,)` int64 ids in `[-1, num_groups)`; rows of `-1` are neighbours only.
        num_groups: Number of groups `G`.
        neighbors: Number of neighbours `k` ≥ 1.

    Returns:
        `(..., G)` float64 consistency and int64 support; 0 in an absent group, and in all of them
        where there are no more rows than neighbours, or an output makes a group's NaN.
    """
    agreement = row_consistency(outputs, features, neighbors)
    return mean_rates(segment_moments(agreement.unsqueeze(-2), group, num_groups), 0)


def check_neighbors(neighbors: int) -> int:
    """Return the number of neighbours after checking that it is 1 or more.

    Raises:
        ArgumentError: If it is not.
    """
    if neighbors < 1:
        raise ArgumentError.of(
            "neighbors", found=neighbors, expected="1 or more", mend="pass neighbors=5"
        )
    return neighbors


def check_features(outputs: Tensor, features: Tensor) -> int:
    """Return the number of rows after checking that outputs and features are of the same.

    Raises:
        ArgumentError: If the shapes do not fit, or a feature is NaN or infinite.
    """
    shape = tuple(features.shape)
    fits = outputs.ndim > 0 and len(shape) == 2 and outputs.shape[-1] == shape[0]
    if not fits or (shape[0] and not shape[1]):
        raise ArgumentError.of(
            "features",
            found=f"shape {shape} beside outputs of shape {tuple(outputs.shape)}",
            expected="(N, D) with one or more features for each of the N outputs",
            mend="pass features and outputs of the same rows",
        )
    if not features.isfinite().all():
        raise ArgumentError.of(
            "features",
            found="NaN or infinite values",
            expected="finite numbers",
            mend="impute what is missing, as the model's own preparation does",
        )
    return shape[0]


class Flips(NamedTuple):
    """What happens to each row when its sensitive attribute takes other values.

    Attributes:
        flipped: `(N,)` float64: 1 where any of the values changes the decision, else 0; NaN where a
            logit is NaN.
        change: `(N,)` float64 in [0, 1]: largest change of the score over the values. With several
            classes the total variation distance ½ Σ|Δp|, which for two is the change of the score.
    """

    flipped: Tensor
    change: Tensor


def flips(logits: Tensor, counterfactual: Sequence[Tensor], threshold: float = 0.5) -> Flips:
    """Compare logits with those under other values of a sensitive attribute.

    Args:
        logits: `(N,)` or `(N, 1)` logits of the positive class, or `(N, C)` of `C` ≥ 2 classes.
        counterfactual: For each value of the attribute the logits that the same rows have if all
            take that value; of the shape of `logits`. A row that has the value already is not
            changed by it, so that it counts towards nothing.
        threshold: Score from which a row is selected; with several classes the decision is the
            class of the highest logit.

    Raises:
        ArgumentError: If the shapes differ, there is no counterfactual, or the threshold cannot be
            used.

    >>> flips(torch.tensor([1.0, 3.0]), [torch.tensor([-1.0, 3.0])]).flipped
    tensor([1., 0.], dtype=torch.float64)
    """
    check_threshold(threshold)
    shapes = [tuple(other.shape) for other in counterfactual]
    if not shapes or logits.ndim not in (1, 2) or set(shapes) != {tuple(logits.shape)}:
        raise ArgumentError.of(
            "counterfactual",
            found=f"shapes {shapes} beside logits of shape {tuple(logits.shape)}",
            expected="one or more tensors of the shape of the logits, (N,) or (N, C)",
            mend="pass a list with the logits of the same rows for every value of the attribute",
        )
    rows, decision = _decided(logits, threshold)
    flipped = torch.zeros_like(decision, dtype=torch.bool)
    change = rows.new_zeros(len(rows))
    for other in counterfactual:
        other_rows, other_decision = _decided(other, threshold)
        flipped |= decision != other_decision
        change = torch.maximum(change, total_variation(rows, other_rows))
    return Flips(torch.where(change.isnan(), torch.nan, flipped.double()), change)


def _decided(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Logits `(N, C)` float64, and the decision `(N,)` of each row."""
    logits = logits.detach().double()
    if logits.ndim == 2 and logits.shape[1] > 1:
        return logits, logits.argmax(-1)
    logits = logits.reshape(-1, 1)
    return logits, (logits.squeeze(1).sigmoid() >= threshold).long()


def flip_moments(
    flips: Flips, segment: Tensor, num_segments: int, weight: Tensor | None = None
) -> Moments:
    """Pool flips to cells or groups, `flipped` before `change`; see `segment_moments`."""
    return segment_moments(torch.stack(flips), segment, num_segments, weight)


def flip_rates(moments: Moments) -> Rates:
    """Share of rows whose decision flips, `(..., G)` in [0, 1]; see `mean_rates`."""
    return mean_rates(moments, 0)


def mean_score_changes(moments: Moments) -> Rates:
    """Mean of the largest change of the score, `(..., G)` in [0, 1]; see `mean_rates`."""
    return mean_rates(moments, 1)


def flip_share(
    predict: Callable[[Inputs], Tensor],
    inputs: Inputs,
    flip: Callable[[Inputs], Iterable[Inputs]],
    *,
    threshold: float = 0.5,
    group: Tensor | None = None,
    num_groups: int = 1,
    weight: Tensor | None = None,
) -> Moments:
    """Evaluate a model on its rows and on the same rows with another sensitive value.

    It speaks only of a model that sees the attribute, and of what the attribute does by itself:
    other features that depend on it stay as they are (Kusner et al. 2017, arXiv:1703.06856, on what
    that leaves out). The model is called without gradient, and should be in evaluation mode.

    Args:
        predict: From inputs to logits `(N,)`, `(N, 1)` or `(N, C)`.
        inputs: The rows, in whatever form `predict` takes them.
        flip: From inputs to one counterfactual after another: the inputs in which all rows have one
            value of the attribute; such as `set_column` makes. One that repeats the value of a row
            changes nothing for it.
        threshold: Score from which a row is selected.
        group: `(N,)` int64 ids in `[-1, num_groups)`; without it all rows are one group.
        num_groups: Number of groups `G`.
        weight: `(N,)` row weights ≥ 0.

    Returns:
        `(G,)` moments for `flip_rates`, `mean_score_changes` and `standard_errors`.

    Raises:
        ArgumentError: See `flips`.

    >>> model = lambda x: x[:, 0] + 2 * x[:, 1] - 1
    >>> rows = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    >>> flip_rates(flip_share(model, rows, lambda x: set_column(x, 1, [0, 1]))).rate.item()
    0.5
    """
    with torch.no_grad():
        logits = predict(inputs)
        counterfactual = [predict(changed) for changed in flip(inputs)]
    found = flips(logits, counterfactual, threshold)
    if group is None:
        group = torch.zeros(len(found.change), dtype=torch.long, device=found.change.device)
    return flip_moments(found, group, num_groups, weight)


def set_column(features: Tensor, column: int, values: Iterable[float]) -> Iterable[Tensor]:
    """Give the features with one value after another in a column of all rows.

    Args:
        features: `(N, D)` features, or category codes.
        column: Position of the sensitive attribute.
        values: All values that the attribute has.

    >>> [changed.tolist() for changed in set_column(torch.tensor([[7, 1]]), 1, [0, 1])]
    [[[7, 0]], [[7, 1]]]
    """
    for value in values:
        changed = features.clone()
        changed[:, column] = value
        yield changed
