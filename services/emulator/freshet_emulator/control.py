"""The control API: `/control/faults`, spoken to by tests and by curl; no client of Snowflake's knows it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from freshet_emulator import protocol
from freshet_emulator.bodies import BadBodyError, body_of
from freshet_emulator.emulator import Emulator
from freshet_emulator.errors import EmulatorError
from freshet_emulator.faults import Switch, read_switch


class Control:
    """The handlers."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[Route]:
        """Where they are reached."""
        return [
            Route("/control/faults", self.add, methods=["POST"]),
            Route("/control/faults", self.show, methods=["GET"]),
            Route("/control/faults", self.clear, methods=["DELETE"]),
            Route("/control/faults/{fault_id}", self.clear, methods=["DELETE"]),
        ]

    async def add(self, request: Request) -> Response:
        """`POST /control/faults`: switch one on. HTTP 400 for one that makes no sense."""
        try:
            asked = await body_of(request)
        except BadBodyError as error:
            return JSONResponse({"success": False, "message": str(error)}, status_code=400)
        if "kind" not in asked:
            return self.at_once(asked)
        try:
            switch = read_switch(asked)
        except EmulatorError as error:
            return JSONResponse({"success": False, "message": str(error)}, status_code=400)
        fault_id = self._emulator.faults.add(switch)
        self._emulator.platform.strike()
        return JSONResponse(protocol.succeeded({"id": fault_id}))

    async def show(self, _request: Request) -> Response:
        """`GET /control/faults`: what is on."""
        return JSONResponse(protocol.succeeded({"faults": self._emulator.faults.shown()}))

    async def clear(self, request: Request) -> Response:
        """`DELETE /control/faults[/ID]`: switch off; jobs that were held back go on."""
        fault_id = request.path_params.get("fault_id")
        cleared = self._emulator.faults.clear(fault_id)
        self._emulator.platform.release_held()
        found = bool(cleared) or fault_id is None
        return JSONResponse(protocol.succeeded({"cleared": cleared}), status_code=200 if found else 404)

    def at_once(self, asked: dict[str, Any]) -> Response:
        """Faults in short: counts of failing requests, tokens, sessions, a job whose node is lost."""
        emulator = self._emulator
        for key, when in (("refuse_requests", "before"), ("lose_answers", "after")):
            if count := int(asked.get(key) or 0):
                emulator.faults.add(Switch.model_validate({"kind": "http_503", "times": count, "when": when}))
        if asked.get("expire_tokens"):
            emulator.sessions.expire_all()
        if asked.get("forget_sessions"):
            emulator.sessions.forget_all()
        if asked.get("lose_node"):
            emulator.faults.add(Switch(kind="node_lost", job=str(asked["lose_node"])))
            emulator.platform.strike()
        return JSONResponse(protocol.succeeded())
