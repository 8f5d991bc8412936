"""A scanner for CEL's tokens: which variables an expression reads, and where a template's expression ends.

Purpose: static facts that the interpreter doesn't tell (it names `tasks`, not `tasks.assign`; it counts the
names that macros bind as variables). Guarantee: strings and comments are never taken for names. Never:
evaluation. Source: the lexis of https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Path = tuple[str, ...]

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | //[^\n]* )
    | (?P<raw> [bB]?[rR] (?: \"{3} .*? \"{3} | '{3} .*? '{3} | "[^"\n]*" | '[^'\n]*' ) )
    | (?P<string> [bB]? (?: \"{3} (?:\\.|[^\\])*? \"{3} | '{3} (?:\\.|[^\\])*? '{3}
                          | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
    | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | \d+ (?:\.\d+)? (?:[eE][+-]?\d+)? [uU]? )
    | (?P<name> [A-Za-z_]\w* )
    | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
_WORDS = frozenset({"true", "false", "null", "in"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token: its kind (a group of the pattern), its text, and where it starts and ends."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """The tokens from `start` on, without spaces and comments; an unfinished string comes as marks."""
    for match in _TOKEN.finditer(text, start):
        kind = str(match.lastgroup)
        if kind != "space":
            yield Token(kind=kind, text=match.group(), start=match.start(), end=match.end())


def member_paths(text: str) -> frozenset[Path]:
    """The free variables, each with the members that are named literally: `tasks.a.result[0].x` is (tasks,
    a, result).

    Names bound by a macro (`x` in `list.map(x, x.y)`) are left out within its parentheses.
    """
    found = list(tokens(text))
    bound: list[str | None] = []
    paths: set[Path] = set()
    for at, token in enumerate(found):
        if token.text == "(":
            bound.append(_bound_name(found, at))
        elif token.text == ")" and bound:
            bound.pop()
        elif _is_variable(found, at) and token.text not in bound:
            paths.add(_path_from(found, at)[0])
    return frozenset(paths)


def whole_path(text: str) -> Path | None:
    """The path, when the expression is nothing but a variable and its members; else None."""
    found = list(tokens(text))
    if not found or not _is_variable(found, 0):
        return None
    path, end = _path_from(found, 0)
    return path if end == len(found) else None


def template_end(text: str, start: int) -> int | None:
    """Where the `}}` begins that closes the expression starting at `start`; None when it is never closed."""
    depth = 0
    for token in tokens(text, start):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0:
                return token.start if text.startswith("}}", token.start) else None
            depth -= 1
    return None


def _bound_name(found: list[Token], at: int) -> str | None:
    """The name that a macro binds whose parenthesis opens at `at`."""
    if at < 2 or at + 2 >= len(found) or found[at - 1].text not in _MACROS or found[at - 2].text != ".":
        return None
    name, comma = found[at + 1], found[at + 2]
    return name.text if name.kind == "name" and comma.text == "," else None


def _is_variable(found: list[Token], at: int) -> bool:
    if found[at].kind != "name" or found[at].text in _WORDS or (at and found[at - 1].text == "."):
        return False
    return not _is_called(found, at)


def _is_called(found: list[Token], at: int) -> bool:
    return at + 1 < len(found) and found[at + 1].text == "("


def _path_from(found: list[Token], at: int) -> tuple[Path, int]:
    """The path that starts at `at`, and the index after it."""
    path, end = [found[at].text], at + 1
    while (step := _member(found, end)) is not None:
        name, end = step
        path.append(name)
    return tuple(path), end


def _member(found: list[Token], at: int) -> tuple[str, int] | None:
    """`.name` (not a call) or `["name"]` at `at`: the name, and the index after it."""
    texts = [token.text for token in found[at : at + 3]]
    if len(texts) >= 2 and texts[0] == "." and found[at + 1].kind == "name" and not _is_called(found, at + 1):
        return texts[1], at + 2
    if len(texts) == 3 and texts[0] == "[" and texts[2] == "]" and found[at + 1].kind == "string":
        return _plain(texts[1], at + 3)
    return None


def _plain(literal: str, end: int) -> tuple[str, int] | None:
    """A short string literal without prefix and escapes."""
    if literal[0] in "bB" or "\\" in literal or literal[:3] in {'"""', "'''"}:
        return None
    return literal[1:-1], end
