"""Nobody's score hangs on the sensitive attribute itself: flip consistency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError, SetupError, check_choice
from fairlightning.functional.columns import Columns
from fairlightning.functional.similarity import total_variation
from fairlightning.groups import GroupSpec
from fairlightning.objectives.base import Step
from fairlightning.objectives.rows import RowPenalty, first_look, second_look, turns

Proxies: TypeAlias = Mapping[str, Mapping[object, Mapping[str, Mapping[object, object]]]]
Flip: TypeAlias = Callable[[Any, str, Tensor], Any]


class CounterfactualPenalty(RowPenalty):
    """Penalise the change of the score when a sensitive attribute takes another value.

    The network is run a second time on the same rows, with the attribute flipped where the network
    sees it, and with declared proxies flipped along: counterfactual token fairness (Garg et al.
    2019, arXiv:1809.10610) for tables. The value is the mean, over rows and over the other values
    of the attribute, of |Δp|; with two values that is `mean_score_changes` of
    `functional.individual`, which the metric `CounterfactualFlips` counts. Whatever depends on
    the attribute and is not declared stays as it is (Kusner et al. 2017, arXiv:1703.06856).

    In training each row takes one of the other values, in turn from one that is drawn; in
    evaluation all. Dropout makes the two looks differ by itself, which is penalised too.

    Args:
        groups: The sensitive attributes. Rows in which one is unknown take no part in its flips.
        attributes: Attributes to flip; all if None.
        proxies: By attribute and value, how categorical columns are recoded in rows that take this
            value: `{"sex": {"Male": {"relationship": {"Wife": "Husband"}}}}`.
        flip: For inputs of another form: makes of inputs, the name of an attribute and `(N,)`
            codes the inputs in which the rows have these values. Of `proxies` nothing is then used.
        weight: Share in λ.

    Raises:
        ArgumentError: In `prepare`, if the network sees neither an attribute nor a proxy of it, or
            a column or value does not exist.
        SetupError: In `sums`, if it knows no flips yet.

    Shapes: logits `(..., N, C)`, sensitive `(N, A)`; the value is `(...)` in [0, 1].
    """

    requires = ("logits", "sensitive", "inputs", "predict")
    _recoded: Tensor | None

    def __init__(
        self,
        groups: GroupSpec,
        *,
        attributes: Sequence[str] | None = None,
        proxies: Proxies | None = None,
        flip: Flip | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(groups, weight=weight, attributes=attributes)
        self.parts = self.attributes
        self.proxies = dict(proxies or {})
        for name in self.proxies:
            check_choice("proxies", name, groups.names)
        if flip is not None and self.proxies:
            raise ArgumentError.of(
                "flip, proxies",
                found="both",
                expected="one: a function flips whatever it flips",
                mend="let the function flip the proxies",
            )
        self.flip = flip
        self._axes = groups.axes(self.attributes)
        self.register_buffer("_recoded", None, persistent=False)

    def prepare(self, train: Step, columns: Columns | None = None) -> None:
        """Find the columns that are flipped."""
        if self.flip is not None:
            return
        if columns is None:
            raise ArgumentError.of(
                "columns",
                found="none",
                expected="a table, whose columns can be flipped by name",
                mend="pass flip=..., which flips inputs of your form",
            )
        size = max(self.groups.sizes[axis] for axis in self._axes)
        width = max(columns.cardinalities, default=1)
        same = torch.arange(width).expand(len(columns.categorical), width)
        table = same.expand(len(self.attributes), size, *same.shape).clone()
        for part, axis in enumerate(self._axes):
            self._fill(table[part], axis, columns)
        self._recoded = table.to(self.weight.device)

    def _fill(self, table: Tensor, axis: int, columns: Columns) -> None:
        """Write what each code of each column becomes, `(G, F, C)`, under each value."""
        name, values = self.groups.names[axis], self.groups.categories[axis]
        proxies = {str(value): recode for value, recode in self.proxies.get(name, {}).items()}
        for value in proxies:
            check_choice(f"proxies[{name!r}]", value, values)
        if name not in columns.categorical and not any(proxies.values()):
            raise ArgumentError.of(
                f"attribute {name!r}",
                found="a network that sees neither it nor a declared proxy",
                expected="an input that can be flipped",
                mend="pass dataset.include_sensitive=true, declare proxies, or flip others: "
                "attributes=[…]",
            )
        for code, value in enumerate(values):
            if name in columns.categorical:
                table[code, columns.categorical.index(name)] = columns.code(name, value)
            for column, recode in proxies.get(value, {}).items():
                for old, new in recode.items():
                    place = columns.code(column, old)
                    new_code = columns.code(column, new)
                    table[code, columns.categorical.index(column), place] = new_code

    def rows(self, step: Step) -> tuple[Tensor, Tensor]:
        """Change of the score `(..., N, A)`, and `(N, A)` whether the attribute is known."""
        step = step._replace(logits=first_look(step))
        assert step.sensitive is not None
        changes = []
        for part, axis in enumerate(self._axes):
            code, others = step.sensitive[:, axis], self.groups.sizes[axis] - 1
            if self.training:
                turn = turns(len(code), others, code.device)
                changes.append(self._change(step, part, code + 1 + turn))
            else:
                every = [self._change(step, part, code + 1 + turn) for turn in range(others)]
                changes.append(torch.stack(every).mean(0))
        return torch.stack(changes, -1), step.sensitive[:, self._axes] >= 0

    def _change(self, step: Step, part: int, code: Tensor) -> Tensor:
        """Change of the score of rows that take the values `code` mod G."""
        value = code.clamp_min(0) % self.groups.sizes[self._axes[part]]
        other = second_look(step, self._flipped(step.inputs, part, value))
        assert step.logits is not None
        return total_variation(step.logits, other)

    def _flipped(self, inputs: Any, part: int, value: Tensor) -> Any:
        if self.flip is not None:
            return self.flip(inputs, self.attributes[part], value)
        if self._recoded is None:
            raise SetupError.of(
                type(self).__name__,
                found="no columns yet",
                expected="prepare() with the columns before the first step",
                mend="call objective.prepare(Step(...), columns), or pass flip=...",
            )
        numeric, categorical = inputs
        table = self._recoded[part]  # (G, F, C)
        column = torch.arange(table.shape[1], device=table.device)
        return numeric, table[value.unsqueeze(1), column, categorical]
