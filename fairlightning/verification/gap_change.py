"""The gap of a partition in two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlightning.verification.limits import Contrast, contrasts, gap_family
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Ints, group_estimates


@dataclass(frozen=True)
class GapChange:
    """Gap of one partition in both models.

    Attributes:
        contrast: The comparison of the two gaps; None with fewer than two groups that take part.
        by_seed: `(R, 2)` gaps of baseline and intervention.
        support: Different rows of the smallest group that takes part.
        left_out: Groups with too few rows, by name, with their number.
    """

    contrast: Contrast | None
    by_seed: tuple[tuple[float, float], ...]
    support: int
    left_out: dict[str, int]


def gap_change(
    material: Material, partition: Sequence[str], rates: Sequence[str], min_support: int
) -> GapChange:
    """Compare the gap of a partition in the rates of a criterion."""
    groups, threshold = material.groups, material.threshold
    test = group_estimates(material.test, groups, partition, rates, threshold)
    other = group_estimates(
        material.validation, groups, partition, rates, threshold, covariance=False
    )
    size = groups.num_groups(partition)
    shape = (len(rates), size + 1)
    distinct = test.distinct.reshape(shape)[:, :size].min(0)
    # A group has to be in every seed: an absent one would narrow that seed's gap.
    everywhere = test.supports.reshape(-1, *shape)[..., :size].min((0, 1)) > 0
    kept: Ints = np.flatnonzero((distinct >= min_support) & everywhere)
    names = groups.group_names(partition)
    left = {names[g]: int(distinct[g]) for g in range(size) if g not in kept}
    if len(kept) < 2:
        return GapChange(None, (), 0, left)
    family = gap_family(len(rates), size, kept)
    by_seed = contrasts(test.values, family).max(-1)
    pairs = tuple((float(b), float(m)) for b, m in by_seed)
    return GapChange(Contrast.of(test, family, other), pairs, int(distinct[kept].min()), left)
