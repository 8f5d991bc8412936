"""Starts the emulator: settings, socket, server, and a clean stop on SIGTERM and SIGINT."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

import structlog
import uvicorn

from freshet_emulator.app import build_app
from freshet_emulator.emulator import Emulator
from freshet_emulator.errors import EmulatorError
from freshet_emulator.settings import EmulatorSettings, read_settings

# Requests that still wait when the emulator stops are cut off after this long (seconds).
DRAIN_SECONDS = 1

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A server whose stop by a signal is a success: uvicorn's own would raise the signal again afterwards."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal comes. 0 after a clean stop, 2 for wrong settings."""
    configure_logging()
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
        with listen(settings) as listener:
            serve(settings, listener)
    except EmulatorError as error:
        sys.stderr.write(f"freshet emulator: {error}\n")
        return 2
    return 0


def serve(settings: EmulatorSettings, listener: socket.socket) -> None:
    """Serve until a signal comes. Raises EmulatorError for settings that can't be used."""
    port = int(listener.getsockname()[1])
    emulator = Emulator(settings, port=port)
    app = build_app(emulator, lambda: log.info("listening", host=settings.host, port=port))
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS)
    Server(config).run(sockets=[listener])
    log.info("stopped", port=port)


def listen(settings: EmulatorSettings) -> socket.socket:
    """The listening socket. Raises EmulatorError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise EmulatorError(f"Can't listen on {settings.host}:{settings.port}: {error.strerror}.") from error
    listener.listen(512)
    return listener


def configure_logging() -> None:
    """JSON lines on stdout, as every service writes them."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(),
    )
