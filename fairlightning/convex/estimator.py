"""The constrained linear model as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fairlightning.convex.constraints import LinearConstraint
from fairlightning.convex.linear import LinearBatch, LinearResult, fit_linear
from fairlightning.exceptions import ArgumentError
from fairlightning.groups import GroupSpec, as_labels


def _is_logistic(estimator: FairLinearClassifier) -> bool:
    return estimator.loss == "logistic"


class FairLinearClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression or linear SVM under fairness constraints, with a certificate.

    The constraints are about mean logits of groups on the training rows; prediction needs no
    sensitive attributes. scikit-learn's `C` corresponds to `l2 = 1 / (C * total)`, with the total
    of the row weights times those of their classes: the number of rows without any.

    Args:
        loss: `logistic`, `squared_hinge` or `hinge`.
        constraints: `LogitParity` and `LogitBounds`, or mappings of their arguments; none gives the
            plain model.
        groups: Categories of every sensitive attribute; None takes those in `sensitive`, sorted.
        l2: Weight ≥ 0 of ‖β‖²/2.
        l1: Weight ≥ 0 of ‖β‖₁.
        class_weight: None, `"balanced"` (by the row weights), or a mapping of classes to weights.
        tolerance: Relative duality gap at which to stop.
        max_passes: Most passes over the data.

    Attributes:
        classes_: `(2,)` classes, the negative one first.
        coef_: `(1, D)` coefficients.
        intercept_: `(1,)` intercept.
        result_: `LinearResult` with constraint values and certificate.
        groups_: `GroupSpec` of the sensitive attributes; None if they were not given.

    >>> x, y, sex = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 1, 0, 1], ["f", "f", "m", "m"]
    >>> model = FairLinearClassifier(constraints=[dict(epsilon_logit=0.5)])
    >>> model.fit(x, y, sensitive=sex).result_.constraints[0].name
    'demographic_parity/sensitive'
    """

    def __init__(
        self,
        loss: str = "logistic",
        *,
        constraints: Sequence[LinearConstraint | Mapping[str, Any]] = (),
        groups: Mapping[str, Iterable[object]] | None = None,
        l2: float = 1e-4,
        l1: float = 0.0,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        tolerance: float = 1e-8,
        max_passes: int = 200,
    ) -> None:
        self.loss = loss
        self.constraints = constraints
        self.groups = groups
        self.l2 = l2
        self.l1 = l1
        self.class_weight = class_weight
        self.tolerance = tolerance
        self.max_passes = max_passes

    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sensitive: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> FairLinearClassifier:
        """Fit the model; a `ConvergenceWarning` says so where it is not proved to be optimal.

        Args:
            X: `(N, D)` features.
            y: `(N,)` labels of two classes; the later in sorted order is the positive one.
            sensitive: A table with a column for each attribute, a mapping, or an array `(N,)` or
                `(N, A)`, whose attributes are named `sensitive` or `sensitive_0`, ...
            sample_weight: `(N,)` row weights ≥ 0.

        Raises:
            ArgumentError: See `fairlightning.convex.linear.fit_linear`.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64)
        x = np.require(x, requirements="W")  # torch takes no memory that is read-only
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) != 2:
            kind = type_of_target(labels, input_name="y")
            raise ArgumentError.of(
                "y",
                found=f"{len(self.classes_)} class{'es' * (len(self.classes_) != 1)} ({kind})",
                expected="2. Only binary classification is supported",
                mend="pass labels of two classes",
            )
        weight = None
        if sample_weight is not None:
            weight = torch.from_numpy(_check_sample_weight(sample_weight, x, dtype=np.float64))
        self.groups_, codes = self._codes(sensitive, len(x))
        batch = LinearBatch(
            torch.from_numpy(x), torch.from_numpy(labels == self.classes_[1]).long(), codes, weight
        )
        chosen = self._class_weight(labels, weight)
        self.result_: LinearResult = fit_linear(
            batch,
            groups=self.groups_,
            constraints=self.constraints,
            loss=self.loss,
            l2=self.l2,
            l1=self.l1,
            class_weight=chosen,
            tolerance=self.tolerance,
            max_passes=self.max_passes,
        )
        if self.result_.status != "optimal":
            warnings.warn(
                f"{self.result_.status} after {self.result_.passes} passes: the relative duality "
                f"gap is {self.result_.relative_gap:.1e}, above the tolerance of "
                f"{self.tolerance:g}. Mend: scale the features to unit variance, or raise "
                "max_passes or tolerance.",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.coef_ = self.result_.coefficients[None]
        self.intercept_ = np.array([self.result_.intercept])
        return self

    def _codes(self, sensitive: Any, rows: int) -> tuple[GroupSpec | None, torch.Tensor | None]:
        if sensitive is None:
            return None, None
        table = _table(sensitive)
        if len(table) != rows:
            raise ArgumentError.of(
                "sensitive",
                found=f"{len(table)} rows",
                expected=f"{rows}, as X has",
                mend="pass the attributes of the same rows",
            )
        groups = self.groups or {
            name: sorted(as_labels(table[name]).dropna().unique()) for name in table.columns
        }
        spec = GroupSpec(groups)
        return spec, spec.encode(table)

    def _class_weight(
        self, labels: NDArray[Any], weight: torch.Tensor | None
    ) -> tuple[float, float]:
        given = self.class_weight
        if given is None:
            return 1.0, 1.0
        if given == "balanced" and weight is not None:
            mass = np.bincount(labels == self.classes_[1], weight.numpy(), minlength=2)
            found = mass.sum() / np.maximum(2 * mass, np.finfo(float).tiny)
        else:
            found = compute_class_weight(
                given if isinstance(given, str) else dict(given), classes=self.classes_, y=labels
            )
        return float(found[0]), float(found[1])

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Logits `(N,)`."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        logits: NDArray[np.float64] = x @ self.coef_[0] + self.intercept_[0]
        return logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Classes `(N,)`: the positive one where the logit is above 0."""
        positive = self.decision_function(X) > 0
        predicted: NDArray[Any] = self.classes_[positive.astype(int)]
        return predicted

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities `(N, 2)` of the classes; of logistic regression only."""
        positive = torch.sigmoid(torch.from_numpy(self.decision_function(X))).numpy()
        return np.stack([1 - positive, positive], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _table(sensitive: Any) -> pd.DataFrame:
    if isinstance(sensitive, pd.DataFrame):
        return sensitive.rename(columns=str).reset_index(drop=True)
    if isinstance(sensitive, pd.Series):
        return (
            sensitive.rename(str(sensitive.name or "sensitive")).reset_index(drop=True).to_frame()
        )
    if isinstance(sensitive, Mapping):
        return pd.DataFrame({str(name): list(values) for name, values in sensitive.items()})
    values = np.asarray(sensitive)
    if values.ndim == 1:
        return pd.DataFrame({"sensitive": values})
    return pd.DataFrame({f"sensitive_{axis}": column for axis, column in enumerate(values.T)})
