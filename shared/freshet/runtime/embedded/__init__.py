"""Postgres and Redis servers that pip brings, for one machine and for tests.

Purpose: `freshet up`, `freshet demo` and tests need no installed server and no Docker. Guarantees: reachable
over Unix sockets only, fsync on, data kept in the directory given, recovered after any crash, gone when we
are. Never: for production; there, FRESHET_DATABASE_URL and FRESHET_REDIS_URL name real servers.
"""

from __future__ import annotations

from freshet.runtime.embedded.postgres import PostgresServer
from freshet.runtime.embedded.servers import EmbeddedServers, start_servers
from freshet.runtime.embedded.valkey import ValkeyServer

__all__ = ["EmbeddedServers", "PostgresServer", "ValkeyServer", "start_servers"]
