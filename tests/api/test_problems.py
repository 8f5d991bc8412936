"""Every refusal is a problem document, and nothing that a client sends is a 500."""

import json
from typing import Any

import httpx
import pytest

from api.conftest import MAX_BODY, TOKEN, Served, any_id, served, workflow
from freshet.bus import Bus
from freshet.storage.database import Database
from freshet.storage.tokens import Tokens
from freshet.telemetry import Telemetry
from freshet.testing.servers import Server
from freshet_api.door import Door

JSON = {"Content-Type": "application/json"}


def _is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert set(document) == {"type", "title", "status", "detail", "code", "errors"}
    assert document["type"].endswith(code)
    assert document["detail"]
    return document


def test_without_a_token_nothing_is_answered(api: Served) -> None:
    for value in (None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", "Bearer \xff"):
        headers = {} if value is None else {"Authorization": value}
        with httpx.Client(base_url=f"{api.url}/api/v1", trust_env=False) as stranger:
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            answer = stranger.get("/workflows", headers=encoded)
            _is_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            refused = stranger.put(
                "/workflows/w", content=b"not json", headers=[*encoded, (b"content-type", b"application/json")]
            )
            _is_problem(refused, 401, "unauthorized")


def test_health_and_the_description_are_open(api: Served) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert httpx.get(f"{api.url}{path}", trust_env=False).status_code == 200, path
    assert httpx.get(f"{api.url}/openapi.json", trust_env=False).json()["openapi"].startswith("3.1")


def test_a_token_that_was_made_is_known_and_only_its_digest_is_kept(api: Served) -> None:
    token = Tokens(api.store).create("ci")
    answer = api.get("/workflows", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    (row,) = api.execute("select name, encode(digest, 'hex') as digest from engine.api_token")
    assert (row["name"], token in row["digest"]) == ("ci", False)


def test_unknown_routes_and_methods_are_problems(api: Served) -> None:
    _is_problem(api.http.get(f"{api.url}/nope"), 404, "no_such_route")
    _is_problem(api.get("/nope"), 404, "no_such_route")
    answer = api.http.patch("/workflows")
    _is_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_a_body_beyond_the_limit_is_refused(api: Served) -> None:
    _is_problem(api.http.put("/workflows/w", content=b"x" * (MAX_BODY + 1), headers=JSON), 413, "body_too_large")
    chunks = (b"x" * 1024 for _ in range(MAX_BODY // 1024 + 1))
    _is_problem(api.http.put("/workflows/w", content=chunks, headers=JSON), 413, "body_too_large")
    assert api.get("/workflows").status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "invalid_request", ""),
        (b"{", "not_json", ""),
        (b"\xff\xfe", "not_json", ""),
        (b'{"tasks": NaN}', "not_json", ""),
        (b'{"tasks": Infinity}', "not_json", ""),
        (b'{"tasks": 1e999}', "not_json", ""),
        (b'"text"', "invalid_request", ""),
        (b"[]", "invalid_request", ""),
        (b'{"name": "a\\u0000b"}', "bad_text", "/name"),
        (b'{"a\\u0000b": 1}', "bad_text", ""),
        (
            b'{"name": "w", "tasks": {"a~/b": {"process": "p@1", "input": "\\u0000"}}}',
            "bad_text",
            "/tasks/a~0~1b/input",
        ),
        (b"[" * 200 + b"]" * 200, "too_deep", "/0" * 100),
        (b"[" * 100_000, "body_too_large", None),
    ],
)
def test_a_body_that_cannot_be_kept_is_refused_where_it_is_wrong(
    api: Served, body: bytes, code: str, pointer: str | None
) -> None:
    answer = api.http.put("/workflows/w", content=body, headers=JSON)
    document = _is_problem(answer, 413 if code == "body_too_large" else 422, code)
    if pointer is not None:
        assert document["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("value", ["1e29", "123456789012345678901234567890", "-9223372036854775809"])
def test_numbers_that_no_column_holds_are_refused(api: Served, value: str) -> None:
    api.apply(workflow())
    body = f'{{"params": {{"batch": {value}}}}}'.encode()
    answer = api.http.post("/workflows/pipeline/runs", content=body, headers=JSON)
    assert _is_problem(answer, 422, "too_large")["errors"][0]["pointer"] == "/params/batch"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/runs/not-a-uuid", "/path/run_id"),
        ("/runs?limit=0", "/query/limit"),
        ("/runs?limit=99999999999999999999999", "/query/limit"),
        ("/runs?limit=ten", "/query/limit"),
        ("/runs?state=asleep", "/query/state"),
        ("/runs?group=x", "/query/group"),
        ("/workflows/w?version=0", "/query/version"),
        ("/workflows/w?version=2147483648", "/query/version"),
        ("/tables/users", "/path/table"),
        ("/tables/jobs_run_stats?run=1", "/query/run"),
    ],
)
def test_wrong_paths_and_queries_are_pointed_at(api: Served, path: str, pointer: str) -> None:
    assert _is_problem(api.get(path), 422, "invalid_request")["errors"][0]["pointer"] == pointer


LISTS = ("/runs", "/workflows", "/queues", "/workers", "/tables/jobs_run_stats", "/tables/task_logging_stats")
CURSORS = (
    "x", "ä", "bm90IGpzb24", "W10", "WzFd", "WyIiXQ", "WyJcdTAwMDAiXQ", "WyJcdTAwMDAiLDFd", "e30", "WzEsMiwzLDQsNV0",
    "WyJ4IiwieCJd", "W251bGwsbnVsbF0", "WzFlOTksMV0", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LDFd", "WyIyMDI2IiwtMV0",
)  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_that_was_not_given_out_is_never_a_500(api: Served, path: str) -> None:
    for cursor in CURSORS:
        answer = api.get(path, params={"after": cursor})
        assert answer.status_code in {200, 422}, (cursor, answer.text)


def test_cursors_of_items_results_and_logs_are_checked_too(api: Served) -> None:
    api.apply(workflow())
    run = api.start("pipeline")
    api.end(run, assign="succeeded", classify="succeeded")
    for part in ("items", "result", "logs"):
        for cursor in (
            *CURSORS,
            "WyIyMDI2LTAxLTAxIiwiIiwxLDEsIngiXQ",
            "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwiIiwxLDEsIngiXQ",
        ):
            answer = api.get(f"/runs/{run}/tasks/assign/{part}", params={"after": cursor})
            assert answer.status_code in {200, 404, 422}, (part, cursor, answer.text)
    _is_problem(api.get(f"/runs/{run}/tasks/assign/items", params={"after": "x"}), 422, "bad_cursor")


def test_nul_in_a_path_or_query_is_refused(api: Served) -> None:
    for path in ("/workflows/a%00b", "/runs?workflow=a%00b", f"/runs/{any_id()}/tasks/%00/items", "/queues?after=%00"):
        _is_problem(api.get(path), 400, "bad_text")


def test_odd_times_are_refused(api: Served) -> None:
    api.apply(workflow(schedule={"every": "PT1H"}))
    for time in ("yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-13-01", 1e300, True):
        answer = api.post("/workflows/pipeline/runs", {"scheduled_for": time})
        assert _is_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "/scheduled_for"
        assert api.post("/workflows/pipeline/backfill", {"from": time, "to": "2026-01-01"}).status_code == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "ümlaut"])
def test_an_odd_idempotency_key_is_refused(api: Served, key: str) -> None:
    api.apply(workflow())
    answer = api.post("/workflows/pipeline/runs", headers=[("Idempotency-Key", key.encode())])
    _is_problem(answer, 422, "invalid_request")


def test_what_a_body_does_not_know_is_refused(api: Served) -> None:
    api.apply(workflow())
    answer = api.post("/workflows/pipeline/runs", {"parms": {}})
    assert _is_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "/parms"


def test_postgres_away_is_a_503_that_says_when_to_come_back(own_postgres: Server, redis: str) -> None:
    door = Door(
        database=Database(own_postgres.url, name="api"),
        bus=Bus(redis),
        telemetry=Telemetry("api", environ={}),
        token=TOKEN,
    )
    own_postgres.stop()
    try:
        with served(door) as api:
            answer = api.get("/workflows")
            _is_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert httpx.get(f"{api.url}/healthz", trust_env=False).status_code == 200
            assert httpx.get(f"{api.url}/readyz", trust_env=False, timeout=30).status_code == 503
    finally:
        door.close()


def test_redis_away_fails_no_request_that_postgres_can_take(database: str) -> None:
    nowhere = Bus("redis://127.0.0.1:1/0")
    door = Door(
        database=Database(database, name="api"), bus=nowhere, telemetry=Telemetry("api", environ={}), token=TOKEN
    )
    try:
        with served(door) as api:
            api.apply(workflow())
            assert api.get(f"/runs/{api.start('pipeline')}").json()["state"] == "pending"
            assert api.get("/workers").status_code == 200
            assert httpx.get(f"{api.url}/readyz", trust_env=False, timeout=30).status_code == 503
    finally:
        door.close()


def test_requests_are_counted_by_route_and_status(api: Served) -> None:
    api.get("/workflows/nope")
    text = httpx.get(f"{api.url}/metrics", trust_env=False).text
    labels = 'http_request_method="GET",http_response_status_code="404",http_route="/api/v1/workflows/{name}"'
    assert f"http_server_request_duration_seconds_count{{{labels}}} 1.0" in text


def test_a_deeply_nested_param_is_kept_or_refused(api: Served) -> None:
    api.apply(workflow(params={"tree": {"type": "array", "default": []}}))
    for depth, status in ((50, 201), (120, 422)):
        tree = json.loads("[" * depth + "]" * depth)
        answer = api.post("/workflows/pipeline/runs", {"params": {"tree": tree}})
        assert answer.status_code == status, answer.text
