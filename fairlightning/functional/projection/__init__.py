"""Projection onto the fair set: the nearest probabilities whose group rates lie within ε.

Minimise Σᵢ wᵢ·d(xᵢ, pᵢ) over x in [0, 1]ᴺ such that in every block of cells (the groups under one
condition) the largest rate exceeds the smallest by at most ε. Each rate is held within ±ε/2 of a
free centre μ, so that no two constraints say the same. For given shifts δ, one per cell, the best x
is known: clip(pᵢ − sᵢ) for the squared distance and σ(logit pᵢ − sᵢ) for the Kullback-Leibler
divergence, where sᵢ adds up the shifts of the cells of row i (`distances`). What remains is the
dual, with one unknown per cell and one per block however many rows there are; `newton` solves it,
and differentiating its equations gives the gradient (Amos and Kolter 2017, arXiv:1703.00443).

The solver runs in NumPy on the host, in float64, whatever the device of the rows: its steps depend
on each other and are tiny, so that the overhead of each operation is all that they cost.
"""

from fairlightning.functional.projection.distances import DISTANCES, Distance
from fairlightning.functional.projection.problem import Cells, parity_cells
from fairlightning.functional.projection.project import (
    Projection,
    fair_projection,
    projection_distance,
)

__all__ = [
    "DISTANCES",
    "Cells",
    "Distance",
    "Projection",
    "fair_projection",
    "parity_cells",
    "projection_distance",
]
