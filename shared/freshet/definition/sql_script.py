"""SQL scripts, split into statements and checked at the door.

Purpose: a script runs in one transaction that Freshet owns; what would end that transaction, or can't run
inside one, is refused before anything runs. Guarantee: strings, quoted names, dollar quotes, comments and
the bodies of `BEGIN ATOMIC … END` are never mistaken for statements. Never: a full grammar; the server
still has the last word. Sources: PostgreSQL's lexical structure
(https://www.postgresql.org/docs/current/sql-syntax-lexical.html) and the statements whose pages say that
they can't be executed inside a transaction block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LEXEME = re.compile(
    r"""
      --[^\n]*
    | (?P<comment> /\* )
    | (?P<escaped> [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) )
    | '(?:[^']|'')*(?:'|\Z)
    | "(?:[^"]|"")*(?:"|\Z)
    | (?P<tag> \$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$ )
    | (?P<word> [A-Za-z_\x80-\uffff][\w$\x80-\uffff]* )
    | (?P<semicolon> ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_TRANSACTION = "it would end or change the transaction, which Freshet owns and commits with the report"
_NO_BLOCK = "it can't run inside a transaction"
_ROLE = "it would change the role that the session runs as"

#: The first words of a refused statement, and why.
_REFUSED: tuple[tuple[str, str], ...] = (
    (r"BEGIN|START TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE TRANSACTION", _TRANSACTION),
    (r"SET (SESSION |LOCAL )?TRANSACTION|SET SESSION CHARACTERISTICS", _TRANSACTION),
    (r"VACUUM|ALTER SYSTEM|DISCARD ALL|(CREATE|DROP) (DATABASE|TABLESPACE|SUBSCRIPTION)", _NO_BLOCK),
    (r"(CREATE (UNIQUE )?|DROP )INDEX CONCURRENTLY|REINDEX (SCHEMA|DATABASE|SYSTEM)", _NO_BLOCK),
    (r"REINDEX .*\bCONCURRENTLY|ALTER TABLE .*\bDETACH PARTITION\b.*\bCONCURRENTLY", _NO_BLOCK),
    (r"SET (SESSION |LOCAL )?(ROLE|SESSION AUTHORIZATION|AUTHORIZATION)|RESET (ROLE|SESSION|ALL)", _ROLE),
    (r"COPY .*\b(STDIN|STDOUT)", "there is no client to copy from or to"),
)


def statements(text: str) -> list[tuple[int, str]]:
    """Each statement's line (from 1) and its bare words in capitals, joined by single spaces."""
    found: list[tuple[int, str]] = []
    words: list[str] = []
    start, depth = 0, 0
    for kind, value, at in _lexemes(text):
        start = at if not words else start
        if kind == "semicolon" and depth == 0:
            found += [(text.count("\n", 0, start) + 1, " ".join(words))] if words else []
            words = []
        elif kind != "semicolon":
            depth = _depth(depth, words, value)
            words.append(value)
    return found + ([(text.count("\n", 0, start) + 1, " ".join(words))] if words else [])


def refusal(text: str) -> str | None:
    """A sentence on the first statement that a script may not hold, else None."""
    found = statements(text)
    if not found:
        return "the script holds no statement"
    for line, words in found:
        for pattern, reason in _REFUSED:
            match = re.match(rf"(?:{pattern})\b", words)
            if match:
                return f"the statement {match.group()} on line {line} of the script is not allowed: {reason}"
    return None


def _depth(depth: int, words: list[str], value: str) -> int:
    """How many `END`s are awaited: a body opens with BEGIN ATOMIC, CASE inside it wants an END of its own."""
    if value == "ATOMIC" and words and words[-1] == "BEGIN":
        return depth + 1
    if depth and value == "CASE":
        return depth + 1
    return depth - 1 if depth and value == "END" else depth


def _lexemes(text: str) -> Iterator[tuple[str, str, int]]:
    """The words, semicolons and (as `?`) strings and other literals: kind, text, and where each starts."""
    at = 0
    while (match := _LEXEME.search(text, at)) is not None:
        at = match.end()
        kind = match.lastgroup
        if kind == "comment":
            at = _comment_end(text, at)
        elif kind == "tag":
            closing = text.find(match.group(), at)
            at = len(text) if closing < 0 else closing + len(match.group())
            yield "literal", "?", match.start()
        elif kind in {"word", "semicolon"}:
            yield str(kind), match.group().upper(), match.start()
        elif not match.group().startswith("--"):
            yield "literal", "?", match.start()


def _comment_end(text: str, at: int) -> int:
    """The end of a comment, which may hold others."""
    depth = 1
    for match in _COMMENT_MARK.finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)
