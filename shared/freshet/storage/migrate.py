"""Brings a database to the present schema: `freshet migrate`.

Purpose: plain numbered SQL files applied once each, forward only, then the functions, which are replaced at every
run. Guarantees: safe twice and by two at once (one advisory lock); a file is applied whole or not at all; a file that
was changed after it was applied is refused. Never: a step back, or a guess.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import LiteralString

from freshet.domain.errors import ConflictError
from freshet.storage.database import Session, connect, translated

#: Any constant will do, as long as every migrate takes the same one.
LOCK = 7_235_421_907_001


def migrate(database_url: str) -> list[str]:
    """Apply what is missing; the names of the files applied now. Raises UnreachableError, ConflictError."""
    with translated(), connect(database_url, name="migrate") as session:
        session.execute("select pg_advisory_lock(%s)", [LOCK])
        try:
            return _apply_missing(session)
        finally:
            session.execute("select pg_advisory_unlock(%s)", [LOCK])


def _apply_missing(session: Session) -> list[str]:
    session.execute(
        "create table if not exists public.freshet_migration ("
        " name text primary key, digest text not null, applied_at timestamptz not null default now())"
    )
    known = {row["name"]: row["digest"] for row in session.execute("select name, digest from public.freshet_migration")}
    applied = []
    for name, text in _texts("migrations"):
        if name not in known:
            _apply(session, name, text)
            applied.append(name)
        elif known[name] != _digest(text):
            raise ConflictError(f"Migration {name} was changed after it had been applied: add a new file instead.")
    _replace_functions(session)
    return applied


def _apply(session: Session, name: str, text: LiteralString) -> None:
    with session.transaction():
        session.execute(text)
        session.execute("insert into public.freshet_migration (name, digest) values (%s, %s)", [name, _digest(text)])


def _replace_functions(session: Session) -> None:
    # All in one transaction: a dispatcher at work sees the old functions or the new ones, never a mixture.
    with session.transaction():
        for _, text in _texts("functions"):
            session.execute(text)


def _texts(folder: str) -> list[tuple[str, LiteralString]]:
    # The texts are the package's own files, never a user's: that is what LiteralString asks for.
    entries = files("freshet.storage").joinpath(folder).iterdir()
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in entries if entry.name.endswith(".sql"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
