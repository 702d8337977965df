"""What projecting a batch onto the fair set costs: Newton on the dual against cvxpylayers.

Demographic parity with ε = 0.05, forward and backward, one CPU thread. cvxpylayers gets the program
that is cheapest for it: groups compiled in as constants, a free centre for the mean, tolerances and
gradients as it has them by default. Variants take turns; the figures are medians, the lowest and
the highest. At N = 256 values and gradients are compared for both distances with `ConeProjection`,
which asks cvxpylayers for tight tolerances and the precise `mode="lsmr"` for gradients; what its
default mode gives is shown beside it.

    python benchmarks/projection.py [--turns 15]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from statistics import median

import cvxpy as cp
import torch
from cvxpylayers.torch import CvxpyLayer
from torch import Tensor

from fairlightning.convex.cone import SOLVER_ARGS, ConeProjection
from fairlightning.functional.projection import DISTANCES, Cells, fair_projection

EPSILON = 0.05
ROWS, GROUPS, MANY = (256, 1024), (2, 6), 65_536
SOLVERS = ("SCS", "Clarabel")

Project = Callable[[Tensor], Tensor]


def batch(rows: int, groups: int) -> tuple[Tensor, Cells, Tensor]:
    random = torch.Generator().manual_seed(rows + groups)
    group = torch.randint(0, groups, (rows,), generator=random)
    noise = torch.randn(rows, generator=random, dtype=torch.float64)
    direction = torch.randn(rows, generator=random, dtype=torch.float64)
    p = torch.sigmoid(1.5 * noise + 1.2 * group / (groups - 1))
    return p, Cells(group[None], (groups,)), direction


def layer(cells: Cells) -> CvxpyLayer:
    rows, groups = cells.ids.shape[1], cells.blocks[0]
    member = (cells.ids == torch.arange(groups)[:, None]).double()
    mean = (member / member.sum(1, keepdim=True)).numpy()
    x, centre, p = cp.Variable(rows), cp.Variable(), cp.Parameter(rows)
    offset = mean @ x - centre
    within = [offset <= EPSILON / 2, -offset <= EPSILON / 2, x >= 0, x <= 1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), within)
    return CvxpyLayer(problem, parameters=[p], variables=[x])


def run(project: Project, p: Tensor, direction: Tensor) -> tuple[float, Tensor, Tensor]:
    """Milliseconds forward and backward, value and gradient."""
    p = p.clone().requires_grad_()
    start = time.perf_counter()
    value = project(p)
    (value * direction).sum().backward()
    taken = 1e3 * (time.perf_counter() - start)
    assert p.grad is not None
    return taken, value.detach(), p.grad


def measure(rows: int, groups: int, turns: int) -> float:
    """Print times in ms; how many times faster Newton is than the faster cone solver."""
    p, cells, direction = batch(rows, groups)
    program = layer(cells)

    def newton(p: Tensor) -> Tensor:
        return fair_projection(p, cells, EPSILON).value

    def cone(solver: str) -> Project:
        return lambda p: program(p, solver_args={"solve_method": solver})[0]

    variants = {"Newton": newton} | {solver: cone(solver) for solver in SOLVERS}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(turns + 1):
        row = {solver: run(variants[solver], p, direction)[0] for solver in SOLVERS}
        # In the time of one solve of the others ten of these can be measured.
        row["Newton"] = median(run(newton, p, direction)[0] for _ in range(10))
        if turn:  # the first warms up
            for name, value in row.items():
                times[name].append(value)
    for name, values in times.items():
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"  N={rows:5} G={groups}  {name:9}{median(values):8.2f}  {spread}")
    faster = min(SOLVERS, key=lambda name: median(times[name]))
    ratios = [a / b for a, b in zip(times[faster], times["Newton"], strict=True)]
    spread = f"({min(ratios):.0f} to {max(ratios):.0f})"
    print(f"  N={rows:5} G={groups}  {faster} / Newton = {median(ratios):.0f} {spread}")
    return median(ratios)


def compare(groups: int) -> tuple[float, float]:
    """Largest difference from cvxpylayers in value and in gradient at N = 256."""
    p, cells, direction = batch(256, groups)
    errors, gradient_errors = [], []
    for distance in DISTANCES:
        default = {k: v for k, v in SOLVER_ARGS[distance].items() if k != "mode"}
        (_, value, grad), (_, exact, exact_grad), (_, _, default_grad) = (
            run(project, p, direction)
            for project in (
                lambda p, d=distance: fair_projection(p, cells, EPSILON, distance=d).value,
                lambda p, d=distance: ConeProjection(distance=d)(p, cells, EPSILON).value,
                lambda p, d=distance, args=default: (
                    ConeProjection(distance=d, solver_args=args)(p, cells, EPSILON).value
                ),
            )
        )
        errors.append((value - exact).abs().max().item())
        gradient_errors.append((grad - exact_grad).abs().max().item())
        by_default = (default_grad - grad).abs().max().item()
        print(
            f"  N=  256 G={groups}  {distance:8} largest difference: value {errors[-1]:.1e}, "
            f"gradient {gradient_errors[-1]:.1e}, gradient of the default mode {by_default:.1e}"
        )
    return max(errors), max(gradient_errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"forward + backward in ms, {turns} turns: median (lowest to highest)")
    ratios = {(n, g): measure(n, g, turns) for n in ROWS for g in GROUPS}
    p, cells, direction = batch(MANY, 6)
    many = [
        run(lambda p: fair_projection(p, cells, EPSILON).value, p, direction)[0]
        for _ in range(turns + 1)
    ][1:]
    print(f"  N={MANY} G=6  Newton {median(many):.2f}  ({min(many):.2f} to {max(many):.2f})")
    errors = [compare(groups) for groups in GROUPS]
    figures = {
        "speedup_vs_cvxpylayers": round(min(ratios[1024, g] for g in GROUPS), 1),
        "max_abs_error": float(f"{max(value for value, _ in errors):.1e}"),
        "max_gradient_error": float(f"{max(grad for _, grad in errors):.1e}"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
