"""Audits whose truth is known: predictions of two models, drawn from stated rates.

A decision compares a normal latent of the row with the rate of its cell. Part of the latent belongs
to the row in all seeds, part to the row in one seed, part to one model: models of a pair, and of
different seeds, agree with each other as trained ones do. Every training draws rates of its own
around the stated ones (`wobble`); what is true is the mean over trainings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import norm

from fairlightning.groups import GroupSpec
from fairlightning.verification.material import Material
from fairlightning.verification.paired import Pair

LATENT = np.sqrt([0.6, 0.2, 0.2])
"""Weights of the latent's parts: of the row, of it in one seed, of it in one seed and model."""


@dataclass(frozen=True)
class Truth:
    """What is true of two models.

    Attributes:
        name: What is hard about it.
        spec: Sensitive attributes, whose intersections are the cells.
        share: `(cells,)` share of the rows.
        base: `(cells,)` share of positives.
        rates: `(2, 2, cells)` P(selected) by model (baseline first), label and cell.
        criterion: Fairness criterion.
        attributes: Attributes that are judged.
        rows: Rows of the data set, of which a fifth each is validation and test.
        seeds: Number of trainings of each model.
        wobble: Standard deviation of the rates from training to training.
        together: Share of its variance that both models of a seed have in common.
        fixed: Whether all seeds have the same test rows.
    """

    name: str
    spec: GroupSpec
    share: np.ndarray
    base: np.ndarray
    rates: np.ndarray
    criterion: str = "demographic_parity"
    attributes: tuple[str, ...] = ("a",)
    rows: int = 10_000
    seeds: int = 5
    wobble: float = 0.0
    together: float = 0.0
    fixed: bool = False

    def trainings(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """`(number, 2, 2, cells)` rates of so many trainings."""
        shape = (number, 1, 1, len(self.share)), (number, 2, 1, len(self.share))
        common, own = (rng.normal(size=s) for s in shape)
        noise = np.sqrt(self.together) * common + np.sqrt(1 - self.together) * own
        return np.clip(self.rates + self.wobble * noise, 0.001, 0.999)

    def gaps(self, rates: np.ndarray, attribute: str) -> np.ndarray:
        """`(..., 2)` gap of an attribute for rates `(..., 2, 2, cells)`."""
        positive, negative = self.share * self.base, self.share * (1 - self.base)
        label = np.stack([negative, positive])
        if self.criterion == "equal_opportunity":
            label = label * np.array([[0.0], [1.0]])
        member = self._members(attribute)
        mass = (label @ member).sum(0)
        group = (rates * label).sum(-2) @ member / mass
        return group.max(-1) - group.min(-1)

    def _members(self, attribute: str) -> np.ndarray:
        axis = self.spec.names.index(attribute)
        code = np.unravel_index(np.arange(len(self.share)), self.spec.sizes)[axis]
        return np.eye(self.spec.sizes[axis])[code]


def improved_by(truth: Truth, share: float, blend: Callable[[float], np.ndarray]) -> Truth:
    """Choose the intervention so that its mean gap is the baseline's, less the share, exactly.

    Args:
        truth: All but the intervention's rates.
        share: Improvement of the gap, such as 0.1.
        blend: From a number in [0, 3] to rates `(2, cells)` whose gap rises with it.
    """
    low, high = 0.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        rates = np.stack([truth.rates[0], blend(middle)])
        now = replace(truth, rates=rates)
        # The same draws for every number: their mean rises with it.
        drawn = now.trainings(np.random.default_rng(7), 4000 if truth.wobble else 1)
        baseline, intervention = now.gaps(drawn, truth.attributes[0]).mean(0)
        low, high = (low, middle) if intervention > (1 - share) * baseline else (middle, high)
    return now


def draw(truth: Truth, rng: np.random.Generator) -> Material:
    """Draw a data set, and what the models of all seeds predict of validation and test."""
    cell = rng.choice(len(truth.share), truth.rows, p=truth.share / truth.share.sum())
    label = (rng.random(truth.rows) < truth.base[cell]).astype(int)
    codes = np.stack(np.unravel_index(cell, truth.spec.sizes), 1)
    own = rng.normal(size=truth.rows)
    rates = norm.ppf(truth.trainings(rng, truth.seeds))
    part = truth.rows // 5
    order = rng.permutation(truth.rows)
    test, validation = [], []
    for seed in range(truth.seeds):
        order = order if truth.fixed else rng.permutation(truth.rows)
        in_seed = rng.normal(size=truth.rows)
        latent = LATENT[0] * own + LATENT[1] * in_seed
        for rows, pairs in ((order[:part], test), (order[part : 2 * part], validation)):
            z = latent[rows] + LATENT[2] * rng.normal(size=(2, part))
            chosen = z < rates[seed][:, label[rows], cell[rows]]
            sensitive = torch.tensor(codes[rows])
            scores = np.where(chosen, 0.75, 0.25)
            pairs.append(Pair(rows, label[rows] == 1, sensitive, np.ones(part), scores))
    return Material(tuple(test), tuple(validation), truth.spec, truth.criterion, truth.attributes)
