"""Gradient-boosted trees of LightGBM, grown on the gradient of the fair loss."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fairlightning.data.batch import Batch
from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.schedules import Schedule, linear
from fairlightning.objectives import Fairness, WeightedSum
from fairlightning.objectives.base import Adaptive, Step


class BoostedTrees(nn.Module):
    """Trees whose splits are chosen by the gain in cross-entropy and fairness together.

    Each round takes the gradient of the whole loss, over all training rows, with respect to the
    raw scores. The penalty's part of it enters the gain of every split: with demographic parity
    this is fair splitting, with equal opportunity fair splitting with weighted samples, since only
    rows of label 1 then have such a part (LightGBM: Ke et al. 2017, NeurIPS).

    Args:
        numeric: Number of numeric inputs.
        cardinalities: Number of codes of each categorical input.
        rounds: Most trees, at least 1.
        learning_rate: Shrinkage of each tree, above 0.
        num_leaves: Most leaves of a tree.
        min_child_samples: Fewest rows of a leaf.
        ramp: Share in [0, 1] of the rounds over which λ rises along the schedule.
        patience: Rounds after the ramp without a better fair loss on validation, after which to
            stop; at least 1.
        seed: LightGBM's seed.
        threads: LightGBM's threads.

    Attributes:
        sizes: Features of the outputs: one logit; trees have no representation.
        best_round: Number of trees kept; 0 before `fit`.

    Raises:
        ArgumentError: On an option out of range.
        SetupError: If LightGBM is not installed.
    """

    tasks = ("binary",)

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int],
        *,
        rounds: int = 300,
        learning_rate: float = 0.15,
        num_leaves: int = 31,
        min_child_samples: int = 20,
        ramp: float = 0.2,
        patience: int = 20,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        super().__init__()
        for name, value, fine, expected in (
            ("rounds", rounds, rounds >= 1, "at least 1"),
            ("patience", patience, patience >= 1, "at least 1"),
            ("ramp", ramp, 0 <= ramp <= 1, "in [0, 1]"),
            ("learning_rate", learning_rate, learning_rate > 0, "above 0"),
            ("num_leaves", num_leaves, 2 <= num_leaves <= 131072, "2 to 131072"),
            ("min_child_samples", min_child_samples, min_child_samples >= 0, "at least 0"),
        ):
            if not fine:
                raise ArgumentError.of(
                    name, found=value, expected=expected, mend=f"leave {name} out for its default"
                )
        _lightgbm()  # here, and not after the data have been prepared, it is found to be missing
        self.sizes = _Sizes(logits=1)
        self.rounds, self.ramp, self.patience = rounds, ramp, patience
        self._categorical = list(range(numeric, numeric + len(cardinalities)))
        self.params: dict[str, Any] = {
            "objective": "none",
            "learning_rate": learning_rate,
            "num_leaves": num_leaves,
            "min_child_samples": min_child_samples,
            "seed": seed,
            "num_threads": threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self.best_round = 0
        self._base = 0.0
        self._text = ""
        self._booster: Any = None

    def fit(
        self, fairness: Fairness, train: Batch, validation: Batch, schedule: Schedule = linear
    ) -> BoostedTrees:
        """Grow trees until the fair loss on validation no longer falls.

        Args:
            fairness: Objectives and strength; their λ are set from round to round.
            train: Rows to learn from.
            validation: Rows that choose the number of trees, under the full λ.
            schedule: Factor of λ by the progress of the ramp.

        Returns:
            Itself.

        Raises:
            ArgumentError: If an objective or the combination is not for trees, or the rows that
                have weight are of one label.
        """
        check_objectives(fairness)
        weight, target = _weight(train), train.target.numpy()
        if len(np.unique(target[weight > 0])) < 2:
            raise ArgumentError.of(
                "train",
                found="not both labels among the rows with a weight above 0",
                expected="both labels",
                mend="pass rows of each label, or other weights",
            )
        rate = float(np.average(target, weights=weight))
        self._base = float(np.log(rate / (1 - rate)))
        data = self._dataset(train)
        booster = _lightgbm().Booster(self.params, data)
        booster.add_valid(self._dataset(validation, data), "validation")
        ramp = round(self.ramp * self.rounds)
        best, self.best_round = float("inf"), 0
        for number in range(1, self.rounds + 1):
            progress = min(1.0, number / ramp) if ramp else 1.0
            for name in fairness.objectives:
                fairness.set_factor(name, schedule(progress))
            booster.update(fobj=lambda score, _: derivatives(fairness, score, train))
            if number < max(ramp, 1):
                continue  # the losses of two rounds compare only under the same λ
            [(_, _, loss, _)] = booster.eval_valid(
                lambda score, _: ("fair_loss", _loss(fairness, score, validation), False)
            )
            if loss < best:
                best, self.best_round = loss, number
            elif number - self.best_round >= self.patience:
                break
        self._load(booster.model_to_string(num_iteration=self.best_round))
        return self

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        """Score rows.

        Args:
            inputs: `(N, D)` numbers and `(N, F)` codes.

        Returns:
            `(N, 1)` float64 logits, and None, since trees have no representation.

        Raises:
            SetupError: Before `fit`.
        """
        if self._booster is None:
            raise SetupError.of(
                "BoostedTrees", found="no trees yet", expected="fit() to have run", mend="call fit"
            )
        score = self._booster.predict(_matrix(inputs), raw_score=True) + self._base
        return torch.from_numpy(score).unsqueeze(-1).to(inputs[0].device), None

    def predict_proba(self, inputs: tuple[Tensor, Tensor]) -> np.ndarray[Any, Any]:
        """Give the probabilities of label 0 and 1, `(N, 2)`."""
        positive = torch.sigmoid(self(inputs)[0]).cpu().numpy()
        return np.concatenate([1 - positive, positive], axis=1)

    def get_extra_state(self) -> dict[str, Any]:
        """The trees as LightGBM's own text, and the score that they start from."""
        return {"trees": self._text, "base": self._base, "best_round": self.best_round}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over saved trees."""
        self._base, self.best_round = state["base"], state["best_round"]
        if state["trees"]:
            self._load(state["trees"])

    def _load(self, text: str) -> None:
        self._text = text
        self._booster = _lightgbm().Booster(model_str=text)

    def _dataset(self, batch: Batch, reference: Any = None) -> Any:
        return _lightgbm().Dataset(
            _matrix(batch.inputs),
            label=batch.target.numpy(),
            init_score=np.full(len(batch.target), self._base),
            categorical_feature=self._categorical,
            reference=reference,
            params=self.params,
        )


class _Sizes(dict[str, int]):
    """Sizes of the outputs, which say what trees do not have to objectives that ask for it."""

    def __missing__(self, name: str) -> int:
        raise ArgumentError.of(
            name,
            found="boosted trees, which have none, under an objective that needs it",
            expected="a penalty on the scores, not an adversarial or representation objective",
            mend="pass method=parity, or model=mlp",
        )


def check_objectives(fairness: Fairness) -> None:
    """Refuse what needs more than the raw scores of one model.

    Raises:
        ArgumentError: Naming the objective or the combination.
    """
    if type(fairness.combination) is not WeightedSum or fairness.members is not None:
        raise ArgumentError.of(
            "combination",
            found=f"{type(fairness.combination).__name__}, members={fairness.members}",
            expected="the weighted sum of one model, whose gradient trees can follow",
            mend="pass combination=weighted_sum and one strength",
        )
    for name, objective in fairness.items():
        needs = sorted({"representation", "parameters", "predict"} & set(objective.requires))
        if any(True for _ in objective.parameters()):
            needs.append("parameters of its own")
        if isinstance(objective, Adaptive):
            needs.append("multipliers or weights that change with each step")
        if needs:
            raise ArgumentError.of(
                f"objective {name!r}",
                found=f"{type(objective).__name__}, which needs {', '.join(needs)}",
                expected="a penalty on the scores: boosted trees have no representation, and the "
                "gradient that they follow is that of the scores of the rows as they are",
                mend="pass method=parity, or model=mlp",
            )


def derivatives(
    fairness: Fairness, score: np.ndarray[Any, Any], batch: Batch
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Gradient and a positive curvature of the fair loss, times the number of rows.

    Row weights enter as shares: LightGBM asks for a least sum of curvatures in a leaf, which would
    make the trees depend on their unit.

    Args:
        fairness: Objectives, at the λ in force.
        score: `(N,)` raw scores.
        batch: Their rows.

    Returns:
        Two float64 arrays `(N,)`.
    """
    logits = torch.tensor(score, dtype=torch.float64, requires_grad=True)
    fairness.train()
    weight = _weight(batch)
    loss = fairness(_row_loss(logits, batch), _step(logits, batch))
    (gradient,) = torch.autograd.grad(loss, logits)
    total = gradient.numpy() * weight.sum()
    rate = torch.sigmoid(logits.detach()).numpy()
    task = weight * (rate - batch.target.numpy())
    # The penalty sees a score z through p = σ(z), and σ'' = σ'·(1 − 2p) has either sign, so that
    # its own second derivative could make a leaf's curvature negative and its step run uphill.
    # Its absolute value, |∂penalty/∂z|·|1 − 2p|, bounds it from above where the penalty is linear
    # in p, as gaps are between kinks; it only shortens steps. What is quadratic in p is left out:
    # the learning rate keeps it small.
    curvature = weight * rate * (1 - rate) + np.abs(total - task) * np.abs(1 - 2 * rate)
    return total, np.maximum(curvature, 1e-16)


def _loss(fairness: Fairness, score: np.ndarray[Any, Any], batch: Batch) -> float:
    logits = torch.tensor(score, dtype=torch.float64)
    fairness.train()
    with torch.no_grad():
        return float(fairness(_row_loss(logits, batch), _step(logits, batch)))


def _row_loss(logits: Tensor, batch: Batch) -> Tensor:
    return binary_cross_entropy_with_logits(logits, batch.target.double(), reduction="none")


def _step(logits: Tensor, batch: Batch) -> Step:
    weight = None if batch.weight is None else batch.weight.double()
    return Step(
        logits.unsqueeze(-1),
        batch.target,
        batch.sensitive,
        row_weight=weight,
        inputs=batch.inputs,
    )


def _weight(batch: Batch) -> np.ndarray[Any, Any]:
    """Row weights `(N,)` of mean 1, or all 0."""
    if batch.weight is None:
        return np.ones(len(batch.target))
    weight: np.ndarray[Any, Any] = batch.weight.double().numpy()
    return weight / max(float(weight.mean()), float(np.finfo(np.float64).tiny))


def _matrix(inputs: tuple[Tensor, Tensor]) -> np.ndarray[Any, Any]:
    numeric, codes = inputs
    return torch.cat([numeric.double(), codes.double()], dim=1).cpu().numpy()


def _lightgbm() -> ModuleType:
    try:
        import lightgbm
    except ImportError as error:
        raise SetupError.of(
            "lightgbm",
            found="not installed",
            expected="the package that grows the trees",
            mend="pip install 'fairlightning[trees]'",
        ) from error
    return lightgbm
