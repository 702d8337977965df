"""Embeddings of numeric columns: each number becomes a vector before the network sees it.

From Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
learning" (NeurIPS 2022); the layers are those of `rtdl_num_embeddings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from rtdl_num_embeddings import PeriodicEmbeddings, PiecewiseLinearEmbeddings
from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, SetupError, check_choice

Embedding = str | Mapping[str, Any]
"""The name of an embedding, or a mapping of `kind` to its name and of options to their values."""


class PiecewiseLinear(nn.Module):
    """A vector for each number, linear between the edges of bins that hold equally many rows.

    The edges are quantiles of the training rows, so `prepare` has to see these first. They are
    buffers: a `state_dict` brings them along. At initialisation the embedding is linear; what bends
    it at the edges is learned (version "B" of the library, that of TabM).

    Args:
        numeric: Number of numeric columns `D` ≥ 1.
        width: Features `E` ≥ 1 of each column's vector.
        bins: Number of bins ≥ 2 of each column. Where a column has fewer distinct quantiles, its
            most frequent other values become edges too; where it has fewer distinct values, the
            widest bins are split into equal parts.

    Raises:
        ArgumentError: If a number is out of range.
        SetupError: In `forward`, if the edges are not known yet.

    Shapes: `(N, D)` → `(N, D, E)`.

    >>> embedding = PiecewiseLinear(2, width=3, bins=4)
    >>> columns = torch.tensor([[0.0, 1.0], [1.0, 1.0], [5.0, 1.0]])
    >>> embedding.prepare((columns, torch.empty(3, 0)))
    >>> embedding(columns).shape
    torch.Size([3, 2, 3])
    """

    def __init__(self, numeric: int, width: int = 16, bins: int = 48) -> None:
        super().__init__()
        _check_at_least("numeric, width, bins", (numeric, width, bins), (1, 1, 2))
        self.numeric = numeric
        self.width = width
        self.bins = bins
        # Shapes do not depend on the data, so that a state_dict fits whatever it was made from.
        self.layer = _piecewise([np.linspace(-1.0, 1.0, bins + 1)] * numeric, width)
        self._ready = False

    def prepare(self, inputs: tuple[Tensor, Tensor]) -> None:
        """Take the edges from the numeric columns of the training rows `(N, D)`, N ≥ 1.

        Raises:
            ArgumentError: If their number is another, or one of their values is no number.
        """
        columns = inputs[0].detach().cpu().double().numpy()
        if columns.shape[1:] != (self.numeric,) or not len(columns) or np.isnan(columns).any():
            raise ArgumentError.of(
                "inputs",
                found=f"numeric columns of shape {columns.shape}, "
                f"{int(np.isnan(columns).sum())} values missing",
                expected=f"rows of {self.numeric} numbers",
                mend="pass data.batch('train').inputs",
            )
        fresh = _piecewise([_edges(column, self.bins) for column in columns.T], width=1)
        self.layer.impl.load_state_dict(fresh.impl.state_dict())
        self._ready = True

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._ready = self._ready or f"{prefix}layer.impl.weight" in state_dict

    def forward(self, numeric: Tensor) -> Tensor:
        """Embed the numeric columns of a batch."""
        if not self._ready:
            raise SetupError.of(
                "embedding",
                found="piecewise_linear without edges of its bins",
                expected="quantiles of the training rows",
                mend="call fairlightning.models.prepare(network, data.batch('train').inputs)",
            )
        embedded: Tensor = self.layer(numeric)
        return embedded


class Periodic(nn.Module):
    """A vector for each number: a linear layer on sines and cosines of learned frequencies.

    Args:
        numeric: Number of numeric columns `D` ≥ 1.
        width: Features `E` ≥ 1 of each column's vector.
        frequencies: Number of frequencies ≥ 1 of each column.
        scale: Standard deviation > 0 of the first frequencies, in periods per unit of a
            standardised column. Worth tuning, between 0.01 (nearly linear) and 1.

    Raises:
        ArgumentError: If a number is out of range.

    Shapes: `(N, D)` → `(N, D, E)`.

    >>> Periodic(2, width=3)(torch.zeros(5, 2)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(
        self, numeric: int, width: int = 16, frequencies: int = 48, scale: float = 0.3
    ) -> None:
        super().__init__()
        _check_at_least("numeric, width, frequencies", (numeric, width, frequencies), (1, 1, 1))
        if not scale > 0:
            raise ArgumentError.of(
                "scale", found=scale, expected="a number > 0", mend="pass scale=0.3"
            )
        self.width = width
        self.layer = PeriodicEmbeddings(
            numeric, width, n_frequencies=frequencies, frequency_init_scale=scale, lite=False
        )

    def forward(self, numeric: Tensor) -> Tensor:
        """Embed the numeric columns of a batch."""
        embedded: Tensor = self.layer(numeric)
        return embedded


EMBEDDINGS: dict[str, type[PiecewiseLinear | Periodic]] = {
    "piecewise_linear": PiecewiseLinear,
    "periodic": Periodic,
}


def make_embedding(embedding: Embedding, numeric: int) -> PiecewiseLinear | Periodic | None:
    """Make the embedding that an argument of a network names.

    Args:
        embedding: `none`, `piecewise_linear` or `periodic`; or a mapping with the name as `kind`,
            and options: `{"kind": "periodic", "scale": 0.3}`.
        numeric: Number of numeric columns.

    Returns:
        The module, or None if there is nothing to embed.

    Raises:
        ArgumentError: If the name or an option is unknown.
    """
    options = {"kind": embedding} if isinstance(embedding, str) else dict(embedding)
    kind = check_choice("embedding", options.pop("kind", ""), ["none", *EMBEDDINGS])
    if kind == "none" and options:
        raise ArgumentError.of(
            "embedding",
            found=f"options {', '.join(options)} of no embedding",
            expected="none alone",
            mend="name an embedding as kind",
        )
    if kind == "none" or not numeric:
        return None
    made = EMBEDDINGS[kind]
    try:
        return made(numeric, **options)
    except TypeError as error:
        raise ArgumentError.of(
            "embedding",
            found=f"{kind} with {options}",
            expected="its options, each with a number",
            mend=f"see fairlightning.models.{made.__name__} ({error})",
        ) from error


def prepare(network: nn.Module, inputs: Any) -> None:
    """Let the parts of a network that depend on the data, if any, see the training rows.

    Call it once before training. A network that is loaded from a `state_dict` needs it not.

    Args:
        network: Any module. Each of its parts with a method `prepare` gets the inputs.
        inputs: What the network maps, for all training rows: `data.batch("train").inputs`.
    """
    for part in network.modules():
        method = getattr(part, "prepare", None)
        if callable(method):
            method(inputs)


def _piecewise(edges: list[np.ndarray[Any, Any]], width: int) -> PiecewiseLinearEmbeddings:
    # On the CPU at first: the library looks at values, which the meta device has not.
    with torch.device("cpu"):
        tensors = [torch.tensor(edge, dtype=torch.float32) for edge in edges]
        layer = PiecewiseLinearEmbeddings(tensors, width, activation=False, version="B")
    return layer.to(torch.get_default_device())


def _edges(column: np.ndarray[Any, Any], bins: int) -> np.ndarray[Any, Any]:
    """Return `bins + 1` increasing edges for `(N,)` numbers."""
    quantiles = np.quantile(column, np.linspace(0, 1, bins + 1)).astype(np.float32)
    edges = np.unique(quantiles)
    # Quantiles coincide where one value fills several bins (a column that is mostly 0). Bins that
    # this leaves over go to values that many rows share: what they mean is known best.
    values, rows = np.unique(column.astype(np.float32), return_counts=True)
    new = ~np.isin(values, edges)
    frequent = values[new][np.argsort(-rows[new], kind="stable")]
    edges = np.union1d(edges, frequent[: bins + 1 - len(edges)]).astype(np.float64)
    if len(edges) == 1:  # a constant column
        edges = edges[0] + np.array([-0.5, 0.5])
    widths = np.diff(edges)
    parts = np.ones(len(widths), dtype=int)
    for _ in range(bins - len(widths)):
        parts[np.argmax(widths / parts)] += 1
    inner = [
        np.linspace(left, right, n, endpoint=False)
        for left, right, n in zip(edges[:-1], edges[1:], parts, strict=True)
    ]
    return np.concatenate([*inner, edges[-1:]])


def _check_at_least(names: str, values: tuple[int, ...], least: tuple[int, ...]) -> None:
    if any(value < low for value, low in zip(values, least, strict=True)):
        raise ArgumentError.of(
            names,
            found=", ".join(map(str, values)),
            expected="at least " + ", ".join(map(str, least)),
            mend="pass larger numbers",
        )
