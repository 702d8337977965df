"""Errors and warnings: each names the argument, what was found, what was expected, and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

E = TypeVar("E", bound="FairlightningError")


class FairlightningError(Exception):
    """Base of every error that this package raises on purpose."""

    @classmethod
    def of(cls: type[E], argument: str, *, found: object, expected: str, mend: str) -> E:
        """Build the error with its message in the form that all errors of the package share.

        >>> print(ArgumentError.of("k", found=-1, expected="a positive integer", mend="pass k=1"))
        k: found -1, expected a positive integer. Mend: pass k=1.
        """
        stop = "" if mend.endswith("?") else "."
        return cls(f"{argument}: found {found}, expected {expected}. Mend: {mend}{stop}")


class ArgumentError(FairlightningError, ValueError):
    """An argument has a value that cannot be used."""


class MissingFieldError(ArgumentError):
    """An objective needs a field that `fair_loss` was not given."""


class DataError(FairlightningError, ValueError):
    """A table cannot be used as a data set."""


class SetupError(FairlightningError, RuntimeError):
    """Classes, callbacks or calls were put together in a way that cannot work."""


class FairnessWarning(UserWarning):
    """Something that runs, but whose figures need care."""


def check_choice(argument: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, else raise with the nearest choice as the mend.

    Args:
        argument: Name of the argument, for the message.
        value: What the caller passed.
        choices: The names that are allowed.

    Raises:
        ArgumentError: If `value` is not among `choices`.
    """
    names = list(choices)
    if value in names:
        return value
    close = get_close_matches(str(value), names, n=1)
    raise ArgumentError.of(
        argument,
        found=repr(value),
        expected="one of " + ", ".join(names),
        mend=f"did you mean {close[0]!r}?" if close else f"pass one of the {len(names)} names",
    )
