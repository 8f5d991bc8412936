"""The REST client of the command line.

Purpose: find the server, speak to it, and turn its problem documents into sentences. Guarantees: what the
server refuses becomes a ProblemError with status, code and pointers; what can't be reached an
UnreachableError that says how to start. Never: a retry of anything that is not a read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from freshet.cli import connection
from freshet.cli.failures import ProblemError
from freshet.domain.errors import UnreachableError
from freshet.runtime.settings import ClientSettings, read

NOTHING_RUNS = "No Freshet is running for this user. Start one with `freshet up`, or set FRESHET_URL and FRESHET_TOKEN."


class Client:
    """One server."""

    def __init__(self, url: str, token: str | None, *, timeout: float = 30.0) -> None:
        """`timeout` in seconds, for each answer."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # trust_env off: a proxy of the environment is not meant for a server on this machine
        local = httpx.URL(self.url).host in {"127.0.0.1", "localhost", "::1"}
        self._http = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=timeout, trust_env=not local)

    def get(self, *path: str, **params: Any) -> Any:
        """The JSON at a path; parameters that are None are left out."""
        return self._send("GET", path, params={name: value for name, value in params.items() if value is not None})

    def put(self, *path: str, body: Any) -> Any:
        """Replace what is there."""
        return self._send("PUT", path, body=body)

    def post(self, *path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Ask for something to happen."""
        return self._send("POST", path, body=body, content_type=content_type)

    def delete(self, *path: str) -> Any:
        """Remove what is there."""
        return self._send("DELETE", path)

    def pages(self, *path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page after page, at most `limit`."""
        after, left = None, limit
        while left is None or left > 0:
            page = self.get(*path, after=after, limit=min(left or 200, 200), **params)
            yield from page["items"][:left]
            after = page.get("next")
            left = None if left is None else left - len(page["items"])
            if after is None or not page["items"]:
                return

    def events(self, *path: str) -> Iterator[str]:
        """The data lines of a stream of server-sent events, until the server ends it."""
        with self._http.stream("GET", _joined(path), timeout=httpx.Timeout(10.0, read=None)) as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                raise _problem(answer)
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield line[5:].strip()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        content = None if body is None else orjson.dumps(body)
        headers = {} if content is None else {"Content-Type": content_type}
        try:
            answer = self._http.request(method, _joined(path), params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(
                f"{self.url} does not answer ({reason}). Is it running? See `freshet up`."
            ) from error
        if answer.is_error:
            raise _problem(answer)
        return orjson.loads(answer.content) if answer.content else None


def connect() -> Client:
    """The client of FRESHET_URL, else of the newest `up`. Raises UnreachableError when there is none."""
    settings = read(ClientSettings)
    token = settings.token.get_secret_value() if settings.token else None
    if settings.url is not None:
        return Client(settings.url, token, timeout=settings.client_timeout)
    found = connection.newest()
    if found is None:
        raise UnreachableError(NOTHING_RUNS)
    return Client(found.url, token or found.token, timeout=settings.client_timeout)


def _joined(path: tuple[str, ...]) -> str:
    return "/" + "/".join(quote(part, safe="") for part in path)


def _problem(answer: httpx.Response) -> ProblemError:
    try:
        document = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        document = {"detail": f"The server answered {answer.status_code} {answer.reason_phrase}."}
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        document["detail"] = f"{document.get('detail', 'The token is refused.')} Set FRESHET_TOKEN."
    return ProblemError(document, answer.status_code)
