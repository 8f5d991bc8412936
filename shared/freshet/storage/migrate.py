"""Brings a database to the present schema: `freshet migrate`.

Purpose: plain numbered SQL files applied once each, forward only, then the functions, which are replaced at every
run. Guarantees: safe twice, by two at once (one advisory lock) and while every service works: all that is missing
comes in one transaction, so nobody sees new tables with old functions; it never waits for a lock for long, because
everybody else would wait behind it; a file that was changed after it was applied is refused. Never: a step back, or
a guess.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import LiteralString, cast

import psycopg

from freshet.domain.errors import ConflictError
from freshet.storage.database import Session, connect, translated

#: Any constant will do, as long as every migrate takes the same one.
LOCK = 7_235_421_907_001
#: Wait for one lock. Shorter than Postgres' deadlock_timeout (1 s): in a deadlock it is the migration that gives way.
LOCK_WAIT = "400ms"
#: Seconds between two tries, and until there is no further one.
PAUSE, PATIENCE = 0.5, 120.0


def migrate(
    database_url: str,
    *,
    source: Traversable | None = None,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Apply what is missing; the names of the files applied now.

    `source` holds the folders `migrations` and `functions`, by default this package's own. Tables that are in use are
    asked for again and again, for `patience` seconds. Raises UnreachableError, ConflictError.
    """
    with translated(), connect(database_url, name="migrate") as session:
        session.execute("select pg_advisory_lock(%s)", [LOCK])
        try:
            return _insist(lambda: _apply_missing(session, source or files("freshet.storage")), patience, sleep)
        finally:
            session.execute("select pg_advisory_unlock(%s)", [LOCK])


def _insist(apply: Callable[[], list[str]], patience: float, sleep: Callable[[float], None]) -> list[str]:
    waited = 0.0
    while True:
        try:
            return apply()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if waited >= patience:
                raise ConflictError(
                    "A transaction that does not end holds a table that the migration changes. Nothing was changed;"
                    " look for it in pg_stat_activity, and run `freshet migrate` again."
                ) from error
        # Whoever stood in the queue behind us goes first.
        sleep(PAUSE)
        waited += PAUSE


def _apply_missing(session: Session, source: Traversable) -> list[str]:
    with session.transaction():
        session.execute(f"set local lock_timeout = '{LOCK_WAIT}'")
        session.execute(
            "create table if not exists public.freshet_migration ("
            " name text primary key, digest text not null, applied_at timestamptz not null default now())"
        )
        known = session.execute("select name, digest from public.freshet_migration").fetchall()
        digests = {row["name"]: row["digest"] for row in known}
        applied = [name for name, text in _texts(source, "migrations") if _apply(session, name, text, digests)]
        for _, text in _texts(source, "functions"):
            session.execute(text)
    return applied


def _apply(session: Session, name: str, text: LiteralString, digests: dict[str, str]) -> bool:
    """Apply a file unless it was; whether it is new."""
    if name in digests:
        if digests[name] != _digest(text):
            raise ConflictError(f"Migration {name} was changed after it had been applied: add a new file instead.")
        return False
    session.execute(text)
    session.execute("insert into public.freshet_migration (name, digest) values (%s, %s)", [name, _digest(text)])
    return True


def _texts(source: Traversable, folder: str) -> list[tuple[str, LiteralString]]:
    entries = source.joinpath(folder).iterdir()
    texts = [(entry.name, entry.read_text(encoding="utf-8")) for entry in entries if entry.name.endswith(".sql")]
    # The texts are files of a package, never a user's: that is what LiteralString asks for.
    return cast("list[tuple[str, LiteralString]]", sorted(texts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
