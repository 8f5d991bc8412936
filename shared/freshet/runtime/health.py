"""`/healthz`, `/readyz` and `/metrics` for services that serve no HTTP themselves.

Purpose: one tiny threaded server from the standard library. Guarantees: an error inside `ready` or `metrics`
answers 503, it never stops the service; `/healthz` answers as long as the process breathes. Never: anything
that writes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

#: What `/readyz` says: None when ready, else the sentence that tells what is missing.
Ready = Callable[[], str | None]
#: What `/metrics` sends: the body and its content type.
Metrics = Callable[[], tuple[bytes, str]]

PLAIN = "text/plain; charset=utf-8"


def no_metrics() -> tuple[bytes, str]:
    """An empty exposition, for a service that measures nothing."""
    return b"", "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """Serves the three pages in a daemon thread; `port` is the one that it got when 0 was asked for."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, ready: Ready, metrics: Metrics = no_metrics) -> None:
        """Bind at once. Raises OSError when the port is taken."""
        self._server = ThreadingHTTPServer((host, port), _handler(ready, metrics))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        """Start answering."""
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 5.0}, name="health", daemon=True
        ).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the port; the thread is a daemon and ends by itself."""
        self._server.server_close()


def _handler(ready: Ready, metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    pages: dict[str, Callable[[], tuple[int, bytes, str]]] = {
        "/healthz": lambda: (200, b"ok\n", PLAIN),
        "/readyz": lambda: _readiness(ready),
        "/metrics": lambda: (200, *metrics()),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            self._send(*(_shielded(page) if page else (404, b"not found\n", PLAIN)))

        def _send(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
            """Idle is silent: requests are not logged."""

    return Handler


def _readiness(ready: Ready) -> tuple[int, bytes, str]:
    missing = ready()
    return (200, b"ready\n", PLAIN) if missing is None else (503, f"{missing}\n".encode(), PLAIN)


def _shielded(page: Callable[[], tuple[int, bytes, str]]) -> tuple[int, bytes, str]:
    try:
        return page()
    except Exception as error:  # noqa: BLE001  (whatever is wrong is the answer; the service goes on)
        return 503, f"{type(error).__name__}\n".encode(), PLAIN
