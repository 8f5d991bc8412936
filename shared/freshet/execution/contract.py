"""The one contract of all executors: `run(item, context) -> Outcome`.

Purpose: what a worker hands to the code that serves a kind of task, and what it gets back. Guarantees: an Outcome is
plain data, ready for `engine.report`. Never: a decision about what follows from it.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from freshet.execution.context import Context

#: Characters of an error's message and of its traceback in the report; the log holds all of it.
MESSAGE_LENGTH = 2_000
TRACEBACK_LENGTH = 4_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One try of one WorkItem."""

    key: int  # the WorkItem
    attempt: int
    index: str  # dotted index path, as in texts and in the API
    payload: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a try ended. `status` is a word of `freshet.domain.item_step.Verdict`."""

    status: str
    result: Any = None
    rows: int | None = None  # values yielded, instead of a result
    error: Mapping[str, Any] | None = None
    job_ended: bool = False  # of a lost job service: only a new attempt can go on

    def document(self, item: Item, seconds: float) -> dict[str, Any]:
        """The outcome as `engine.report.body` holds it; `seconds` by a monotonic clock."""
        document: dict[str, Any] = {"i": item.key, "a": item.attempt, "s": self.status, "d": round(seconds, 6)}
        if self.rows is not None:
            document["n"] = self.rows
        elif self.status == "succeeded":
            document["r"] = self.result
        if self.job_ended:
            document["x"] = True
        if self.error is not None:
            document["e"] = dict(self.error)
        return document


class Executor(Protocol):
    """Serves one kind of task."""

    def run(self, item: Item, context: Context) -> Outcome:
        """Do the item's work. An exception that leaves is the user's failure."""
        ...


def failed(message: str, *, kind: str = "user", status: str = "failed", **more: Any) -> Outcome:
    """An outcome that says in a sentence what went wrong; `kind` is the error's class."""
    error = {"class": kind, "message": printable(message)[:MESSAGE_LENGTH], **more}
    return Outcome(status=status, error=error)


def raised(error: BaseException) -> Outcome:
    """The outcome of an exception that user code let go."""
    text = "".join(traceback.format_exception(error))
    return failed(
        traceback.format_exception_only(error)[-1].strip(),
        type=type(error).__name__,
        traceback=printable(text)[-TRACEBACK_LENGTH:],
    )


def printable(text: str) -> str:
    """Text that Postgres and UTF-8 can hold: NUL and lone surrogates become U+FFFD."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def encoded(outcome: Outcome, item: Item, seconds: float) -> bytes:
    """An outcome as its child sends it; a result may be JSON already."""
    document = outcome.document(item, seconds)
    if isinstance(outcome.result, bytes):
        document["r"] = orjson.Fragment(outcome.result)
    return orjson.dumps(document)


def ended_transaction() -> Outcome:
    """Of an item that has ended the transaction of context.connection, and of all that shared it."""
    return failed(
        "The process ended the transaction of context.connection by a statement of its own (COMMIT, ROLLBACK or the"
        " like). What it committed stays, and the item is not tried again.",
        kind="transaction_ended",
        status="ended_transaction",
    )


def server_lost() -> Outcome:
    """Of an item whose session broke."""
    return failed("Postgres went away while the item ran.", kind="lost", status="lost")
