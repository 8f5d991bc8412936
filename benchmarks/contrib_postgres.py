"""The Postgres of this machine's packages, for a peer that needs an extension which the embedded one does not bring.

Guarantees: started with the options of the embedded one, so as durable; its version is in the report. Never: for
Freshet.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from freshet.domain.errors import FreshetError
from freshet.runtime.child import Child, Program
from freshet.runtime.embedded import PostgresServer, ValkeyServer, places
from freshet.runtime.embedded.postgres import USER
from freshet.runtime.embedded.servers import EmbeddedServers, await_ready

PACKAGED = Path("/usr/lib/postgresql")  # of Debian's packages, by version
CLUSTER = (f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")


class PackagedPostgres(PostgresServer):
    """As the embedded server, with other programs."""

    def _binaries(self) -> Path:
        versions = sorted(PACKAGED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        found = versions[-1] if versions else shutil.which("postgres")
        if found is None:
            raise FreshetError("This peer needs pg_trgm: install Postgres and its contrib modules, on PATH.")
        return Path(found).resolve().parent

    def _make_cluster(self, binaries: Path) -> None:
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            shutil.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        command = self._as_account((str(binaries / "initdb"), "-D", str(self._data), *CLUSTER))
        subprocess.run(
            command.argv, cwd=command.cwd, user=command.uid, group=command.gid, check=True, capture_output=True
        )


@contextmanager
def start_packaged(directory: Path) -> Iterator[EmbeddedServers]:
    """As `start_servers`, with the packaged Postgres."""
    directory.mkdir(parents=True)
    redis, postgres = ValkeyServer(directory), PackagedPostgres(directory)
    programs: tuple[Program, ...] = (redis, postgres)
    with ExitStack() as stack:
        stack.callback(places.remove_sockets, directory)
        started = [_start(program, directory, stack) for program in programs]
        for program, child in zip(programs, started, strict=True):
            await_ready(program, child)
        yield EmbeddedServers(database_url=postgres.url, redis_url=redis.url, redis=started[0], postgres=started[1])


def _start(program: Program, directory: Path, stack: ExitStack) -> Child:
    child = Child(program.command(), directory / f"{program.name}.log")
    stack.callback(child.stop, 10.0)
    return child
