r"""Pieces of statements: literals, identifiers and LIKE patterns that mean exactly what they were given.

Snowflake reads backslash escapes inside `'…'`, so a pattern's own backslash is written twice.
"""

from __future__ import annotations

import re

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
MAX_NAME = 63


def literal(value: str) -> str:
    """A string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """An identifier: bare if it can be, so that it is folded as the user would expect, else quoted."""
    if PLAIN.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def like_prefix(prefix: str) -> str:
    r"""A LIKE pattern for names that begin with `prefix`; its own `_`, `%` and `\` are no wildcards."""
    return re.sub(r"([\\_%])", r"\\\1", prefix) + "%"


def is_job_name(name: str) -> bool:
    """Whether a job service may be called so: unquoted letters, digits and `_`, at most 63 (a DNS label)."""
    return len(name) <= MAX_NAME and PLAIN.fullmatch(name) is not None
