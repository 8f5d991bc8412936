"""JSON text as plain data with line numbers.

Purpose: the standard library's parser judges the syntax, a walk over the tokens then finds the line of each
value and each doubled key. Guarantee: what passes is JSON (RFC 8259): no NaN, no doubled key. Never: a
value other than the parser's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from freshet.definition.errors import pointer
from freshet.domain.errors import DefinitionError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+|\n')


def read(text: str) -> list[tuple[Any, dict[str, int]]]:
    """The document's data and the line (from 1) of each JSON Pointer in it. Raises DefinitionError with the
    line.
    """
    if not text.strip():
        return []
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"the JSON can't be read: {error.msg} at column {error.colno}"
        raise DefinitionError(message, code="bad_json", line=error.lineno) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DefinitionError(f"the JSON can't be read: {reason}", code="bad_json") from error
    reading = _Reading(tokens=_tokens(text))
    reading.value(next(reading.tokens), ())
    return [(data, reading.lines)]


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.group() == "\n":
            line += 1
        else:
            yield match.group(), line


@dataclass(kw_only=True, slots=True)
class _Reading:
    tokens: Iterator[tuple[str, int]]
    lines: dict[str, int] = field(default_factory=dict)

    def value(self, token: tuple[str, int], at: tuple[str | int, ...]) -> None:
        text, line = token
        self.lines.setdefault(pointer(*at), line)
        if text == "{":
            self.members(at)
        elif text == "[":
            self.elements(at)

    def members(self, at: tuple[str | int, ...]) -> None:
        """From after the brace to the closing one."""
        token = next(self.tokens)
        while token[0] != "}":
            if token[0] == ",":
                token = next(self.tokens)
            where = (*at, json.loads(token[0]))
            self.refuse_doubled(where, token[1])
            self.lines[pointer(*where)] = token[1]
            next(self.tokens)  # the colon
            self.value(next(self.tokens), where)
            token = next(self.tokens)

    def refuse_doubled(self, where: tuple[str | int, ...], line: int) -> None:
        first = self.lines.get(pointer(*where))
        if first is not None:
            message = f"the key {where[-1]!r} stands twice; first on line {first}"
            raise DefinitionError(message, code="doubled_key", pointer=pointer(*where), line=line)

    def elements(self, at: tuple[str | int, ...]) -> None:
        """From after the bracket to the closing one."""
        index, token = 0, next(self.tokens)
        while token[0] != "]":
            if token[0] == ",":
                token = next(self.tokens)
            self.value(token, (*at, index))
            index, token = index + 1, next(self.tokens)
