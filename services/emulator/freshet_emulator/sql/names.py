"""Names of objects, and the patterns of SHOW … LIKE."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectName:
    """A name as written: one to three parts, folded to upper case unless quoted."""

    parts: tuple[str, ...]

    @property
    def last(self) -> str:
        """The object's own name, without database and schema."""
        return self.parts[-1]

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class FullName:
    """A name with its database and schema."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """What follows SHOW …: which rows are wanted.

    `scope` is ACCOUNT, DATABASE, SCHEMA, COMPUTE POOL or None (the session's schema);
    `after` is the name of LIMIT n FROM 'name'.
    """

    like: str | None = None
    scope: str | None = None
    scope_name: ObjectName | None = None
    starts_with: str | None = None
    limit: int | None = None
    after: str | None = None
    of_type: str | None = None

    def apply(self, names: list[str]) -> list[str]:
        """The wanted names, sorted. LIKE ignores case, STARTS WITH does not."""
        matcher = like_pattern(self.like) if self.like is not None else None
        wanted = [name for name in sorted(names) if matcher is None or matcher.fullmatch(name)]
        if self.starts_with is not None:
            wanted = [name for name in wanted if name.startswith(self.starts_with)]
        if self.after is not None:
            wanted = [name for name in wanted if name > self.after]
        return wanted[: self.limit]


def like_pattern(pattern: str) -> re.Pattern[str]:
    r"""A LIKE pattern as an expression: `%` any run, `_` one character, `\` takes the next one literally."""
    pieces: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            pieces.append(re.escape(next(characters, "\\")))
        else:
            pieces.append({"%": ".*", "_": "."}.get(character, re.escape(character)))
    return re.compile("".join(pieces), re.IGNORECASE | re.DOTALL)
