"""How an error leaves the command line: sentences on stderr and an exit code.

Purpose: one place for `file:line: sentence` and for the codes 0 (fine), 1 (the run failed) and 2 (wrong use
or refused input). Never: a traceback for an error of Freshet's own family.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from freshet.domain.errors import DefinitionError, FreshetError

RUN_FAILED = 1
REFUSED = 2


class ProblemError(FreshetError):
    """The server refused the request."""

    def __init__(self, problem: Mapping[str, Any], status: int) -> None:
        """`problem` is a problem document (RFC 9457) with our members `code` and `errors`."""
        super().__init__(str(problem.get("detail") or problem.get("title") or f"The server answered {status}."))
        self.status = status
        self.code = str(problem.get("code", ""))
        self.errors: list[Mapping[str, Any]] = list(problem.get("errors") or [])


class StartError(FreshetError):
    """A service could not be started."""


class Source(Protocol):
    """A file that was sent, which knows its lines (`freshet.definition.Document`)."""

    @property
    def file(self) -> str:
        """Its name in messages."""
        ...

    def line_of(self, pointer: str) -> int:
        """The line of a JSON Pointer."""
        ...


class RefusedError(FreshetError):
    """Something that was sent is refused; the message has a line for each reason."""


def report(error: FreshetError) -> int:
    """Tell the user; returns the exit code."""
    sys.stderr.write(f"{sentences(error)}\n")
    return RUN_FAILED if isinstance(error, StartError) else REFUSED


def sentences(error: FreshetError) -> str:
    """One line per reason."""
    if isinstance(error, ProblemError):
        return "\n".join(_problem(error, None))
    if isinstance(error, DefinitionError):
        from freshet.definition import describe

        return describe(error)
    return error.message


def located(error: ProblemError, source: Source) -> RefusedError:
    """The server's refusal of what came from a file, with its lines."""
    return RefusedError("\n".join(_problem(error, source)))


def _problem(error: ProblemError, source: Source | None) -> Iterable[str]:
    if not error.errors:
        return [error.message if source is None else f"{source.file}: {error.message}"]
    return [_reason(each, source) for each in error.errors]


def _reason(reason: Mapping[str, Any], source: Source | None) -> str:
    detail, pointer = str(reason.get("detail", "")), str(reason.get("pointer", ""))
    if source is not None:
        return f"{source.file}:{reason.get('line') or source.line_of(pointer)}: {detail}"
    return f"{pointer}: {detail}" if pointer else detail


def guarded(run: Callable[[], object]) -> int:
    """Run a command; returns the exit code."""
    try:
        run()
    except FreshetError as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as with `| head`; there is nobody to tell
        return 0
    return 0
