"""A fresh Postgres and a fresh Redis for each engine, with the same durable settings for all.

Guarantees: fsync and synchronous_commit are on, Redis appends each second; nothing outlives the context. Never: a
server that was there before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from psycopg.rows import dict_row

from benchmarks.contrib_postgres import start_packaged
from benchmarks.figures import Json
from benchmarks.processes import Roles
from freshet.runtime.embedded.servers import start_servers

SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "server_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """Where the servers of one engine are."""

    directory: Path
    database_url: str
    redis_url: str
    roles: Roles

    def database(self, name: str) -> str:
        """The URL of a database of that name, made if there is none."""
        with psycopg.connect(self.database_url, autocommit=True) as session:
            if not session.execute("select from pg_database where datname = %s", [name]).fetchall():
                session.execute(f'create database "{name}"')
        return self.database_url.replace("/postgres?", f"/{quote(name)}?")

    def settings(self) -> Json:
        """What makes the servers durable, and their versions."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as session:
            rows = session.execute("select name, setting, unit from pg_settings where name = any(%s)", [list(SHOWN)])
            shown = {row["name"]: f"{row['setting']} {row['unit'] or ''}".strip() for row in rows}
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as connection:
            policy = {**connection.config_get("append*"), "version": connection.info("server")["redis_version"]}
        kept = ("appendonly", "appendfsync", "version")
        return {"postgres": shown, "redis": {name: policy.get(name) for name in kept}}

    def redis_bytes(self) -> int:
        """Memory that Redis says it uses."""
        with redis.Redis.from_url(self.redis_url) as connection:
            return int(connection.info("memory")["used_memory"])

    def redis_traffic(self) -> int:
        """Bytes that Redis has received and sent since its start."""
        with redis.Redis.from_url(self.redis_url) as connection:
            stats = connection.info("stats")
        return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])

    def written_ahead(self) -> int:
        """Bytes of Postgres' log since its start: what a disk has to take and a replica to receive."""
        with psycopg.connect(self.database_url) as session:
            row = session.execute("select pg_current_wal_lsn() - '0/0'").fetchone()
        return int(row[0]) if row else 0

    def database_bytes(self) -> int:
        """Size of the engine's database on disk."""
        with psycopg.connect(self.database_url) as session:
            row = session.execute("select pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0


@contextmanager
def fresh_servers(*, packaged: bool = False) -> Iterator[Servers]:
    """New servers in a directory that is gone afterwards; enter it in the main thread.

    `packaged`: the Postgres of this machine's packages, which has the contrib modules.
    """
    start = start_packaged if packaged else start_servers
    with tempfile.TemporaryDirectory(prefix="freshet-benchmark-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        with start(directory / "servers") as found:
            roles = {"postgres": [found.postgres.pid], "redis": [found.redis.pid], "harness": [os.getpid()]}
            yield Servers(directory=directory, database_url=found.database_url, redis_url=found.redis_url, roles=roles)
