"""A structural causal model of declared causes, through `dowhy.gcm`, and what it answers.

Every node is a function of its causes and of noise of its own: categories by cumulated class
probabilities and uniform noise, numbers by a regression and its residual. Abduction takes the noise
of each row from what was observed; a counterfactual keeps it and changes the attribute (Pearl 2009,
Causality, ch. 7). The effect along one path changes what is passed along that path alone, all other
inputs staying as observed (Pearl 2001; Avin, Shpitser & Pearl 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fairlightning.exceptions import SetupError

Array = npt.NDArray[Any]

_TREES: dict[str, Any] = {
    "max_iter": 60,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 40,
    "early_stopping": False,
    "random_state": 0,
}


def dowhy_gcm() -> Any:
    """The module `dowhy.gcm`, which takes seconds to import.

    Raises:
        SetupError: If it is not installed.
    """
    try:
        from dowhy import gcm
    except ImportError as error:
        raise SetupError.of(
            "dowhy",
            found=f"not to be imported ({error})",
            expected="the package that answers counterfactual queries",
            mend="pip install 'fairlightning[causal]', or pass counterfactuals=false",
        ) from error
    gcm.config.disable_progress_bars()
    return gcm


class _Learner:
    """A scikit-learn estimator on coded columns, with the methods that dowhy's mechanisms call.

    dowhy's own encoders, and a `ColumnTransformer`, take most of the time of the thousands of small
    predictions that effects along paths need.
    """

    def __init__(self, kinds: Sequence[bool], estimator: Any) -> None:
        self._kinds, self._estimator = kinds, estimator
        self._categories: list[pd.Index | None] = []

    def fit(self, X: Array, Y: Array) -> None:  # noqa: N803 - names that dowhy passes
        self._categories = [
            None if is_number else pd.Index(np.unique(X[:, column].astype(str)).tolist())
            for column, is_number in enumerate(self._kinds)
        ]
        self._estimator.fit(self._coded(X), Y.ravel())

    def predict(self, X: Array) -> Array:  # noqa: N803
        return np.asarray(self._estimator.predict(self._coded(X))).reshape(-1, 1)

    def predict_probabilities(self, X: Array) -> Array:  # noqa: N803
        return np.asarray(self._estimator.predict_proba(self._coded(X)))

    @property
    def classes(self) -> list[str]:
        return list(self._estimator.classes_)

    def clone(self) -> _Learner:
        return _Learner(self._kinds, clone(self._estimator))

    def _coded(self, values: Array) -> Array:
        """Numbers as they are, categories one-hot; a category that was not fitted is all zeros."""
        parts = []
        for column, categories in enumerate(self._categories):
            if categories is None:
                parts.append(values[:, column].astype(np.float64)[:, None])
            else:
                code = categories.get_indexer(pd.Index(values[:, column]))
                parts.append((code[:, None] == np.arange(len(categories))).astype(np.float64))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class CausalModel:
    """A fitted structural causal model.

    Attributes:
        graph: Causes; edges point to effects.
        numeric: Nodes that are numbers; all others are categories, kept as text.
        outcome: The label.
        positive: Value of the label that counts as 1.
        scm: dowhy's model.
    """

    graph: nx.DiGraph
    numeric: frozenset[str]
    outcome: str
    positive: str
    scm: Any

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        graph: nx.DiGraph,
        *,
        numeric: Sequence[str],
        outcome: str,
        positive: str,
    ) -> CausalModel:
        """Fit the mechanism of every node.

        Args:
            frame: Complete rows; nodes that are no numbers hold text.
            graph: Acyclic causes.
            numeric: Nodes that are numbers.
            outcome: The label, one of the nodes.
            positive: Value of the label that counts as 1.

        Raises:
            SetupError: If dowhy is not installed.
        """
        gcm = dowhy_gcm()
        # dowhy keeps mechanisms in the graph, so that models of one graph would share them.
        scm = gcm.StructuralCausalModel(nx.DiGraph(graph.edges))
        for node in graph:
            parents = _parents(graph, node)
            kinds = [parent in numeric for parent in parents]
            if not parents:
                mechanism = gcm.EmpiricalDistribution()
            elif node in numeric:
                mechanism = gcm.AdditiveNoiseModel(_learner(kinds, None))
            else:
                mechanism = gcm.ClassifierFCM(_learner(kinds, frame[node].nunique()))
            scm.set_causal_mechanism(node, mechanism)
        gcm.fit(scm, frame[list(graph)])
        return cls(graph, frozenset(numeric) & set(graph), outcome, positive, scm)

    def abduct(self, frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        """Noise under which the model gives the rows as they were observed.

        That of a category is known up to an interval, from which it is drawn.

        Args:
            frame: `(N, nodes)` rows.
            random: Source of the draws.

        Returns:
            `(N, nodes)` noise, as `dowhy.gcm.counterfactual_samples` takes it.
        """
        noise = {}
        for node in self.graph:
            values = frame[node].to_numpy()
            mechanism = self.scm.causal_mechanism(node)
            if not _parents(self.graph, node):
                noise[node] = values
            elif node in self.numeric:
                noise[node] = mechanism.estimate_noise(values, self._inputs(node, frame)).ravel()
            else:
                ends = np.cumsum(
                    mechanism.estimate_probabilities(self._inputs(node, frame)), axis=1
                )
                ends = np.column_stack([np.zeros(len(ends)), ends])
                code = np.searchsorted(mechanism.classifier_model.classes, values)
                low, high = ends[np.arange(len(code)), code], ends[np.arange(len(code)), code + 1]
                noise[node] = low + (high - low) * (1 - random.random(len(code)))
        return pd.DataFrame(noise, index=frame.index)

    def counterfactual(self, noise: pd.DataFrame, attribute: str, value: str) -> pd.DataFrame:
        """What the rows of this noise would have been under another value of an attribute."""
        gcm = dowhy_gcm()
        samples: pd.DataFrame = gcm.counterfactual_samples(
            self.scm, {attribute: lambda _: value}, noise_data=noise.reset_index(drop=True)
        )
        samples.index = noise.index
        return samples[list(self.graph)]

    def probability(self, frame: pd.DataFrame) -> Array:
        """`(N,)` probability of the positive label, given its causes in each row."""
        mechanism = self.scm.causal_mechanism(self.outcome)
        column = list(mechanism.classifier_model.classes).index(self.positive)
        inputs = self._inputs(self.outcome, frame)
        return np.asarray(mechanism.estimate_probabilities(inputs)[:, column])

    def along(
        self,
        routes: Sequence[Sequence[str]],
        frame: pd.DataFrame,
        noise: pd.DataFrame,
        value: str,
    ) -> Array:
        """Change of the probability of the positive label by what passes along single paths.

        Args:
            routes: Paths of nodes from the attribute to the outcome.
            frame: `(N, nodes)` observed rows.
            noise: Their noise.
            value: Value of the attribute along the path.

        Returns:
            `(len(routes), N)` differences in [-1, 1].
        """
        start: Array = np.full(len(frame), value, dtype=object)
        changed: dict[tuple[str, ...], Array] = {(path[0],): start for path in routes}
        for path in routes:
            for end in range(2, len(path)):
                before, node = path[end - 2 : end]
                if tuple(path[:end]) in changed:
                    continue  # shared with an earlier path
                inputs = self._inputs(
                    node, frame.assign(**{before: changed[tuple(path[: end - 1])]})
                )
                mechanism = self.scm.causal_mechanism(node)
                values = mechanism.evaluate(inputs, noise[node].to_numpy()).ravel()
                changed[tuple(path[:end])] = values
        observed = self.probability(frame)
        finals = (frame.assign(**{path[-2]: changed[tuple(path[:-1])]}) for path in routes)
        return np.stack([self.probability(final) - observed for final in finals])

    def _inputs(self, node: str, frame: pd.DataFrame) -> Array:
        return frame[_parents(self.graph, node)].to_numpy(dtype=object)


def paths(graph: nx.DiGraph, attribute: str, outcome: str, limit: int) -> list[list[str]]:
    """Directed paths, shortest first and then by name.

    Args:
        graph: Causes.
        attribute: Where they start.
        outcome: Where they end.
        limit: Most edges of a path.

    >>> paths(nx.DiGraph([("a", "m"), ("m", "y"), ("a", "y")]), "a", "y", 3)
    [['a', 'y'], ['a', 'm', 'y']]
    """
    if attribute not in graph or outcome not in graph:
        return []
    found = nx.all_simple_paths(graph, attribute, outcome, cutoff=limit)
    return sorted(found, key=lambda path: (len(path), path))


def _parents(graph: nx.DiGraph, node: str) -> list[str]:
    # In the order in which dowhy hands a node's inputs over.
    return sorted(graph.predecessors(node))


def _learner(kinds: Sequence[bool], classes: int | None) -> _Learner:
    """Boosted trees; for many classes, where these take seconds, a logistic regression.

    Args:
        kinds: Whether each input is a number.
        classes: Number of categories of the node; None for a number.
    """
    if classes is not None and classes > 2:
        model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-3, max_iter=200))
        return _Learner(kinds, model)
    trees = HistGradientBoostingRegressor if classes is None else HistGradientBoostingClassifier
    return _Learner(kinds, trees(**_TREES))
