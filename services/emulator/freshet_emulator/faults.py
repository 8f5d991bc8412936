"""Fault switches: what goes wrong next, on request.

A switch is one of `KINDS`; it hits requests or jobs that fit its patterns, as often as it was told to, and is then used
up. Nothing here acts by itself: the HTTP side and the platform ask.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from freshet_emulator.errors import EmulatorError

Kind = Literal[
    "drop_connection",
    "http_503",
    "slow_answer",
    "expire_token",
    "forget_session",
    "image_pull",
    "stuck_pending",
    "node_lost",
    "oom",
    "logs_gone",
    "history_only",
    "no_privilege",
]
# These last until they are cleared, unless they are told how often; the others hit once.
LASTING = frozenset({"image_pull", "stuck_pending", "logs_gone", "history_only", "no_privilege"})
ALWAYS = -1


class Switch(BaseModel):
    """A fault as asked for.

    `statement` is searched in the SQL, `job` is a glob for a job's own or full name, `on` what a privilege lacks for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    times: Annotated[int, Field(ge=1)] | Literal["always"] | None = None
    statement: str | None = None
    job: str | None = None
    request: Literal["query", "login", "result", "monitor", "any"] = "query"
    when: Literal["before", "after"] = "before"
    seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    on: str = "schema"

    @field_validator("statement")
    @classmethod
    def readable(cls, pattern: str | None) -> str | None:
        """Refuse what is no regular expression."""
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        return pattern

    @property
    def count(self) -> int:
        """How often it hits; ALWAYS until it is cleared."""
        if self.times is None:
            return ALWAYS if self.kind in LASTING else 1
        return ALWAYS if self.times == "always" else self.times

    def fits_request(self, request: str, statement: str, when: str) -> bool:
        """Whether it hits such a request."""
        asked = self.request in (request, "any") and self.when == when
        return asked and (self.statement is None or bool(re.search(self.statement, statement, re.IGNORECASE)))

    def fits_job(self, name: str) -> bool:
        """Whether it hits this job, named by its full name."""
        pattern = (self.job or "*").upper()
        return fnmatchcase(name, pattern) or fnmatchcase(name.rsplit(".", 1)[-1], pattern)


@dataclass(kw_only=True, slots=True)
class Armed:
    """A switch that is on. `left` counts down; ALWAYS stays."""

    id: str
    switch: Switch
    left: int
    hits: int = 0

    def shown(self) -> dict[str, Any]:
        """As the control API lists it."""
        return {"id": self.id, **self.switch.model_dump(exclude_none=True), "left": self.left, "hits": self.hits}


class Faults:
    """All switches that are on, oldest first. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._armed: list[Armed] = []

    def add(self, switch: Switch) -> str:
        """Switch one on; its id."""
        with self._lock:
            armed = Armed(id=str(next(self._ids)), switch=switch, left=switch.count)
            self._armed.append(armed)
            return armed.id

    def clear(self, fault_id: str | None = None) -> int:
        """Switch one off, or all; how many were on."""
        with self._lock:
            kept = [armed for armed in self._armed if fault_id not in (None, armed.id)]
            cleared = len(self._armed) - len(kept)
            self._armed = kept
            return cleared

    def shown(self) -> list[dict[str, Any]]:
        """All that are on."""
        with self._lock:
            return [armed.shown() for armed in self._armed]

    def take_request(self, request: str, statement: str, when: str) -> list[Switch]:
        """What hits this request, each counted once."""
        return self._take(lambda switch: switch.fits_request(request, statement, when), REQUEST_KINDS)

    def take_job(self, kind: Kind, name: str) -> bool:
        """Whether a fault of this kind hits this job now, counted."""
        return bool(self._take(lambda switch: switch.fits_job(name), frozenset({kind}), limit=1))

    def _take(self, fits: Callable[[Switch], bool], kinds: frozenset[str], limit: int | None = None) -> list[Switch]:
        with self._lock:
            hit = [armed for armed in self._armed if armed.switch.kind in kinds and fits(armed.switch)][:limit]
            for armed in hit:
                armed.hits += 1
                armed.left = armed.left if armed.left == ALWAYS else armed.left - 1
            self._armed = [armed for armed in self._armed if armed.left]
            return [armed.switch for armed in hit]


REQUEST_KINDS = frozenset(
    {"drop_connection", "http_503", "slow_answer", "expire_token", "forget_session", "no_privilege"}
)


def read_switch(asked: dict[str, Any]) -> Switch:
    """A switch from a request's body. Raises EmulatorError with a sentence that names the wrong field."""
    try:
        return Switch.model_validate(asked)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"][:1])
        raise EmulatorError(f"The fault's {field or 'form'} is wrong: {first['msg']}.") from error
