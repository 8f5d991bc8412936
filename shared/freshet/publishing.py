"""Publishing a CloudEvent from any program: `from freshet import publish`.

Guarantee: an event that is sent again under the same id and source starts nothing twice, so a retry is safe. Never: a
retry by itself.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import orjson

from freshet.domain.errors import ConflictError, DefinitionError, UnreachableError
from freshet.events import serialise
from freshet.events.storable import check_storable

CONTENT_TYPE = "application/cloudevents+json"


def publish(
    type: str,  # noqa: A002  (the attribute's name in CloudEvents)
    data: Any = None,
    *,
    source: str = "/freshet/sdk",
    subject: str | None = None,
    id: str | None = None,  # noqa: A002  (likewise)
    timeout: float = 30.0,
) -> dict[str, Any]:
    """Publish an event and return `{"accepted", "duplicates", "runs": [id, …]}` with the runs that it started.

    The server is FRESHET_URL with FRESHET_TOKEN, else this user's newest `freshet up`. `id` makes repeating safe; by
    default it is new. `timeout` in seconds. Raises DefinitionError for an event that is refused, ConflictError for a
    token that is, UnreachableError when no server answers.
    """
    event = {
        "specversion": "1.0",
        "id": id or str(uuid.uuid4()),
        "source": source,
        "type": type,
        "datacontenttype": "application/json",
        "data": data,
        **({"subject": subject} if subject is not None else {}),
    }
    url, token = _server()
    return _send(f"{url.rstrip('/')}/api/v1/events", token, _body(event), timeout)


def _server() -> tuple[str, str | None]:
    url, token = os.environ.get("FRESHET_URL"), os.environ.get("FRESHET_TOKEN")
    if url:
        return url, token
    from freshet.cli import connection

    found = connection.newest()
    if found is None:
        raise UnreachableError("No Freshet is running for this user: start `freshet up`, or set FRESHET_URL.")
    return found.url, token or found.token


def _body(event: Mapping[str, Any]) -> bytes:
    check_storable(event)
    try:
        return serialise(event)
    except TypeError as error:
        raise DefinitionError(f"The event's data is not JSON: {error}", code="not_json", pointer="/data") from error


def _send(url: str, token: str | None, body: bytes, timeout: float) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise DefinitionError(
            f"FRESHET_URL has to begin with http:// or https://, not {url!r}.", code="setting_refused"
        )
    headers = {"Content-Type": CONTENT_TYPE, **({"Authorization": f"Bearer {token}"} if token else {})}
    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310  (the scheme is checked above)
    try:
        with urlopen(request, timeout=timeout) as answer:  # noqa: S310  (likewise)
            received: dict[str, Any] = orjson.loads(answer.read())
            return received
    except HTTPError as error:
        raise _refusal(error) from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise UnreachableError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error


def _refusal(error: HTTPError) -> Exception:
    problem = _problem(error)
    detail = str(problem.get("detail") or f"The server answered {error.code}.")
    if error.code in {401, 403}:
        return ConflictError(detail)
    if error.code >= 500:
        return UnreachableError(detail)
    culprits = problem.get("errors") or [{}]
    return DefinitionError(
        detail, code=str(problem.get("code", "event_refused")), pointer=str(culprits[0].get("pointer", ""))
    )


def _problem(error: HTTPError) -> dict[str, Any]:
    try:
        problem = orjson.loads(error.read())
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
