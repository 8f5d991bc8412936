"""Server-sent events: a run from its first to its last word, and the live feed of all."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

from api.conftest import Served, any_id, workflow
from freshet_api.live_feed import stream_key


class Stream:
    """The events of an answer, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> dict[str, Any] | None:
        """The next event, None at the end of the stream; comments are passed over."""
        event: dict[str, Any] = {}
        for line in self._lines:
            if line == "" and event:
                return event
            name, _, value = line.partition(": ")
            if name:
                event[name] = json.loads(value) if name == "data" else value
        return None

    def here(self) -> None:
        """Wait for the first comment: from now on the server listens."""
        assert next(self._lines).startswith(":")

    def rest(self) -> list[dict[str, Any]]:
        return list(iter(self.next, None))


@contextmanager
def _listen(api: Served, path: str, **headers: str) -> Iterator[Stream]:
    with api.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


def _fact(run: str, state: str, **members: Any) -> dict[str, Any]:
    return {"type": f"freshet.run.{state}.v1", "run_id": run, "at": "2026-01-01T00:00:00Z", **members}


def _announce(api: Served, *facts: dict[str, Any]) -> None:
    api.bus.announce([(1, orjson.dumps(list(facts)))])


@pytest.fixture
def run(api: Served) -> str:
    api.apply(workflow())
    return api.start("pipeline")


def test_a_runs_stream_begins_and_ends_with_the_run_object(api: Served, run: str) -> None:
    with _listen(api, f"/runs/{run}/events") as stream:
        first = stream.next()
        assert first is not None
        assert (first["event"], first["data"]["state"]) == ("run", "pending")
        _announce(api, _fact(run, "running"))
        running = stream.next()
        assert running is not None
        assert running["event"] == "freshet.run.running.v1"
        assert (running["data"]["id"], running["data"]["specversion"]) == (f"{run}/running", "1.0")
        api.end(run)
        _announce(api, _fact(any_id(), "failed"), _fact(run, "succeeded"))
        api.record(run)
        succeeded, last = stream.rest()
    assert succeeded["event"] == "freshet.run.succeeded.v1"
    assert (last["event"], last["data"]["recorded"]) == ("run", True)


def test_the_stream_waits_until_the_run_is_recorded(api: Served, run: str) -> None:
    with _listen(api, f"/runs/{run}/events") as stream:
        stream.next()
        api.end(run)
        _announce(api, _fact(run, "succeeded"))
        assert stream.next() is not None
        recorder = threading.Timer(0.3, api.record, [run])
        recorder.start()
        (last,) = stream.rest()
        recorder.join()
    assert last["data"]["recorded"] is True


def test_a_recorded_run_is_told_at_once(api: Served, run: str) -> None:
    api.end(run)
    api.record(run)
    with _listen(api, f"/runs/{run}/events") as stream:
        (only,) = stream.rest()
    assert only["data"]["state"] == "succeeded"


def test_what_was_said_before_the_client_came_is_replayed(api: Served, run: str) -> None:
    _announce(api, _fact(run, "running"))
    with _listen(api, f"/runs/{run}/events") as stream:
        assert [(event or {})["event"] for event in (stream.next(), stream.next())] == ["run", "freshet.run.running.v1"]


def test_last_event_id_goes_on_where_a_client_was_cut_off(api: Served, run: str) -> None:
    for state in ("pending", "running"):
        _announce(api, _fact(run, state))
    with _listen(api, f"/runs/{run}/events") as stream:
        seen = [stream.next(), stream.next()]
    assert seen[1] is not None
    with _listen(api, f"/runs/{run}/events", **{"Last-Event-ID": seen[1]["id"]}) as stream:
        again = [stream.next(), stream.next()]
    assert [(event or {})["event"] for event in again] == ["run", "freshet.run.running.v1"]


def test_only_the_last_event_of_an_entry_carries_an_id(api: Served, run: str) -> None:
    _announce(api, _fact(run, "pending"), _fact(run, "running"))
    with _listen(api, f"/runs/{run}/events") as stream:
        _, first, second = stream.next(), stream.next(), stream.next()
    assert first is not None
    assert second is not None
    assert "id" not in first
    assert stream_key(second["id"]) > (0, 0)


def test_the_feed_of_all_tells_every_event_once_to_every_client(api: Served) -> None:
    runs = [any_id() for _ in range(3)]
    with _listen(api, "/events") as one, _listen(api, "/events") as two:
        one.here()
        two.here()
        for run in runs:
            _announce(api, _fact(run, "running"))
        for stream in (one, two):
            told = [stream.next() for _ in runs]
            assert [(event or {})["data"]["data"]["run_id"] for event in told] == runs


def test_many_clients_share_one_reader(api: Served) -> None:
    before = _blocked(api)
    with _listen(api, "/events") as one, _listen(api, "/events") as two, _listen(api, "/events") as last:
        for stream in (one, two, last):
            stream.here()
        _announce(api, _fact(any_id(), "running"))
        last.next()
        assert _blocked(api) - before <= 1


def _blocked(api: Served) -> int:
    # Of this Redis database: other tests serve in theirs.
    number = str(api.bus.client.connection_pool.connection_kwargs.get("db", 0))
    clients = [client for client in api.bus.client.client_list() if client["db"] == number]
    return sum(client["cmd"] == "xread" and client["name"] == "api" for client in clients)


def test_an_id_that_is_none_of_the_stream_is_refused(api: Served, run: str) -> None:
    for path in ("/events", f"/runs/{run}/events"):
        for last in ("x", "1-", "1-x", "-1", "9" * 40):
            answer = api.get(path, headers={"Last-Event-ID": last})
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor"), last
