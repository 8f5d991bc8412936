"""Several refusals at once, and where they stand in a file.

Purpose: a user who made three mistakes reads three sentences. Guarantee: `DefinitionErrors` is a
`DefinitionError`, so whoever catches one catches both. Never: a refusal without a code and a pointer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freshet.domain.errors import DefinitionError


class DefinitionErrors(DefinitionError):  # noqa: N818 - it holds several, and says so
    """The definition is refused for several reasons."""

    def __init__(self, errors: Sequence[DefinitionError]) -> None:
        """`errors` is not empty; code, pointer, file and line are the first one's."""
        first = errors[0]
        super().__init__(
            "\n".join(error.message for error in errors),
            code=first.code,
            pointer=first.pointer,
            file=first.file,
            line=first.line,
        )
        self.errors = tuple(errors)


def errors_of(error: DefinitionError) -> tuple[DefinitionError, ...]:
    """The single refusals in `error`."""
    return error.errors if isinstance(error, DefinitionErrors) else (error,)


def refuse(errors: Sequence[DefinitionError]) -> None:
    """Raise what was collected: nothing, the one error, or DefinitionErrors."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DefinitionErrors(errors)


def describe(error: DefinitionError) -> str:
    """One line per refusal, as a terminal shows it: `score.yaml:12: tasks.merge.after: …`."""
    return "\n".join(_line(single) for single in errors_of(error))


def _line(error: DefinitionError) -> str:
    if error.file is None:
        return error.message
    return f"{error.file}:{error.line}: {error.message}" if error.line else f"{error.file}: {error.message}"


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def pointing_into(data: Any, error: DefinitionError) -> DefinitionError:
    """The same refusal, its pointer no longer than the data has objects and lists.

    `process: name@version` and `after: assign` are text where other files have more; there is nothing
    inside to point at.
    """
    steps: list[str] = []
    for step in error.pointer.split("/")[1:]:
        if not isinstance(data, Mapping | list):
            break
        steps.append(step)
        name = step.replace("~1", "/").replace("~0", "~")
        data = data.get(name) if isinstance(data, Mapping) else data[int(name)]
    shorter = "".join(f"/{step}" for step in steps)
    return error if shorter == error.pointer else type(error)(error.message, code=error.code, pointer=shorter)
