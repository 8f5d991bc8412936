"""The arguments of calls of the platform's functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshet_emulator.errors import compilation


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """The arguments of a call, as text."""

    positional: Sequence[str | None] = ()
    named: Mapping[str, str | None]

    def text(self, at: int) -> str | None:
        """A positional argument; None if it is missing or NULL."""
        return self.positional[at] if at < len(self.positional) else None

    def required(self, at: int, what: str) -> str:
        """A positional argument that must be there."""
        value = self.text(at)
        if value is None:
            raise compilation(f"The argument {at + 1} ({what}) is missing.", code=938)
        return value

    def number(self, value: str | None, what: str) -> float | None:
        """An argument as a number; None stays None."""
        try:
            return None if value is None else float(value)
        except ValueError as error:
            raise compilation(f"'{value}' is not a number ({what}).", code=1008, sqlstate="22023") from error


def moment(text: str | None) -> dt.datetime | None:
    """A literal time; None for an expression, which limits nothing here."""
    try:
        found = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
