"""The family of errors that Freshet raises.

Purpose: one base, so that one `except` at an edge catches all of ours; the docstring of a class is its message
unless a sentence is given. Guarantee: every message can be shown to a user as it stands. Never: an error of this
family carries a driver's object or a secret.

    FreshetError
    ├── DefinitionError        a workflow, schedule, event or setting is refused at the door (file, line, field)
    │   └── GraphError         the tasks and edges of a workflow do not make a graph
    ├── NotFoundError          what was asked for is not there
    ├── ConflictError          what was asked for contradicts the state
    ├── ClaimLostError         the fence: the bundle is no longer held under this claim
    ├── IllegalTransitionError an event that the life cycle does not allow in this state
    ├── ImpossibleCountError   counters that no sequence of reports can produce; the run is parked
    ├── TransactionEndedError  user code ended the transaction that Freshet owns
    └── UnreachableError       Postgres, Redis or Snowflake can't be reached; worth trying again
"""

from __future__ import annotations


class FreshetError(Exception):
    """Something went wrong in Freshet."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """The sentence for the user."""
        return str(self.args[0])


class DefinitionError(FreshetError):
    """The definition is refused."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "definition_refused",
        pointer: str = "",
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        """`code` is stable; `pointer` is a JSON Pointer (RFC 6901) into the document; `line` counts from 1."""
        super().__init__(message)
        self.code = code
        self.pointer = pointer
        self.file = file
        self.line = line


class GraphError(DefinitionError):
    """The tasks and edges do not make a graph."""


class NotFoundError(FreshetError):
    """What was asked for does not exist."""


class ConflictError(FreshetError):
    """What was asked for contradicts the present state."""


class ClaimLostError(FreshetError):
    """The claim on this bundle was lost: its work is rolled back and changes nothing."""


class IllegalTransitionError(FreshetError):
    """The life cycle does not allow this event in this state."""


class ImpossibleCountError(FreshetError):
    """The counters of a task contradict each other."""


class TransactionEndedError(FreshetError):
    """The process ended the transaction of context.connection; what it wrote stays, and it is not tried again."""


class UnreachableError(FreshetError):
    """A server can't be reached."""
