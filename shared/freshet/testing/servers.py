"""The Postgres and the Redis of a test session: found or started once, shared by all of its processes.

Where they come from, in this order: the URLs in FRESHET_TEST_DATABASE_URL and FRESHET_TEST_REDIS_URL;
containers, if a Docker Engine answers and has the images; servers from wheels. FRESHET_TEST_SERVERS=docker
or =embedded decides instead. A session is a directory with a lock that its owner holds for life: whoever
can take the lock of a directory knows that its session is over, and cleans up after it. No test is skipped
for want of a server.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from freshet.testing import containers
from freshet.testing.embedded import EmbeddedPostgres, EmbeddedRedis

SESSION_VARIABLE: Final = "FRESHET_TEST_SESSION"
CHOICE_VARIABLE: Final = "FRESHET_TEST_SERVERS"
DATABASE_VARIABLE: Final = "FRESHET_TEST_DATABASE_URL"
REDIS_VARIABLE: Final = "FRESHET_TEST_REDIS_URL"


class Server(Protocol):
    """A server that a test may treat badly; it keeps its address over everything done to it."""

    @property
    def url(self) -> str:
        """Where the server listens."""

    def start(self) -> None:
        """Start it again after `stop` or `kill`."""

    def stop(self) -> None:
        """End it in order."""

    def kill(self) -> None:
        """SIGKILL it with its sessions."""

    def pause(self) -> None:
        """Freeze it: connections stay open and nobody answers."""

    def resume(self) -> None:
        """Thaw it."""

    def remove(self) -> None:
        """End it for good, in whatever state it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A test session. Only its owner has the lock; the processes of pytest-xdist join by the environment."""

    directory: Path
    lock: IO[str] | None

    @property
    def key(self) -> str:
        """A short name, unique among all sessions, fit for a database's name."""
        return self.directory.name


def open_session() -> Session:
    """Join the session that the environment names, else clean up after dead ones and open a new one."""
    if joined := os.environ.get(SESSION_VARIABLE):
        return Session(directory=Path(joined), lock=None)
    root = _root()
    # Under the root's lock, or a session could be taken for dead between its directory and its lock.
    with _locked(root / "lock"):
        for old in root.glob("*/alive"):
            if _is_over(old.parent):
                _discard(old.parent)
        directory = root / uuid.uuid4().hex[:12]
        directory.mkdir(mode=0o755)
        lock = (directory / "alive").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.environ[SESSION_VARIABLE] = str(directory)
    return Session(directory=directory, lock=lock)


def close_session(session: Session) -> None:
    """End the session's servers and forget it; only the owner does."""
    if session.lock is None:
        return
    os.environ.pop(SESSION_VARIABLE, None)
    if (outside := os.environ.get(DATABASE_VARIABLE)) and (session.directory / "template").exists():
        drop_database(outside, _template(session))
    if (choice := session.directory / "choice").exists() and choice.read_text() == "docker":
        containers.remove_all(lambda directory: directory == session.directory)
    _discard(session.directory)
    session.lock.close()


def shared_postgres(session: Session) -> str:
    """The URL of the session's Postgres, as a user who may create databases and roles."""
    if outside := os.environ.get(DATABASE_VARIABLE):
        return outside
    return _once(session, "postgres", lambda: start_postgres(session).url)


def shared_redis(session: Session) -> str:
    """The URL of the session's Redis, without a database number."""
    if outside := os.environ.get(REDIS_VARIABLE):
        return outside
    return _once(session, "redis", lambda: start_redis(session).url)


def start_postgres(session: Session) -> Server:
    """A new Postgres that ends with the session."""
    if _choice(session) == "docker":
        return containers.start_postgres(session.directory)
    server = EmbeddedPostgres(directory=session.directory / f"postgres-{uuid.uuid4().hex[:6]}")
    server.start()
    return server


def start_redis(session: Session) -> Server:
    """A new, empty Redis that ends with the session."""
    if _choice(session) == "docker":
        return containers.start_redis(session.directory)
    server = EmbeddedRedis(directory=session.directory / f"redis-{uuid.uuid4().hex[:6]}")
    server.start()
    return server


def migrated_database(session: Session, url: str, migrate: Callable[[str], Any]) -> str:
    """A new, migrated database, cloned from a template that is migrated once per session."""
    template = _template(session)

    def make() -> str:
        migrate(create_database(url, template))
        return template

    return create_database(url, f"test_{uuid.uuid4().hex[:16]}", template=_once(session, "template", make))


def create_database(url: str, name: str, *, template: str = "template1") -> str:
    """Make a database on the server at `url`; answers the new one's URL."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
    return with_database(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database, with force: sessions that a test has forgotten are cut."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def database_name(url: str) -> str:
    """The database in a Postgres URL."""
    return urlsplit(url).path.removeprefix("/")


def with_database(url: str, name: str) -> str:
    """The same Postgres URL with another database."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    # By hand: urlunsplit would drop the empty host of a Unix socket's URL.
    return f"{parts.scheme}://{parts.netloc}/{name}{query}"


def with_redis_database(url: str, number: int) -> str:
    """The same Redis URL with another database number."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={number}"
    return f"{parts.scheme}://{parts.netloc}/{number}"


def flush_redis(url: str) -> None:
    """Empty the one database that the URL names."""
    with redis.Redis.from_url(url) as client:
        client.flushdb()


def _choice(session: Session) -> str:
    return _once(session, "choice", _choose)


def _choose() -> str:
    choice = os.environ.get(CHOICE_VARIABLE) or ("docker" if containers.available() else "embedded")
    if choice not in {"docker", "embedded"}:
        raise ValueError(f"{CHOICE_VARIABLE} is {choice!r}: say docker or embedded")
    if choice == "docker":
        containers.remove_all(_is_over)
    return choice


def _once(session: Session, name: str, make: Callable[[], str]) -> str:
    """What `make` answers, called once in the whole session, by whichever process comes first."""
    answer = session.directory / name
    with _locked(session.directory / f"{name}.lock"):
        if not answer.exists():
            answer.write_text(make(), encoding="utf-8")
        return answer.read_text(encoding="utf-8")


def _template(session: Session) -> str:
    return f"freshet_template_{session.key}"


def _root() -> Path:
    """Where the sessions of this user live: short, or the path of a socket would be too long (107 bytes)."""
    temporary = Path(tempfile.gettempdir())
    short = temporary if len(str(temporary)) < 40 else Path("/tmp")
    root = short / f"freshet-tests-{os.getuid()}"
    root.mkdir(mode=0o755, exist_ok=True)
    return root


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _is_over(directory: Path) -> bool:
    try:
        with (directory / "alive").open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return True


def _discard(directory: Path) -> None:
    """End every embedded server of a session and remove its directory."""
    for path in directory.glob("postgres-*/data"):
        EmbeddedPostgres(directory=path.parent).kill()
    for path in directory.glob("redis-*/redis.pid"):
        EmbeddedRedis(directory=path.parent).kill()
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)
