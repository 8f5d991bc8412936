"""SQL text to tokens.

Strings may be `'…'` with doubled quotes and backslash escapes, or `$$…$$`; comments are dropped.
A `?` is replaced by the value bound to it, so that nothing behind the lexer knows about bindings.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from freshet_emulator.errors import compilation, unexpected


class Kind(StrEnum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A piece of a statement: `text` as written, `value` as meant (a folded name, an unescaped string)."""

    kind: Kind
    text: str
    value: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether this is one of these unquoted words (given in upper case)."""
        return self.kind is Kind.WORD and self.value in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether this is one of these symbols."""
        return self.kind is Kind.SYMBOL and self.value in symbols


PATTERN = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|//[^\n]*|/\*.*?\*/)
  | (?P<dollar>\$\$.*?\$\$)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>"(?:[^"]|"")+")
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<variable>\$[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<param>\?)
  | (?P<symbol>=>|::|\|\||<>|!=|<=|>=|->>|.)
    """,
    re.VERBOSE | re.DOTALL,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))|''", re.DOTALL)
TEMPORAL = ("DATE", "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def unescape(body: str) -> str:
    """The meaning of what stands between the quotes of a string literal."""

    def replace(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if code:
            return chr(int(code, 16))
        return "'" if match[3] is None else ESCAPES.get(match[3], match[3])

    return ESCAPE.sub(replace, body)


def string_token(value: str, start: int, end: int) -> Token:
    """A string literal in which every quote and backslash is told from its meaning elsewhere."""
    return Token(
        kind=Kind.STRING,
        text="'" + value.replace("\\", "\\\\").replace("'", "''") + "'",
        value=value,
        start=start,
        end=end,
    )


def tokenize(
    sql: str, bindings: Mapping[str, Any] | None = None, variables: Mapping[str, Token] | None = None
) -> list[Token]:
    """The tokens of one statement, ended by one END token; `$name` is replaced by the variable's value.

    Raises SqlError 1003 for text that is no token and for a `?` that nothing is bound to, 2211 for a variable that
    is not set.
    """
    values, known = bound_values(bindings or {}), variables or {}
    tokens = [token for match in PATTERN.finditer(sql) if (token := read(match, sql, values, known)) is not None]
    while tokens and tokens[-1].is_symbol(";"):
        tokens.pop()
    tokens.append(Token(kind=Kind.END, text="<EOF>", value="", start=len(sql), end=len(sql)))
    return tokens


def count_placeholders(sql: str) -> int:
    """How many `?` a statement has outside strings and comments."""
    return sum(1 for match in PATTERN.finditer(sql) if match.lastgroup == "param")


def split(sql: str) -> list[tuple[str, int]]:
    """The statements of a text that semicolons part, each with how many `?` it has; empty ones are left out."""
    found, start, marks, used = [], 0, 0, False
    for match in PATTERN.finditer(sql):
        if match.group() == ";":
            found += [(sql[start : match.start()], marks)] if used else []
            start, marks, used = match.end(), 0, False
        else:
            marks += match.lastgroup == "param"
            used = used or match.lastgroup != "skip"
    return [*found, (sql[start:], marks)] if used else found


def variable(match: re.Match[str], variables: Mapping[str, Token]) -> Token:
    """The value of a session variable, where its name stood."""
    found = variables.get(match.group()[1:].upper())
    if found is None:
        raise compilation(f"Session variable '{match.group().upper()}' does not exist", code=2211, sqlstate="02000")
    return replace(found, start=match.start(), end=match.end())


def read(match: re.Match[str], sql: str, values: Iterator[Token], variables: Mapping[str, Token]) -> Token | None:
    """One match as a token; None for blanks and comments."""
    group, text, (start, end) = match.lastgroup, match.group(), match.span()
    if group == "skip":
        return None
    if group in ("param", "variable"):
        return bound(values, start, end) if group == "param" else variable(match, variables)
    if group in ("string", "dollar"):
        return string_token(unescape(text[1:-1]) if group == "string" else text[2:-2], start, end)
    if group == "quoted":
        value = text[1:-1].replace('""', '"')
        return Token(kind=Kind.QUOTED, text=text, value=value, start=start, end=end)
    if group in ("word", "number"):
        return Token(kind=Kind(group), text=text, value=text.upper(), start=start, end=end)
    if text in "'\"":
        raise unexpected(text, sql, line=sql.count("\n", 0, start) + 1, position=start - sql.rfind("\n", 0, start) - 1)
    return Token(kind=Kind.SYMBOL, text=text, value=text, start=start, end=end)


def bound(values: Iterator[Token], start: int, end: int) -> Token:
    """The next bound value, standing where its `?` stood."""
    token = next(values, None)
    if token is None:
        raise compilation("Bind variable ? not set.", code=2049, sqlstate="42601")
    return replace(token, start=start, end=end)


def bound_values(bindings: Mapping[str, Any]) -> Iterator[Token]:
    """The values of a request's `bindings`, in the order of their numbers."""
    for key in sorted(bindings, key=int):
        yield bound_value(str(bindings[key].get("type", "TEXT")).upper(), bindings[key].get("value"))


def bound_value(kind: str, value: Any) -> Token:
    """One binding (`type` and `value` of the wire) as a token."""
    if value is None:
        return Token(kind=Kind.WORD, text="NULL", value="NULL", start=0, end=0)
    text = str(value)
    if kind == "BINARY":
        return Token(kind=Kind.SYMBOL, text=f"X'{bytes.fromhex(text).hex()}'", value=text, start=0, end=0)
    if kind in ("FIXED", "REAL"):
        written = text if kind == "FIXED" else f"('{float(text)}'::FLOAT)"
        return Token(kind=Kind.NUMBER, text=written, value=text, start=0, end=0)
    if kind == "BOOLEAN":
        word = "TRUE" if text.lower() in ("true", "1") else "FALSE"
        return Token(kind=Kind.WORD, text=word, value=word, start=0, end=0)
    found = string_token(temporal_text(kind, text), 0, 0)
    return replace(found, text=f"({found.text}::{kind})") if kind in TEMPORAL else found


def temporal_text(kind: str, text: str) -> str:
    """A bound date or time as ISO text. On the wire dates are milliseconds and the rest nanoseconds since the epoch."""
    number = text.split(" ", maxsplit=1)[0]
    if not re.fullmatch(r"-?\d+", number):
        return text
    if kind == "DATE":
        return (EPOCH + dt.timedelta(milliseconds=int(number))).date().isoformat()
    if kind == "TIME":
        return (EPOCH + dt.timedelta(microseconds=int(number) // 1000)).time().isoformat()
    if kind.startswith("TIMESTAMP"):
        moment = EPOCH + dt.timedelta(microseconds=int(number) // 1000)
        return moment.replace(tzinfo=None if kind == "TIMESTAMP_NTZ" else dt.UTC).isoformat(sep=" ")
    return text
