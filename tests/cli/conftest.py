"""A small real HTTP server that answers as told, and the command line called in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from freshet.cli.failures import guarded
from freshet.cli.main import app

Answer = tuple[int, Any]


@dataclass(kw_only=True)
class Server:
    """Answers by method and path without query; a list of answers is used up, its last one stays."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def on(self, what: str, *answers: Answer) -> None:
        self.answers[what] = list(answers)

    def bodies(self, what: str) -> list[Any]:
        return [body for seen, body in self.requests if seen.partition("?")[0] == what]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            what = f"{self.command} {self.path}"
            told.requests.append((what, json.loads(raw) if raw else None))
            told.headers.append({name.lower(): value for name, value in self.headers.items()})
            known = told.answers.get(what.partition("?")[0], [(404, _problem("There is nothing here."))])
            status, body = known.pop(0) if len(known) > 1 else known[0]
            self.send(status, body)

        def send(self, status: int, body: Any) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            kind = "text/event-stream" if isinstance(body, str) else "application/json"
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  (the base class's names)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{http.server_address[1]}"
    monkeypatch.setenv("FRESHET_URL", told.url)
    monkeypatch.setenv("FRESHET_TOKEN", "t0ken")
    yield told
    http.shutdown()
    thread.join()
    http.server_close()


def _problem(detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "Not found", "status": 404, "detail": detail, "code": "not_found"}


@dataclass(frozen=True, kw_only=True)
class Called:
    code: int
    out: str
    err: str


Call = Callable[..., Called]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run `freshet …`; the user's state directory is an empty one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: str) -> Called:
        capsys.readouterr()
        try:
            code = guarded(lambda: app(list(arguments)))
        except SystemExit as left:
            code = int(left.code or 0)
        shown = capsys.readouterr()
        return Called(code=code, out=shown.out, err=shown.err)

    return call
