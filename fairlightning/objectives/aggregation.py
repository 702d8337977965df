"""Gradient aggregation: TorchJD weighs the terms by how their gradients agree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fairlightning.exceptions import (
    ArgumentError,
    FairnessWarning,
    MissingFieldError,
    SetupError,
    check_choice,
)
from fairlightning.objectives.base import Term
from fairlightning.objectives.combination import Combination
from fairlightning.objectives.distributed import same_on_all_ranks, sum_over_ranks, world_size

_SCALE_FREE = ("CAGrad", "DualProj", "UPGrad")
"""Aggregators to whose weights a factor of all gradients means nothing, though TorchJD compares
these with absolute thresholds, which therefore see gradients of norm 1 together."""


class GradientAggregation(Combination):
    """Weigh terms anew in every step by an aggregator of TorchJD: MGDA, UPGrad, CAGrad, ….

    The scaled losses `ℓ = (task · L_task, λ_1 value_1, …)` have gradients with respect to the
    network's parameters, the rows of a Jacobian J. The aggregator's weights `a(J)`, detached, make
    one loss Σ a_i ℓ_i whose gradient is the aggregation a(J)·J. So Lightning sees an ordinary loss:
    automatic optimisation, clipping (of the aggregated gradient), schedulers and mixed precision
    stay.
    On several ranks J, and so the weights, are those of the joined batch.

    What it costs: one backward pass per term beside the usual one; memory for J, terms times
    parameters, also in float64; on several ranks, a reduction of J. Under gradient accumulation
    weights are found for every batch by itself, so several small batches are not one large one.
    Float16 gradients that underflow do so in J too, which the gradient scaler does not reach: take
    bfloat16. State that an aggregator keeps between steps (NashMTL, GradVac, PCD, ExcessMTL) is not
    part of checkpoints. Measured times are in docs/multi_objective.md.

    λ fixes only the scale of an objective: UPGrad, MGDA and CAGrad depend on it, IMTLG hardly. A
    term of weight 0 is left out. In evaluation, and as the total that is shown, terms have equal
    weights: the plain sum of ℓ, which can be compared with a weighted sum's.

    Args:
        aggregator: Name of a class in `torchjd.aggregation` that weighs gradients.
        options: Its arguments; lists become tensors.
        task: Scale of the task loss, at least 0.

    Raises:
        SetupError: If TorchJD, or a solver that the aggregator needs, is not installed.
        ArgumentError: On unknown aggregators, those without weights (ConFIG, GradDrop,
            TrimmedMean), or options that the aggregator refuses.

    Warns:
        FairnessWarning: When an aggregator gives all terms a weight of 0, as CAGrad does where no
            direction improves both.
    """

    replaces_weights = True
    requires = ("parameters",)
    stackable = False

    def __init__(
        self,
        aggregator: str = "UPGrad",
        options: Mapping[str, Any] | None = None,
        task: float = 1.0,
    ) -> None:
        super().__init__(task)
        self.name = aggregator
        # Not registered: TorchJD makes buffers as it goes, which no fresh module could load.
        self._held = (_build(aggregator, options or {}),)

    @property
    def aggregator(self) -> Any:
        """TorchJD's aggregator."""
        return self._held[0]

    def minimised(
        self,
        total: Tensor,
        task_loss: Tensor,
        terms: Mapping[str, Term],
        weights: Mapping[str, Tensor],
        parameters: Sequence[Tensor] | None,
    ) -> Tensor:
        """In training, the scaled losses in the aggregator's weights.

        Raises:
            MissingFieldError: If there are no parameters to train.
        """
        if not self.training:
            return total
        scaled = [self.task * task_loss] if self.task else []
        scaled += [weights[k] * term.value for k, term in terms.items() if bool(weights[k] > 0)]
        if len(scaled) < 2:
            return total
        losses = torch.stack(scaled)
        with torch.autocast(losses.device.type, enabled=False):
            rows = sum_over_ranks(jacobian(scaled, parameters)) / world_size()
            share = same_on_all_ranks(self._weights(rows))
        return losses @ share.to(losses.dtype)

    def _weights(self, rows: Tensor) -> Tensor:
        tasks = getattr(self.aggregator, "n_tasks", len(rows))
        if tasks != len(rows):
            raise ArgumentError.of(
                f"{self.name} n_tasks",
                found=tasks,
                expected=f"{len(rows)}, the task and every objective whose λ is not 0",
                mend=f"pass options=dict(n_tasks={len(rows)})",
            )
        # Solvers do not take bfloat16, and in squares of float32 a small conflict is lost.
        rows = rows.double()
        if self.name in _SCALE_FREE:
            rows = rows / rows.norm().clamp_min(torch.finfo(rows.dtype).tiny)
        with torch.no_grad():
            weights: Tensor = self.aggregator.weighting(rows)
        if not weights.any():
            warnings.warn(
                f"{self.name} gives all terms a weight of 0, so this step does not train the "
                "network; if it goes on like this, pass another combination",
                FairnessWarning,
                stacklevel=2,
            )
        return weights


def jacobian(losses: Sequence[Tensor], parameters: Sequence[Tensor] | None) -> Tensor:
    """Gradients of scalar losses with respect to all parameters, as rows.

    Args:
        losses: M scalars; their graph is kept.
        parameters: Those that need no gradient are left out.

    Returns:
        `(M, P)`.

    Raises:
        MissingFieldError: If no parameter is left.
    """
    trained = [parameter for parameter in parameters or () if parameter.requires_grad]
    if not trained:
        raise MissingFieldError.of(
            "parameters",
            found="none that need a gradient",
            expected="the network's parameters, for gradient aggregation",
            mend="call fair_loss(..., parameters=tuple(self.network.parameters()))",
        )
    rows = [
        torch.autograd.grad(loss, trained, retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def _build(name: str, options: Mapping[str, Any]) -> Any:
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise _missing_extra(name, "TorchJD is not installed") from error
    classes = {k: v for k, v in vars(aggregation).items() if isinstance(v, type)}
    weighted, base = [], (aggregation.WeightedAggregator, aggregation.GramianWeightedAggregator)
    weighted = [k for k, v in classes.items() if issubclass(v, base) and v not in base]
    found = classes.get(name)
    if found and issubclass(found, aggregation.Aggregator) and name not in weighted:
        raise ArgumentError.of(
            "aggregator",
            found=f"{name}, which is no weighted sum of gradients",
            expected="one of " + ", ".join(weighted),
            mend="pass 'UPGrad'",
        )
    check_choice("aggregator", name, weighted)
    made = {k: torch.tensor(v) if isinstance(v, list | tuple) else v for k, v in options.items()}
    try:
        return classes[name](**{**_thresholds(name), **made})
    except ImportError as error:
        raise _missing_extra(name, str(error)) from error
    except (TypeError, ValueError) as error:
        raise ArgumentError.of(
            f"options of {name}",
            found=dict(options),
            expected="the arguments of that class in TorchJD",
            mend=f"see torchjd.aggregation.{name}: {error}",
        ) from error


def _thresholds(name: str) -> dict[str, Any]:
    """Options by which a term counts whose gradient is much smaller than the others'.

    TorchJD's own would not project a term that is 20 times smaller, and stop at one that is 10,000
    times smaller; λ at the beginning of a ramp makes such terms.
    """
    from torchjd.linalg import QuadprogProjector

    if name == "CAGrad":
        return {"norm_eps": 1e-6}  # its weights go to 1/norm, and cancel no further in float32
    return {"projector": QuadprogProjector(reg_eps=1e-11)} if name in _SCALE_FREE else {}


def _missing_extra(name: str, reason: str) -> SetupError:
    return SetupError.of(
        f"GradientAggregation({name!r})",
        found=reason,
        expected="TorchJD with its solvers",
        mend='pip install "fairlightning[aggregation]"',
    )
