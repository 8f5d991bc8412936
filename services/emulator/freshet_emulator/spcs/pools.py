"""Compute pools: node slots that jobs occupy."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from freshet_emulator.errors import SqlError

TEXT_OPTIONS = {"INSTANCE_FAMILY": "instance_family", "COMMENT": "comment"}
NUMBER_OPTIONS = {"MIN_NODES": "min_nodes", "MAX_NODES": "max_nodes", "AUTO_SUSPEND_SECS": "auto_suspend_secs"}
FLAG_OPTIONS = {"AUTO_RESUME": "auto_resume", "INITIALLY_SUSPENDED": "suspended"}
IGNORED_OPTIONS = ("PLACEMENT_GROUP", "BACKUP_INSTANCE_FAMILIES", "TAG")


def utc_now() -> dt.datetime:
    """The emulator's clock."""
    return dt.datetime.now(dt.UTC)


@dataclass(kw_only=True, slots=True)
class Pool:
    """A compute pool, changed only by the platform, under its lock.

    `used` counts the replicas that hold a slot, `ready` the nodes that are up; `starting` are the moments at which
    more nodes will be, `idle_since` the moment at which the last job left (both monotonic seconds).
    """

    name: str
    min_nodes: int = 1
    max_nodes: int = 1
    instance_family: str = "CPU_X64_XS"
    auto_suspend_secs: int = 3600
    auto_resume: bool = True
    suspended: bool = False
    comment: str | None = None
    created_on: dt.datetime = field(default_factory=utc_now)
    updated_on: dt.datetime = field(default_factory=utc_now)
    resumed_on: dt.datetime = field(default_factory=utc_now)
    used: int = 0
    ready: int = 0
    starting: list[float] = field(default_factory=list)
    idle_since: float | None = None

    def active_nodes(self, jobs_per_node: int) -> int:
        """Nodes with at least one job, when jobs are packed."""
        return math.ceil(self.used / jobs_per_node)

    def has_room(self, jobs_per_node: int) -> bool:
        """Whether one more replica fits now."""
        return not self.suspended and self.used < min(self.ready, self.max_nodes) * jobs_per_node

    @property
    def state(self) -> str:
        """SUSPENDED, STARTING, RESIZING, ACTIVE or IDLE."""
        if self.suspended:
            return "SUSPENDED"
        if self.starting:
            return "RESIZING" if self.ready else "STARTING"
        return "ACTIVE" if self.used else "IDLE"

    def suspend(self) -> None:
        """Take no more jobs; nodes that run some stay until those end."""
        self.suspended = True
        self.ready, self.starting, self.idle_since = 0, [], None

    def resume(self) -> None:
        """Make the pool take jobs again."""
        if self.suspended:
            self.suspended = False
            self.resumed_on = utc_now()

    def provision(self, now: float, *, waiting: int, jobs_per_node: int, delay: float) -> None:
        """Start the nodes that waiting replicas need, at least MIN_NODES, and count those that are up by now."""
        if self.suspended:
            return
        wanted = math.ceil((self.used + waiting) / jobs_per_node)
        missing_nodes = min(self.max_nodes, max(self.min_nodes, wanted)) - self.ready - len(self.starting)
        self.starting += [now + delay] * max(0, missing_nodes)
        self.ready += sum(1 for moment in self.starting if moment <= now)
        self.starting = [moment for moment in self.starting if moment > now]
        self.ready = min(self.ready, self.max_nodes)

    def rest(self, now: float, *, waiting: int) -> None:
        """Suspend a pool that has had nothing to do for AUTO_SUSPEND_SECS."""
        if self.used or waiting or self.suspended:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        elif self.auto_suspend_secs and now >= self.idle_since + self.auto_suspend_secs:
            self.suspend()

    def next_moment(self) -> float | None:
        """When something will change by itself."""
        moments = list(self.starting)
        if self.idle_since is not None and self.auto_suspend_secs and not self.suspended:
            moments.append(self.idle_since + self.auto_suspend_secs)
        return min(moments, default=None)

    def change(self, options: Mapping[str, str]) -> None:
        """Apply CREATE or ALTER … SET options. Raises SqlError for one that is unknown or wrong, changing nothing."""
        changes = pool_changes(options)
        smallest = int(changes.get("min_nodes", self.min_nodes))
        if smallest < 1 or int(changes.get("max_nodes", self.max_nodes)) < smallest:
            raise SqlError(1008, "22023", "SQL compilation error:\nMIN_NODES must be at least 1 and at most MAX_NODES.")
        for key, value in changes.items():
            setattr(self, key, value)
        self.updated_on = utc_now()

    def document(self) -> dict[str, Any]:
        """What is kept over a restart."""
        body = asdict(self)
        for key in ("used", "ready", "starting", "idle_since"):
            del body[key]
        return body


def pool_changes(options: Mapping[str, str]) -> dict[str, Any]:
    """Options as fields of a pool."""
    changes: dict[str, Any] = {}
    for key, value in options.items():
        if key in NUMBER_OPTIONS and value.isdecimal():
            changes[NUMBER_OPTIONS[key]] = int(value)
        elif key in FLAG_OPTIONS and value.upper() in ("TRUE", "FALSE"):
            changes[FLAG_OPTIONS[key]] = value.upper() == "TRUE"
        elif key in TEXT_OPTIONS:
            changes[TEXT_OPTIONS[key]] = value
        elif key not in IGNORED_OPTIONS:
            raise SqlError(1008, "22023", f"SQL compilation error:\ninvalid value [{value}] for parameter '{key}'")
    return changes


def stored_pool(body: Mapping[str, Any]) -> Pool:
    """A pool from its document."""
    times = {key: dt.datetime.fromisoformat(body[key]) for key in ("created_on", "updated_on", "resumed_on")}
    return Pool(**{**body, **times})
