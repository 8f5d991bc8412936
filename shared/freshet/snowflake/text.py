r"""Pieces of statements: literals, identifiers and LIKE patterns that mean exactly what they were given.

Snowflake reads backslash escapes inside `'…'`, so a pattern's own backslash is written twice.
"""

from __future__ import annotations

import re

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
QUOTED = re.compile(r'"(?:[^"\x00]|"")+"')
OBJECT = re.compile(rf"(?:{PLAIN.pattern}|{QUOTED.pattern})(?:\.(?:{PLAIN.pattern}|{QUOTED.pattern})){{0,2}}")
STAGED = re.compile(rf"@(?P<stage>{OBJECT.pattern})/(?P<path>[^\x00]+)")
MAX_NAME = 63


def literal(value: str) -> str:
    """A string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """An identifier: as it is if it is bare or in quotes, so that it means what the user would expect, else quoted."""
    if PLAIN.fullmatch(name) or QUOTED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def object_name(name: str) -> str:
    """A name of one to three identifiers, parted by dots, as it is. Raises ValueError for anything else."""
    if not OBJECT.fullmatch(name):
        msg = f"{name!r} is not the name of a Snowflake object, like db.schema.name"
        raise ValueError(msg)
    return name


def staged_file(name: str) -> tuple[str, str]:
    """Stage and path of `@stage/path`. Raises ValueError for anything else."""
    found = STAGED.fullmatch(name)
    if found is None:
        msg = f"{name!r} is not a file in a stage, like @db.schema.stage/path/spec.yaml"
        raise ValueError(msg)
    return found["stage"], found["path"]


def stored_name(name: str) -> str:
    """What Snowflake's tables call the bearer of an identifier: folded if it is bare."""
    if QUOTED.fullmatch(name):
        return name[1:-1].replace('""', '"')
    return name.upper() if PLAIN.fullmatch(name) else name


def like_prefix(prefix: str) -> str:
    r"""A LIKE pattern for names that begin with `prefix`; its own `_`, `%` and `\` are no wildcards."""
    return like_name(prefix) + "%"


def like_name(name: str) -> str:
    r"""A LIKE pattern for this very name (in any case, since SHOW … LIKE minds none)."""
    return re.sub(r"([\\_%])", r"\\\1", name)


def is_job_name(name: str) -> bool:
    """Whether a job service may be called so: unquoted letters, digits and `_`, at most 63 (a DNS label)."""
    return len(name) <= MAX_NAME and PLAIN.fullmatch(name) is not None
