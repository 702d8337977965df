"""The probe: what a fresh classifier recovers of the sensitive attributes from a frozen network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.groups import GroupSpec
from fairlightning.metrics.recovery import Ints, Recovery, balanced_accuracy, label_alone

COMPONENTS = 300
"""Most rows on which the kernel's features rest."""


def _kernel(rows: int, seed: int) -> Any:
    components = min(COMPONENTS, max(2, rows // 2))
    features = Nystroem(n_components=components, random_state=seed)
    return make_pipeline(StandardScaler(), features, _linear(rows, seed))


def _linear(rows: int, seed: int) -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500)
    )


def _trees(rows: int, seed: int) -> Any:
    return HistGradientBoostingClassifier(class_weight="balanced", random_state=seed)


CLASSIFIERS: dict[str, Callable[[int, int], Any]] = {
    "kernel": _kernel,
    "linear": _linear,
    "trees": _trees,
}
"""Makers of probes, from the number of rows and a seed."""


def probe(
    sources: Mapping[str, Tensor],
    target: Tensor,
    sensitive: Tensor,
    groups: GroupSpec,
    *,
    attributes: Sequence[str] | None = None,
    classifier: str = "kernel",
    folds: int = 5,
    seed: int = 0,
) -> list[Recovery]:
    """Let a fresh classifier guess the sensitive attributes from what a frozen network computes.

    An adversary that was fooled in training proves little: it may have been slow (Elazar &
    Goldberg 2018, EMNLP). So a classifier that the network has never met is trained on rows that
    the network has not seen either: every row is guessed by a classifier that was trained on the
    other folds. Groups weigh the same, however large, so that a blind guess reaches 1 / groups.

    Args:
        sources: By name what is guessed from, `(N, H)` of held-out rows: `representation`,
            `logits`.
        target: `(N,)` labels, for the level that the label alone reaches.
        sensitive: `(N, A)` codes; rows of unknown group take no part.
        groups: The sensitive attributes.
        attributes: Those to guess; all if None.
        classifier: `kernel`, logistic regression on features of a Gaussian kernel (Nyström);
            `linear`, logistic regression; `trees`, boosted trees.
        folds: Number of folds, at least 2; groups of fewer rows take no part.
        seed: Of folds and classifier.

    Returns:
        What was recovered, for each attribute from each source. The intervals take the guesses of
        different rows for independent, which those of one fold are not quite.

    Raises:
        ArgumentError: On an unknown classifier or attribute, or folds out of range.
    """
    make = CLASSIFIERS[check_choice("classifier", classifier, CLASSIFIERS)]
    if folds < 2:
        raise ArgumentError.of("folds", found=folds, expected="at least 2", mend="pass folds=5")
    names = groups.names if attributes is None else tuple(attributes)
    label = target.cpu().numpy()
    found = []
    for name, axis in zip(names, groups.axes(names), strict=True):
        truth = sensitive[:, axis].cpu().numpy()
        sizes = {g: int((truth == g).sum()) for g in range(groups.sizes[axis])}
        inside = np.array([g for g, rows in sizes.items() if rows >= folds], dtype=np.int64)
        left_out = {groups.categories[axis][g]: n for g, n in sizes.items() if 0 < n < folds}
        if unknown := int((truth < 0).sum()):
            left_out["unknown"] = unknown
        part = np.isin(truth, inside)
        facts = (name, truth[part], label[part], inside, left_out)
        for source, values in sources.items():
            features = values.detach().cpu().double().flatten(1).numpy()[part]
            cross = StratifiedKFold(folds, shuffle=True, random_state=seed)
            found.append(_recover(source, features, *facts, make, cross, seed))
    return found


def _recover(
    source: str,
    features: np.ndarray[Any, Any],
    attribute: str,
    truth: Ints,
    label: Ints,
    inside: Ints,
    left_out: dict[str, int],
    make: Callable[[int, int], Any],
    cross: StratifiedKFold,
    seed: int,
) -> Recovery:
    if len(inside) < 2:
        return Recovery(attribute, source, None, None, None, 1.0, 1.0, len(truth), left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundredth of a point either way
        guess = cross_val_predict(make(len(truth), seed), features, truth, cv=cross)
    figures = balanced_accuracy(guess, truth, inside)
    alone = label_alone(truth, label, inside)
    return Recovery(attribute, source, *figures, 1 / len(inside), alone, len(truth), left_out)
