"""What every mixin shares: the `fairness` module and the one line in the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from fairlightning.exceptions import ArgumentError, SetupError
from fairlightning.functional.tasks import Task
from fairlightning.groups import GroupSpec
from fairlightning.objectives import Combination, Fairness, Objective, Step, Strength


class FairnessMixin:
    """Give a `LightningModule` a `fairness` module and `fair_loss`.

    Put it, or one of the mixins derived from it, to the left of `LightningModule`, and pass each
    mixin's own keyword to `super().__init__`. Works with `lightning` and `pytorch_lightning`; it
    overrides no hook.

    Args:
        groups: The sensitive attributes, as `GroupSpec` or mapping of names to categories.
        strength: Multiplies the λ of every objective; a sequence for models trained together.
        combination: How terms become one loss; a weighted sum if None.
        objectives: Further objectives by name.
        task: What is predicted: `binary`, `multiclass`, `ordinal` or `regression`; or a `Task`,
            which also names the classes or tells the mean and deviation of the target.

    Raises:
        SetupError: When a class lists it to the right of `LightningModule`.
        ArgumentError: If `groups` is missing.
    """

    fairness: Fairness

    def __init__(
        self,
        *args: Any,
        groups: GroupSpec | Mapping[str, Iterable[object]] | None = None,
        strength: Strength = 1.0,
        combination: Combination | None = None,
        objectives: Mapping[str, Objective] | None = None,
        task: Task | str = "binary",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if groups is None:
            raise ArgumentError.of(
                "groups",
                found="nothing",
                expected="the sensitive attributes and their categories",
                mend='super().__init__(groups={"sex": ["Female", "Male"]}, ...)',
            )
        self.fairness = Fairness(groups, strength=strength, combination=combination, task=task)
        for name, objective in (objectives or {}).items():
            self.fairness.add(name, objective)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        lightning = [i for i, c in enumerate(order) if c.__name__ == "LightningModule"]
        if lightning and lightning[0] < order.index(FairnessMixin):
            raise SetupError.of(
                f"class {cls.__name__}",
                found="LightningModule to the left of a fairness mixin",
                expected="the mixins first, since Lightning does not pass their arguments on",
                mend=f"class {cls.__name__}(..., LightningModule)",
            )

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes which hook runs some forty times a step. `nn.Module` would look each time
        # whether a string is a parameter, which is a sixteenth of a small training step.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def fair_loss(
        self,
        task_loss: Tensor,
        *,
        logits: Tensor,
        target: Tensor,
        sensitive: Tensor | None = None,
        representation: Tensor | None = None,
        parameters: Iterable[Tensor] | None = None,
        weight: Tensor | None = None,
        checked: bool = False,
        continuous: Tensor | None = None,
        inputs: Any = None,
        predict: Callable[[Any], Any] | None = None,
    ) -> Tensor:
        """Return the loss to train on: the task's and that of every objective.

        Call it in `training_step`, and in `validation_step` and `test_step` too if the
        `FairnessMonitor` is to watch these.

        Args:
            task_loss: The loss you had before: a scalar, or `(N,)` one value per row.
            logits: `(N,)` or `(N, 1)`, before the sigmoid; of several classes `(N, C)`, before the
                softmax; of a regression the predictions.
            target: `(N,)` labels in {0, 1} or from 0 to C − 1; amounts of a regression.
            sensitive: `(N, A)` category codes in the order of the groups, `-1` for unknown.
            representation: `(N, H)`, for objectives that look inside the network.
            parameters: The network's parameters, for penalties on the weights.
            weight: `(N,)` row weights, if rows are weighted.
            checked: Pass `batch.checked` of our data modules, whose rows were checked when the
                table was read; saves a few percent of a small training step.
            continuous: `(N, B)` values of the continuous attributes of the groups, minus their mean
                and divided by their standard deviation, both over the training rows; NaN for
                unknown.
            inputs: What the network read, for objectives of individual fairness.
            predict: From such inputs to logits, or to a tuple that begins with them: the network,
                for objectives that look at rows a second time. Pass a module or a method of one:
                the second look then uses the running statistics of BatchNorm.

        Returns:
            Scalar loss; `(K,)` of K models trained together, whose tensors have that leading axis.

        Raises:
            ArgumentError: On a wrong shape, type or range, or a field that an objective misses.
            SetupError: If `__init__` of the mixin never ran, or a Trainer trains constraints
                without the callback that moves their multipliers.
        """
        if not isinstance(self, nn.Module) or "fairness" not in self._modules:
            raise SetupError.of(
                f"{type(self).__name__}.fairness",
                found="nothing: the mixin's __init__ did not run",
                expected="super().__init__(groups=..., ...) in your __init__",
                mend="call super().__init__ and not LightningModule.__init__(self)",
            )
        if self.training and self.fairness.adaptive:
            self._check_driven()
        step = Step(
            logits=logits,
            target=target,
            sensitive=sensitive,
            representation=representation,
            parameters=None if parameters is None else tuple(parameters),
            row_weight=weight,
            checked=checked,
            continuous=continuous,
            inputs=inputs,
            predict=predict,
        )
        loss: Tensor = self.fairness(task_loss, step)
        return loss

    def _check_driven(self) -> None:
        trainer = getattr(self, "_trainer", None)
        callbacks = getattr(trainer, "callbacks", ())
        if trainer is None or any(getattr(c, "drives_multipliers", False) for c in callbacks):
            return
        # Lightning's search for a learning rate puts a callback of its own in place of all others.
        if any(type(c).__module__.endswith(".tuner.lr_finder") for c in callbacks):
            return
        raise SetupError.of(
            "callbacks",
            found=f"{', '.join(self.fairness.adaptive)}, and nothing that moves their multipliers",
            expected="fairlightning.callbacks.MultiplierUpdate",
            mend="Trainer(callbacks=[MultiplierUpdate(), ...])",
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for one optimizer: your network, and the objectives' private parts.

        An adversary learns faster than the network this way, while clipping, accumulation, mixed
        precision and schedulers of Lightning go on working.

        Args:
            learning_rate: The network's learning rate.

        Returns:
            `torch.optim.Adam(self.parameter_groups(1e-3))`
        """
        assert isinstance(self, nn.Module)
        private = {id(p) for p in self.fairness.parameters()}
        network = [p for p in self.parameters() if id(p) not in private]
        own = {"params": network, "lr": learning_rate, "name": "network"}
        return [own, *self.fairness.parameter_groups(learning_rate)]
