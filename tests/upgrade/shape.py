"""What a document has and of which types, and what another one of its kind lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def losses(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Members of `old` that `new` has lost or that have another type now; what is new may be there.

    A null says nothing about the type. Lists are compared by their first elements, objects whose members are names (not
    fields) by what they have in common: the caller hands those over one by one.
    """
    if old is None or new is None:
        return
    if _type(old) != _type(new):
        yield f"{place}: {_type(old)} became {_type(new)}"
    elif isinstance(old, dict):
        for name, member in old.items():
            if name in new:
                yield from losses(member, new[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is gone"
    elif isinstance(old, list) and old and new:
        yield from losses(old[0], new[0], f"{place}[0]")


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__
