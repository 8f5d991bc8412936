"""The way into a twin and out of it: where a simulation may let others run, lose an answer or end a process.

Purpose: one protocol between the twins and whoever drives them. Guarantees: between `enter` and `leave` a verb happens
as a whole; an error from `enter` means that nothing happened, one from `leave` that it did and nobody was told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Passage(Protocol):
    """What a twin asks at each of its verbs."""

    def enter(self, verb: str) -> None:
        """Before the verb touches anything: may let others run, or raise UnreachableError (nothing happened)."""

    def leave(self, verb: str) -> None:
        """After its effects are committed: as `enter`, but what happened has happened."""

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:
        """Wait until something is ready, at most so many seconds; whether it is."""
        ...


class _OpenPassage:
    def enter(self, verb: str) -> None:
        pass

    def leave(self, verb: str) -> None:
        pass

    def block(self, verb: str, seconds: float, ready: Callable[[], bool]) -> bool:  # noqa: ARG002  (it never waits)
        return ready()


#: Nothing is in the way, and nothing ever waits.
open_passage: Final[Passage] = _OpenPassage()


class Passing(Protocol):
    """A twin: it has a passage."""

    _passage: Passage


T = TypeVar("T", bound=Passing)


def verb(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """A public verb of a twin: its body happens as a whole, between `enter` and `leave` of its name.

    A refusal leaves through the exception: nothing was committed that an answer could be lost of.
    """
    name = method.__name__

    @wraps(method)
    def passed(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._passage.enter(name)
        answer = method(self, *args, **kwargs)
        self._passage.leave(name)
        return answer

    return passed
