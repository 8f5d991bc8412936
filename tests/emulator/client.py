"""A connector reduced to its requests."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
from tests.emulator.server import CREDENTIALS

Answer = dict[str, Any]


class Client:
    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        login = {"LOGIN_NAME": CREDENTIALS["user"], "PASSWORD": CREDENTIALS["password"]}
        self.tokens = self.post("/session/v1/login-request", {"data": login})["data"]

    def post(self, path: str, body: object, token: str = "None") -> Answer:
        headers = {"Authorization": f'Snowflake Token="{token}"'}
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        found: Answer = answer.json()
        return found

    def query(self, sql: str, request_id: str = "", **more: object) -> Answer:
        path = f"/queries/v1/query-request?requestId={request_id or uuid.uuid4()}"
        return self.post(path, {"sqlText": sql, **more}, self.tokens["token"])

    def renew(self) -> Answer:
        body = {"oldSessionToken": self.tokens["token"], "requestType": "RENEW"}
        return self.post("/session/token-request", body, self.tokens["masterToken"])

    def status_of(self, sql: str) -> int:
        """The HTTP status of a query."""
        path = f"/queries/v1/query-request?requestId={uuid.uuid4()}"
        headers = {"Authorization": f'Snowflake Token="{self.tokens["token"]}"'}
        return self.http.post(path, json={"sqlText": sql}, headers=headers).status_code
