"""The ready-made LightningModule: any network that gives logits and a representation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.tasks import Task, check_network, predicted_scores, row_losses
from fairlightning.groups import GroupSpec
from fairlightning.mixins import FairnessMixin
from fairlightning.objectives import Combination, Objective, Strength


class FairModule(FairnessMixin, L.LightningModule):
    """Classifier or regression with fairness in its loss.

    The task loss is cross-entropy; of a regression the squared or Huber loss of the error in
    deviations of the target.

    Batches have the fields `inputs`, `target`, `sensitive` and `weight` (None where rows are not
    weighted), and `continuous` where there are such attributes, as those of `fairlightning.data`
    do. Predictions need `inputs` only, and `network`
    alone is the model to export: it carries no adversary.

    Args:
        network: Maps `inputs` to `(logits, representation)` of shapes `(N, C)` and `(N, H)`. An
            ensemble adds the logits `(N, M)` of its members, on which the task is trained, each
            by itself; everything else sees the ensemble.
        groups: The sensitive attributes.
        objectives: Objectives by name; none gives the plain model.
        strength: Multiplies the λ of every objective.
        combination: How terms become one loss; a weighted sum if None.
        learning_rate: Learning rate of the network; objectives with private parameters have theirs
            relative to it.
        optimizer: Makes the one optimizer from parameter groups, each with its own `lr`.
        scheduler: Makes a learning rate scheduler, stepped once per optimizer step, from the
            optimizer and the total number of steps.
        task: What is predicted, as `Task` or the name of its kind.
        huber: Of a regression: error in deviations from which on the loss grows linearly; None for
            the squared error.

    Raises:
        ArgumentError: If network or an objective is for another task, or `huber` is not above 0.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: GroupSpec | Mapping[str, Any],
        *,
        objectives: Mapping[str, Objective] | None = None,
        strength: Strength = 1.0,
        combination: Combination | None = None,
        learning_rate: float = 1e-3,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] = torch.optim.AdamW,
        scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
        task: Task | str = "binary",
        huber: float | None = None,
    ) -> None:
        super().__init__(
            groups=groups,
            objectives=objectives,
            strength=strength,
            combination=combination,
            task=task,
        )
        check_network(type(network), self.fairness.task.kind)
        if huber is not None and not huber > 0:
            raise ArgumentError.of("huber", found=huber, expected="above 0", mend="pass huber=1.0")
        self.huber = huber
        self.network = network
        self.learning_rate = learning_rate
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._needs_parameters = "parameters" in self.fairness.requires

    def forward(self, inputs: Any) -> Tensor:
        """Logits or predictions `(N, C)`."""
        logits: Tensor = self.network(inputs)[0]
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of a batch, observed by the monitor."""
        return self._loss(batch)

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of a batch, observed by the monitor."""
        return self._loss(batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probability of the positive class, `(N,)` float64, as the metrics take it.

        Of several classes the probabilities `(N, C)` of each, of a regression predictions `(N,)`.
        """
        return predicted_scores(self(batch.inputs), self.fairness.task.kind)

    def _loss(self, batch: Any) -> Tensor:
        logits, representation, *members = self.network(batch.inputs)
        scores = members[0] if members and self.training else logits
        return self.fair_loss(
            self._task_loss(scores, batch.target, batch.weight),
            logits=logits,
            target=batch.target,
            sensitive=batch.sensitive,
            representation=representation,
            parameters=self._penalised() if self._needs_parameters else None,
            weight=batch.weight,
            checked=getattr(batch, "checked", False),
            continuous=getattr(batch, "continuous", None),
            inputs=batch.inputs,
            predict=self.network,
        )

    def _penalised(self) -> tuple[Tensor, ...]:
        """Parameters that penalties on the weights see."""
        return tuple(self.network.parameters())

    def _task_loss(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Loss of `(N, M)` logits: scalar, or `(N,)` where rows are weighted."""
        task = self.fairness.task
        if task.kind == "regression":
            logits, target = task.standardised(logits), task.standardised(target)
        losses = row_losses(logits, target, task.kind, huber=self.huber)
        return losses.mean() if weight is None else losses

    def configure_optimizers(self) -> Any:
        """One optimizer with a parameter group for the network and one for each private part.

        Raises:
            SetupError: If there is a scheduler, and the training has no known end.
        """
        optimizer = self._make_optimizer(self.parameter_groups(self.learning_rate))
        if self._make_scheduler is None:
            return optimizer
        # Without a batch Lightning does not look at the loader, and counts -1 steps.
        steps = self.trainer.limit_train_batches and self.trainer.estimated_stepping_batches
        if not 0 <= steps < inf:
            raise SetupError.of(
                "scheduler",
                found="a training without known end",
                expected="a known number of optimizer steps",
                mend="set max_steps of the Trainer, or make the module without a scheduler",
            )
        scheduler = self._make_scheduler(optimizer, int(steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each parameter group by itself.

        One norm over all of them would let a steep adversary shrink the network's step.

        Raises:
            SetupError: If the optimizer takes gradients as float16 training has scaled them.
        """
        if not gradient_clip_val:
            return
        fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        if fused and getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise SetupError.of(
                "gradient_clip_val",
                found=f"{gradient_clip_val} with a fused {type(optimizer).__name__} in float16",
                expected="gradients without the scale of mixed precision, which fused optimizers "
                "take off themselves, after clipping",
                mend="make the optimizer with fused=False, or train with precision='bf16-mixed'",
            )
        for group in optimizer.param_groups:
            if gradient_clip_algorithm == "value":
                nn.utils.clip_grad_value_(group["params"], gradient_clip_val)
            else:
                nn.utils.clip_grad_norm_(group["params"], gradient_clip_val)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each row, the mean over its logits.

    Shapes: `(..., N, M)` and `(N,)` → `(..., N)`.

    >>> cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]))
    tensor([0.6931, 0.6931])
    """
    return row_losses(logits, target, "binary")
