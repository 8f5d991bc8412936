"""Scripts for Snowflake: their statements, and the payload in place of `:payload`.

Purpose: to know where each statement begins, so that an error can name a line, and to bind the payload. Guarantees:
what stands in a string, a quoted name, a dollar quote or a comment is no statement's end and no parameter; a path into
a VARIANT (`v:payload`) stays one. Never: a grammar of our own (sqlglot's tokenizer reads the text); Snowflake itself
parts the statements that it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from freshet.domain.errors import FreshetError
from freshet.snowflake.text import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

PARAMETER = "payload"


class ScriptError(FreshetError):
    """A script can't be read: the end of a sentence that begins with its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One statement of a script; its line counts from 1."""

    text: str
    line: int


def statements(text: str) -> list[Statement]:
    """The statements of a script, without empty ones. Raises ScriptError."""
    found: list[Statement] = []
    begin, last = None, None
    for token in _tokens(text):
        if token.token_type.name == "SEMICOLON":
            found += [_statement(text, begin, last)] if begin is not None else []
            begin = None
        else:
            begin, last = begin or token, token
    return found + ([_statement(text, begin, last)] if begin is not None else [])


def bound(text: str, payload: bytes) -> str:
    """The script with the payload (JSON) as a VARIANT wherever `:payload` stands. Raises ScriptError."""
    value = f"PARSE_JSON({literal(payload.decode())})"
    pieces, at = [], 0
    tokens = _tokens(text)
    for colon, word in pairwise(tokens):
        if _is_parameter(text, colon, word):
            pieces += [text[at : colon.start], value]
            at = word.end + 1
    return "".join([*pieces, text[at:]])


def _is_parameter(text: str, colon: Any, word: Any) -> bool:
    if colon.token_type.name != "COLON" or word.text.lower() != PARAMETER or word.start != colon.end + 1:
        return False
    # Directly behind a name or a bracket, it is a path into that value.
    before = text[colon.start - 1 : colon.start]
    return not (before.isalnum() or before in {"_", "$", '"', ")", "]"})


def _statement(text: str, begin: Any, last: Any) -> Statement:
    return Statement(text=text[begin.start : last.end + 1], line=text.count("\n", 0, begin.start) + 1)


def _tokens(text: str) -> Sequence[Any]:
    from sqlglot.errors import TokenError

    try:
        tokens: Sequence[Any] = _tokenizer().tokenize(text)
    except TokenError as error:
        raise ScriptError("a string, a quoted name or a comment of the script does not end") from error
    return tokens


@cache
def _tokenizer() -> Any:
    # Here, because it takes a tenth of a second and most processes never need it.
    from sqlglot.dialects.snowflake import Snowflake

    class Tokenizer(Snowflake.Tokenizer):
        """Reads every statement to its end, also those that sqlglot takes for commands with one long argument."""

        COMMANDS: ClassVar[set[Any]] = set()

    return Tokenizer(dialect=Snowflake())
