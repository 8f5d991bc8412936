"""`freshet up`: everything on one machine.

Purpose: embedded servers where no URL is given, the emulator where no Snowflake is given, every service, and
a file that says where they are. Guarantees: one `up` per data directory; `connection.json` is written once
all serves and again after each restart; nothing outlives us, also after kill -9. Never: in production.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from freshet.cli import connection, programs
from freshet.cli.connection import Connection
from freshet.cli.failures import StartError
from freshet.cli.supervisor import Supervisor, failure
from freshet.domain.errors import DefinitionError
from freshet.runtime.child import Program
from freshet.runtime.clock import Clock, SystemClock
from freshet.runtime.embedded import PostgresServer, ValkeyServer, places
from freshet.runtime.forked import can_fork
from freshet.runtime.lock import locked
from freshet.runtime.service import PassResult

START_TIMEOUT = 60.0  # seconds until everything must serve
START_TRIES = 3  # ends of a service before it served, after which the start has failed
STOP_GRACE = 8.0  # seconds for each step of the stop
DRAIN_GRACE = 5.0  # seconds that workers give their running bundle, unless FRESHET_DRAIN_GRACE says otherwise
_JOB_POLL = "0.25"  # seconds; asking the emulator costs nothing
WORDS = ("api", "dispatcher", "scheduler", "recorder", "worker", "emulator")
#: No new work first, then who decides and who records (what is left is recorded at the next start), the
#: stores last.
STOP_STEPS = (
    (frozenset({"api", "scheduler", "worker"}), STOP_GRACE),
    (frozenset({"dispatcher", "recorder", "emulator"}), STOP_GRACE),
    (frozenset({"redis", "postgres"}), STOP_GRACE),
)
_TIDY = frozenset({"postgres", "emulator"})  # killed, they would leave shared memory and files behind
#: For data that is thrown away.
DROP_STEPS = ((frozenset({*WORDS, "redis"}) - _TIDY, 0.0), (_TIDY, STOP_GRACE))


@dataclass(frozen=True, kw_only=True, slots=True)
class UpOptions:
    """What the command line says."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080  # 0: a free one
    workers: int = 2
    processes: str | None = None  # modules, comma-separated
    queues: str | None = None  # further queues, comma-separated
    images: Path | None = None  # the emulator's image map
    code: Path | None = None  # the directory that user code is imported from; None: the working directory
    keep: bool = True  # False: the data are thrown away, so nothing is registered and nothing is drained


class Stopped(Exception):  # noqa: N818  (no error)
    """A signal came before everything served."""


class Installation:
    """A running `up`: the supervisor and what it tells clients."""

    def __init__(self, options: UpOptions, *, say: Callable[[str], object], clock: Clock | None = None) -> None:
        """Nothing starts yet."""
        self.options = options
        self.stop = threading.Event()
        self.wake = threading.Event()  # set by signals: a child ended, or we shall stop
        self.clock = clock or SystemClock()
        self.token = os.environ.get("FRESHET_TOKEN") or secrets.token_urlsafe(24)
        self.port = _usable_port(options.host, options.port)
        self.supervisor = Supervisor(logs=options.data / "logs", clock=self.clock, say=say)
        self._emulator = _emulator(options)
        self._postgres = None if os.environ.get("FRESHET_DATABASE_URL") else PostgresServer(options.data)
        self._redis = None if os.environ.get("FRESHET_REDIS_URL") else ValkeyServer(options.data)

    @property
    def database_url(self) -> str:
        """The embedded Postgres once it has been started, else the one that was given."""
        return self._postgres.url if self._postgres else os.environ["FRESHET_DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """The embedded Redis once it has been started, else the one that was given."""
        return self._redis.url if self._redis else os.environ["FRESHET_REDIS_URL"]

    @property
    def url(self) -> str:
        """The api's address on this machine."""
        host = programs.reachable_host(self.options.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def connection(self) -> Connection:
        """What clients need to know now."""
        return Connection(
            url=self.url,
            token=self.token,
            database_url=self.database_url,
            redis_url=self.redis_url,
            pids=self.supervisor.pids(),
        )

    def start(self, *, serving: frozenset[str] | None = None) -> Connection:
        """Start the servers, migrate, start the services, wait until all serve; then write and register.

        `serving`: do not wait for other services than these. Raises StartError with the end of a log,
        DefinitionError, or Stopped when a signal came first.
        """
        with _preloading(WORDS if can_fork() else ()):
            from freshet.storage import migrate

            self.supervisor.add(self._servers())
            self._await_ready()
            migrate(self.database_url)
        self.supervisor.add(self._services(), fork=can_fork())
        self._await_ready(serving)
        self._publish()
        if self.options.keep:
            connection.register(self.options.data)
        return self.connection

    def once(self) -> PassResult:
        """One pass over all programs; `connection.json` follows what was started again."""
        self.wake.clear()
        result = self.supervisor.once()
        if result.did:
            self._publish()
        return result

    def run(self) -> None:
        """Look after everything until `stop` is set."""
        while not self.stop.is_set():
            self.clock.wait(self.wake, self.once().wait)

    def close(self) -> None:
        """Take the connection back and stop everything in order."""
        connection.remove(self.options.data)
        self.supervisor.stop(STOP_STEPS if self.options.keep else DROP_STEPS)
        places.remove_sockets(self.options.data)

    def _publish(self) -> None:
        connection.write(self.connection, self.options.data)

    def _await_ready(self, wanted: frozenset[str] | None = None) -> None:
        deadline = self.clock.monotonic() + START_TIMEOUT
        while True:
            self.wake.clear()
            result = self.supervisor.once()
            self.supervisor.check_start(START_TRIES)
            waiting = [unit for unit in self.supervisor.waiting() if wanted is None or unit.service in wanted]
            if not waiting:
                return
            if self.stop.is_set():
                raise Stopped
            if self.clock.monotonic() > deadline:
                raise StartError(failure(waiting[0]))
            self.clock.wait(self.wake, result.wait)

    def _servers(self) -> Iterator[Program]:
        """The quick ones first: Postgres makes its cluster before it starts."""
        for server in (self._redis, self._postgres):
            if server is not None:
                yield server

    def _services(self) -> Iterator[Program]:
        code = self.options.code or Path.cwd()
        if self._emulator is not None:
            yield self._emulator
        yield programs.Api(host=self.options.host, port=self.port, env=self._env, code=code)
        names = ["dispatcher", "scheduler", "recorder"]
        for name in [*names, *(f"worker-{number + 1}" for number in range(self.options.workers))]:
            yield programs.Service(name=name, env=self._env, code=code)

    def _env(self) -> Mapping[str, str]:
        env = {
            "FRESHET_DATABASE_URL": self.database_url,
            "FRESHET_REDIS_URL": self.redis_url,
            "FRESHET_TOKEN": self.token,
            "FRESHET_DRAIN_GRACE": os.environ.get("FRESHET_DRAIN_GRACE") or str(DRAIN_GRACE),
            **(self._emulator.snowflake() if self._emulator else {}),
            # The emulator's containers run on this machine.
            **({"FRESHET_PUBLIC_URL": self.url} if self._emulator and "FRESHET_PUBLIC_URL" not in os.environ else {}),
            **({"FRESHET_JOB_POLL": _JOB_POLL} if self._emulator and "FRESHET_JOB_POLL" not in os.environ else {}),
        }
        if self.options.processes is not None:
            env["FRESHET_PROCESSES"] = self.options.processes
        if self.options.queues is not None:
            env["FRESHET_QUEUES"] = self.options.queues
        return env


@contextmanager
def _preloading(words: Sequence[str]) -> Iterator[None]:
    """Import what the services need while Postgres makes its cluster; done at the end of the context."""
    thread = threading.Thread(target=programs.preload, args=(words,), name="preload")
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def running(options: UpOptions, *, say: Callable[[str], object]) -> Iterator[Installation]:
    """An installation that is stopped at the end; enter it in the main thread. Raises ConflictError."""
    options.data.mkdir(parents=True, exist_ok=True)
    (options.data / "logs").mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(locked(options.data))
        connection.remove(options.data)  # of an `up` that was killed
        installation = Installation(options, say=say)
        stack.enter_context(_signals(installation))
        stack.callback(installation.close)
        yield installation


def run(options: UpOptions, *, say: Callable[[str], object]) -> None:
    """Everything until a signal; `say` gets the two lines that tell how to go on."""
    with running(options, say=say) as installation:
        try:
            found = installation.start()
        except Stopped:
            return
        say(f"Freshet runs at {found.url}; its token is in {options.data / connection.FILE}.")
        say("Go on in another terminal: freshet apply FILE, freshet run WORKFLOW --wait. Ctrl-C stops everything.")
        installation.run()
        say("Stopping: running work is drained.")


@contextmanager
def _signals(installation: Installation) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP stop, a second one kills all; the end of a child wakes the pass."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if installation.stop.is_set():
            installation.supervisor.kill()
            os._exit(128 + number)
        installation.stop.set()
        installation.wake.set()

    def wake(_number: int, _frame: FrameType | None) -> None:
        installation.wake.set()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGCHLD: wake}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it ignored
        handlers[signal.SIGHUP] = stop
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _usable_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises DefinitionError when it is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = (
                f"Can't listen on {host} port {port} ({error.strerror}): give --port another, or 0 for a free one."
            )
            raise DefinitionError(message, code="port_refused") from error
        return int(probe.getsockname()[1])


def _emulator(options: UpOptions) -> programs.Emulator | None:
    """None when a real Snowflake is named."""
    if os.environ.get("FRESHET_SNOWFLAKE_ACCOUNT") or os.environ.get("FRESHET_SNOWFLAKE_HOST"):
        return None
    password = os.environ.get("FRESHET_EMULATOR_PASSWORD") or secrets.token_urlsafe(12)
    return programs.Emulator(state=options.data / "emulator", images=options.images, password=password)
