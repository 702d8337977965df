"""What projecting a batch onto the fair set costs: Newton on the dual against cvxpylayers.

Demographic parity with ε = 0.05, forward and backward, one CPU thread. cvxpylayers gets the program
that is cheapest for it: groups compiled in as constants, a free centre for the mean, tolerances and
gradients as it has them by default. Variants take turns; the figures are medians, the lowest and
the highest. Values and gradients are compared at N = 256, where cvxpylayers gets tight tolerances
and the precise `mode="lsmr"` for gradients, to serve as an oracle.

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

from fairlightning.functional.projection import Cells, fair_projection

EPSILON = 0.05
ROWS, GROUPS = (256, 1024), (2, 6)
SOLVERS = {"SCS": {"solve_method": "SCS"}, "Clarabel": {"solve_method": "Clarabel"}}
TIGHT = {
    "solve_method": "Clarabel",
    "tol_gap_abs": 1e-10,
    "tol_gap_rel": 1e-10,
    "tol_feas": 1e-10,
    "mode": "lsmr",
}

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    speedups, errors, gradient_errors = [], [], []
    print(f"forward + backward in ms, {turns} turns: median (lowest to highest)")
    for rows in ROWS:
        for groups in GROUPS:
            p, cells, direction = batch(rows, groups)
            program = layer(cells)

            def newton(p: Tensor, cells: Cells = cells) -> Tensor:
                return fair_projection(p, cells, EPSILON).value

            variants: dict[str, Project] = {"Newton": newton}
            for name, args in SOLVERS.items():
                variants[name] = lambda p, args=args, program=program: program(p, solver_args=args)[
                    0
                ]
            times: dict[str, list[float]] = {name: [] for name in variants}
            for turn in range(turns + 1):
                row = {name: run(f, p, direction)[0] for name, f in variants.items()}
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
            print(
                f"  N={rows:5} G={groups}  {faster} / Newton = {median(ratios):.0f} "
                f"({min(ratios):.0f} to {max(ratios):.0f})"
            )
            if rows == 1024:
                speedups.append(median(ratios))
            else:
                _, value, grad = run(newton, p, direction)
                _, exact, exact_grad = run(
                    lambda p, program=program: program(p, solver_args=TIGHT)[0], p, direction
                )
                errors.append((value - exact).abs().max().item())
                gradient_errors.append((grad - exact_grad).abs().max().item())
    figures = {
        "speedup_vs_cvxpylayers": round(min(speedups), 1),
        "max_abs_error": float(f"{max(errors):.1e}"),
        "max_gradient_error": float(f"{max(gradient_errors):.1e}"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
