"""Payloads for containers: read by their key, without a token."""

import uuid

import httpx
import pytest

from api.conftest import Served


def kept(api: Served, body: bytes) -> uuid.UUID:
    api.execute("insert into engine.work_item (id) values (7)")
    insert = "insert into engine.job_payload (job_name, item, attempt, body) values ('J', 7, 1, %s) returning key"
    (row,) = api.execute(insert, body)
    return uuid.UUID(str(row["key"]))


def test_the_key_is_the_permission(api: Served) -> None:
    key = kept(api, b'{"p":"\xc3\xa9"}')
    answer = httpx.get(f"{api.url}/api/v1/payloads/{key}", trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == b'{"p":"\xc3\xa9"}'


@pytest.mark.parametrize("token", ["", "token-of-the-tests"])
def test_whoever_guesses_learns_nothing(api: Served, token: str) -> None:
    kept(api, b"1")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(f"{api.url}/api/v1/payloads/{uuid.uuid4()}", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"] == "There is no such payload, or its attempt is over."


def test_what_is_no_key_is_refused_with_a_pointer(api: Served) -> None:
    answer = httpx.get(f"{api.url}/api/v1/payloads/J", trust_env=False)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/path/key"]


def test_once_the_attempt_is_over_the_key_opens_nothing(api: Served) -> None:
    url = f"{api.url}/api/v1/payloads/{kept(api, b'1')}"
    assert httpx.get(url, trust_env=False).status_code == 200
    api.execute("update engine.work_item set state = 'succeeded', finished_at = now()")
    assert httpx.get(url, trust_env=False).status_code == 404
