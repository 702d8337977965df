"""The support of a term, cut out of one tensor when somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


class Slices(Mapping[str, Tensor]):
    """Parts of a tensor by name, cut when they are asked for, which training steps rarely do."""

    def __init__(self, whole: Tensor, places: Mapping[str, Any]) -> None:
        self.whole = whole
        self.places = places

    def __getitem__(self, name: str) -> Tensor:
        return self.whole[self.places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
